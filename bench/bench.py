# SPDX-License-Identifier: MIT
"""`make bench`: measures the parts it is asked for, keeps each one's newest result in build/bench/bench.json and prints the
tables. --publish writes all of it into bench/results/, README.md and docs/speed.md. Usage: bench/run.sh --help"""
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time

import accuracy
import catalog
import contest
import device
import layers
import publish
import tables

PARTS = {"models": contest, "layers": layers, "accuracy": accuracy, "device": device}
STORE = f"{catalog.BUILD}/bench.json"
SCHEMA = 3      # of the store; an older one is measured anew
FULL = {"quick": False, "rounds": 12, "slice_s": 0.12, "layer_passes": 5, "layer_rounds": 8, "layer_slice_s": 0.001, "device_s": 2}
QUICK = {"quick": True, "rounds": 3, "slice_s": 0.05, "layer_passes": 1, "layer_rounds": 5, "layer_slice_s": 0.0005, "device_s": 0.5}


def write(path, text):
    """The whole file or the one before it, never a half."""
    temp = f"{path}.tmp{os.getpid()}"
    with open(temp, "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(temp, path)


def stored():
    try:
        with open(STORE, encoding="utf-8") as f:
            found = json.load(f)
    except (OSError, ValueError):
        return {}
    return found["parts"] if found.get("schema") == SCHEMA else {}


def cpu_name():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        found = [line.split(":", 1)[1].strip() for line in f if line.startswith(("model name", "cpu family", "model\t"))]
    return f"{found[2]} (family {found[0]}, model {found[1]})" if len(found) >= 3 else platform.machine()


def stolen():
    """Share of the time since boot, per state: to tell how much others had of the machine."""
    with open("/proc/stat", encoding="ascii") as f:
        return [int(x) for x in f.readline().split()[1:9]]


def circumstances(before, settings):
    spent = [b - a for a, b in zip(before, stolen())]
    git = subprocess.run(["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "cpu": cpu_name(),
            "processors": os.cpu_count(), "commit": git.stdout.strip(), "kernel": platform.release(), "settings": settings,
            "load_average_after": os.getloadavg()[0], "steal_percent": round(100 * spent[7] / (sum(spent) or 1), 2)}


def render(result):
    lines = []
    for name, title, show in (("models", "Whole models", tables.models_long), ("models", "Memory", tables.memory),
                              ("layers", "Layers", tables.layers), ("accuracy", "Accuracy", tables.accuracy), ("device", "Device", tables.device)):
        if name in result:
            lines += [f"## {title}", "", publish.where(result[name]), "", *show(result[name])]
    return "\n".join(lines) + "\n"


def run(parts, peer, settings):
    result = stored()
    for name in parts:
        before, start = stolen(), time.monotonic()
        name, _, only = name.partition("=")
        part = PARTS[name].measure(peer, {**settings, "only": only.split(",")} if only else settings)
        if only and name in result:
            again = [m["model"] for m in part["models"]]
            part["models"] = [m for m in result[name]["models"] if m["model"] not in again] + part["models"]
            part["models"].sort(key=lambda m: list(catalog.MODELS).index(m["model"]))
        part["circumstances"] = circumstances(before, settings)
        part["circumstances"]["seconds"] = round(time.monotonic() - start, 1)
        result[name] = part
        write(STORE, json.dumps({"schema": SCHEMA, "parts": result}, indent=1) + "\n")
        print(render({name: part}), flush=True)
    write(f"{catalog.BUILD}/bench.md", render(result))
    return result


def check():
    """Exits: the pages are as the published results have them, or not."""
    try:
        wrong = publish.differing()
    except (OSError, RuntimeError) as error:
        sys.exit(f"bench: {error}")
    sys.exit(f"bench: not as bench/results/ has it: {', '.join(wrong)} (bench/run.sh --publish writes them)" if wrong else 0)


def main():
    lib, parts, to_publish = None, [], False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for a in sys.argv[1:]:
        if a.startswith("--peer="):
            lib = a[7:] or None
        elif a == "--publish":
            to_publish = True
        elif a == "--check":
            check()
        elif a in PARTS or a.startswith("models="):
            parts.append(a)
        else:
            sys.exit(f"bench: unknown part '{a}' ({', '.join(PARTS)})")
    try:
        # --publish alone takes what was measured before.
        result = run(parts or ([] if to_publish and stored() else PARTS), catalog.Peer(lib), QUICK if os.environ.get("QUICK") else FULL)
        if to_publish:
            publish.publish(result, write)
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; the parts that were finished are in " + STORE)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")


main()

# SPDX-License-Identifier: MIT
"""Results into the documentation: what stands between a page's markers is replaced, everything else is left alone.
    <!-- bench NAME: written by bench/run.sh --publish -->   ...   <!-- bench NAME: end -->"""
import json
import os
import re

import roofline
import tables

RESULTS = "bench/results/results.json"
ROOFLINE = "docs/roofline.svg"
ORDER = ("models", "layers", "accuracy", "device")


def where(part):
    at = part["circumstances"]
    text = f"{at['date']}, {at['cpu']}, {at['processors']} processors, commit {at['commit']}"
    if at["settings"]["quick"]:
        text += ", QUICK=1"
    return f"{text}; {at['seconds']:.0f} s, {at['steal_percent']} % of the machine's time taken by its host, load average {at['load_average_after']:.1f}."


def short(result):
    """README's tables."""
    lines = []
    if "models" in result:
        lines += ["**CPU: best latency in ms, batch 1, against ONNX Runtime 1.30 FP32 and static INT8** (ratios: median of alternating rounds)", "",
                  *tables.models_short(result["models"])]
    if "layers" in result:
        lines += ["**Kernels: share of the ceiling measured around each layer**, one thread, over all of ResNet50's layers of a kind", "",
                  *tables.layers_short(result["layers"])]
    for name, title, show in (("accuracy", "Accuracy", tables.accuracy_short), ("device", "Device", tables.device)):
        if name in result:
            lines += [f"**{title}.** {show(result[name])[0]}", *show(result[name])[1:]]
    dates = sorted({p["circumstances"]["date"] for p in result.values()})
    cpu = next(iter(result.values()))["circumstances"]["cpu"]
    lines += [f"Measured {dates[0]}{' to ' + dates[-1] if len(dates) > 1 else ''} on {cpu}; all figures, their spread and the method: docs/speed.md."]
    return lines


def sections(result):
    """{marker: lines} of docs/speed.md."""
    found = {}
    for name, show in (("models", tables.models_long), ("layers", tables.layers), ("accuracy", tables.accuracy), ("device", tables.device)):
        if name in result:
            found[name] = [where(result[name]), "", *show(result[name])]
    if "models" in result:
        found["memory"] = tables.memory(result["models"])
    return found


def replaced(text, name, lines, path, by="bench/run.sh"):
    begin, end = f"<!-- bench {name}: written by {by} --publish -->", f"<!-- bench {name}: end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    if not pattern.search(text):
        raise RuntimeError(f"{path} has no markers '{begin}' ... '{end}'")
    body = "\n".join(lines).rstrip("\n")
    return pattern.sub(lambda _: f"{begin}\n\n{body}\n\n{end}", text)


def pages(result):
    """{path: text} of everything that is written from a result."""
    with open("README.md", encoding="utf-8") as f:
        readme = replaced(f.read(), "short", short(result), "README.md")
    with open("docs/speed.md", encoding="utf-8") as f:
        speed = f.read()
    for name, lines in sections(result).items():
        speed = replaced(speed, name, lines, "docs/speed.md")
    text = json.dumps({k: result[k] for k in ORDER if k in result}, separators=(",", ":")) + "\n"
    found = {"README.md": readme, "docs/speed.md": speed, RESULTS: text}
    if "layers" in result:
        run = tables.run_of(result["layers"], 1)
        date = result["layers"]["circumstances"]["date"][:10]
        found[ROOFLINE] = roofline.draw(run, f"MICA's layers on one thread ({run['isa']}, streamed weights, {date})")
    return found


def committed():
    try:
        with open(RESULTS, encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def publish(result, write):
    """Parts that were not measured stay as they were published. write(path, text) replaces a file as a whole."""
    had = tables.processor_had(result["models"]) if "models" in result else 1
    if had < tables.BUSY and not os.environ.get("FORCE"):
        raise RuntimeError(f"not published: contestants of one thread had {100 * had:.0f} % of a processor, something else was running (FORCE=1 publishes)")
    found = pages({**committed(), **result})
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    for path, text in found.items():
        write(path, text)


def differing():
    """Pages that do not say what bench/results/ says: somebody wrote a figure by hand, or forgot to publish."""
    result = committed()
    if not result:
        raise RuntimeError(f"{RESULTS} is missing: nothing has been published")
    wrong = []
    for path, text in pages(result).items():
        with open(path, encoding="utf-8") as f:
            if f.read() != text:
                wrong.append(path)
    return wrong

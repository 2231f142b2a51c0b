# SPDX-License-Identifier: MIT
"""Measures what README.md quotes. A speed is a ratio to a peer taken in alternating runs, the median of the rounds."""
import json
import os
import statistics
import subprocess
import sys

MODELS = ["nanodet_g_416", "fashion_resnet", "fashion_mobilenetv2"]
FORMATS = ["e4m3", "int8"]
ROUNDS, SECONDS = 3, "1"
CALIB = {"nanodet_g_416": "models/photos"}


def output(command, **env):
    r = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **env})
    return json.loads(r.stdout)


def idx(name):
    for top in ("/usr/share/dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist", "/usr/share/fashion-mnist"):
        for folder, _, files in os.walk(top):
            for f in files:
                if f.startswith(name):
                    return os.path.join(folder, f)
    return None


def compiled(model, fmt, cores=1):
    out = f"build/bench/{model}-{fmt}-{cores}.mica"
    calib = CALIB.get(model) or idx("train-images") + ":512"
    subprocess.run(["build/mica", "compile", f"models/{model}.onnx", "-o", out, f"--format={fmt}", f"--calib={calib}",
                    f"--cores={cores}"], check=True, stderr=subprocess.DEVNULL)
    return out


def cpu(peer, result, lines):
    lines += ["## CPU: latency in ms, batch 1, and the ratio to ONNX Runtime FP32 (alternating runs, median of "
              f"{ROUNDS})", "", "| model | threads | ONNX Runtime FP32 | " + " | ".join(f"MICA {f} | ratio" for f in FORMATS) + " |",
              "|" + "---|" * (3 + 2 * len(FORMATS))]
    for model in MODELS:
        files = {f: compiled(model, f) for f in FORMATS}
        for threads in ("1", "2"):
            ort, ours, ratio = [], {f: [] for f in FORMATS}, {f: [] for f in FORMATS}
            for _ in range(ROUNDS):
                if peer:
                    r = output([f"{peer}/ort_run", f"--lib={peer}/libonnxruntime.so.1", f"--threads={threads}", f"--seconds={SECONDS}",
                                f"models/{model}.onnx"], LD_LIBRARY_PATH=peer)
                    ort.append(r["latency_ms"]["median"])
                for f in FORMATS:
                    r = output(["build/mica", "bench", files[f], "--backend=cpu", f"--threads={threads}", f"--seconds={SECONDS}", "--json"])
                    ours[f].append(r["latency_ms"]["median"])
                    if peer:
                        ratio[f].append(ort[-1] / ours[f][-1])
            med = statistics.median
            row = f"| {model} | {threads} | {med(ort):.3f} |" if peer else f"| {model} | {threads} | - |"
            for f in FORMATS:
                row += f" {med(ours[f]):.3f} | " + (f"{med(ratio[f]):.2f}x |" if peer else "- |")
            lines.append(row)
            result.setdefault("cpu", []).append({"model": model, "threads": int(threads), "ort_fp32_ms": ort, "mica_ms": ours, "ratio": ratio})
    lines.append("")


def accuracy(result, lines):
    images, labels = idx("t10k-images"), idx("t10k-labels")
    lines += ["## Accuracy: top-1 on the 10,000 test images of Fashion-MNIST (CPU)", "", "| model | f32 | e4m3 | e5m2 | int8 |", "|---|---|---|---|---|"]
    for model in ("fashion_mobilenetv2", "fashion_resnet"):
        row = f"| {model} |"
        for f in ("f32", "e4m3", "e5m2", "int8"):
            r = output(["build/mica", "eval", compiled(model, f), f"--images={images}", f"--labels={labels}", "--backend=cpu", "--threads=2", "--json"])
            row += f" {100 * r['top1']:.2f} % |"
            result.setdefault("accuracy", []).append({"model": model, "format": f, **r})
        lines.append(row)
    lines.append("")


def guest(command):
    with open("build/bench/device.sh", "w") as f:
        f.write(command + "\n")
    r = subprocess.run(["scripts/guest-run.sh", "--share", ".", "--timeout", "300", "--", "sh", "build/bench/device.sh"],
                       stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(x) for x in r.stdout.splitlines() if x.startswith("{")]


def device(result, lines):
    null = [(s, d) for s in ("uring", "ioctl") for d in (1, 32)]
    models = [(m, c, compiled(m, "e4m3", c)) for m in MODELS for c in (1, 2)]
    subprocess.run(["make", "-s", "device"], check=True)
    out = guest("\n".join([f"mica bench --null-jobs --submit={s} --depth={d} --seconds=2 --json 2>/dev/null | tr -d '\\n'; echo" for s, d in null] +
                          [f"mica bench {f} --backend=device --seconds=2 --json 2>/dev/null | tr -d '\\n'; echo" for _, _, f in models]))
    lines += ["## Device: empty jobs through driver, firmware and a core (emulated guest)", "", "| submit | depth | jobs/s | latency us: min | median | p99 |", "|---|---|---|---|---|---|"]
    for (s, d), r in zip(null, out):
        l = r["latency_us"]
        lines.append(f"| {s} | {d} | {r['jobs_per_s']:.0f} | {l['min']:.0f} | {l['median']:.0f} | {l['p99']:.0f} |")
    lines += ["", "## Device: models in e4m3 (cycles are deterministic)", "", "| model | cores | cycles | MAC utilization | DRAM bytes |", "|---|---|---|---|---|"]
    for (m, c, _), r in zip(models, out[len(null):]):
        lines.append(f"| {m} | {c} | {r['cycles']} | {100 * r['mac_utilization']:.1f} % | {r['dram_bytes']} |")
    result["device"] = out
    lines.append("")


def main():
    peer, parts = "", []
    for a in sys.argv[1:]:
        if a.startswith("--peer="):
            peer = a[7:]
        else:
            parts.append(a)
    result, lines = {}, []
    for p in parts:
        if p == "cpu":
            cpu(peer, result, lines)
        elif p == "accuracy":
            accuracy(result, lines)
        elif p == "device":
            device(result, lines)
        else:
            sys.exit(f"bench: unknown part '{p}' (cpu, accuracy, device)")
    text = "\n".join(lines)
    print(text)
    with open("build/bench/bench.md", "w") as f:
        f.write(text + "\n")
    with open("build/bench/bench.json", "w") as f:
        json.dump(result, f, indent=1)


main()

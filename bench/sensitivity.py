# SPDX-License-Identifier: MIT
"""mica sensitivity, full and fast, against whole networks for every candidate: same losses, same ranking, how much sooner.

Times are of the processor, all threads together, so that a busy machine does not show; the wall clock stands beside them. Two references:
whole networks with the same kernels in one process (--search=naive: samples in memory, nothing is compiled), and mica compile with a
qtable plus mica run per sample, which is what can be done without the search; that for every 20th candidate only, scaled up."""
import glob
import json
import os
import resource
import subprocess
import sys
import tempfile

MODELS = "../shared/models/"
FORMATS, METHODS = ["int8", "e4m3"], ["max", "kl", "percentile"]
THREADS = "--threads=2"
EVERY = 20


def cpu():
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def run(*command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        sys.exit("%s\n%s" % (" ".join(command), r.stderr))
    return r.stdout


def search(a, work, how, *more):
    """The summary of one search; memory is the largest of the processes so far, so the naive one comes last."""
    out = run("build/mica", "sensitivity", a.model, "--calib=" + a.calib, "--formats=" + ",".join(FORMATS), "--methods=" + ",".join(METHODS),
              THREADS, "--search=" + how, "--json", "-o", work + "/" + how, "--ranking=" + work + "/" + how + ".ranking", *more, *a.options)
    s = json.loads(out)
    s["peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return s


def losses(work, how):
    """(format, method, operator) -> (samples, loss as text: equal means equal to the last bit)."""
    rows = {}
    for line in open(work + "/" + how + ".log"):
        if not line.startswith("#"):
            f, m, _, n, loss, _, _, name = line.rstrip("\n").split(" ", 7)
            rows[f, m, name] = int(n), loss
    return rows


def places(work, how):
    """The lines of the ranking but for what is kept, which is chosen later."""
    return [line.replace("*", " ") for line in open(work + "/" + how + ".ranking") if not line.startswith("#")]


def differences(full, naive):
    """Of the candidates that ran on all samples: how many losses differ; of the others: how many are not below naive's."""
    exact = [k for k in full if full[k][0] == naive[k][0]]
    wrong = [k for k in exact if full[k][1] != naive[k][1]]
    above = [k for k in full if k not in exact and float(full[k][1]) > float(naive[k][1]) * (1 + 1e-9)]
    return len(exact), len(wrong), len(above)


def agreement(quick, full):
    """Spearman's, over the operators in the one format and method of the fast search. full: every loss on all samples."""
    keys = [k for k in quick if k in full]
    return spearman([float(quick[k][1]) for k in keys], [float(full[k][1]) for k in keys])


def by_hand(a, work, rows):
    """Processor seconds of compiling and running candidates one by one, per candidate."""
    samples = sorted(glob.glob(a.calib + "/*"))
    for m in METHODS:
        run("build/mica", "calibrate", a.model, "--calib=" + a.calib, "--method=" + m, THREADS, "-o", work + "/hand-" + m, *a.options)
    keys, start = sorted(rows)[::EVERY], cpu()
    for f, m, name in keys:
        with open(work + "/hand.q", "w") as q:
            q.write("%s %s\n" % (name, f))
        run("build/mica", "compile", a.model, "--format=f32", "--qtable=" + work + "/hand.q", "--calib-table=" + work + "/hand-" + m,
            "-o", work + "/hand.mica", *a.options)
        for s in samples:
            run("build/mica", "run", work + "/hand.mica", "--input=" + s, "--backend=cpu", "--output=" + work + "/out")
    return (cpu() - start) / len(keys)


def spearman(x, y):
    def ranks(v):
        order = sorted(range(len(v)), key=lambda i: v[i])
        r = [0] * len(v)
        for k, i in enumerate(order):
            r[i] = k
        return r
    rx, ry, n = ranks(x), ranks(y), len(x)
    return 1 - 6 * sum((p - q) ** 2 for p, q in zip(rx, ry)) / (n * (n * n - 1))


class Args:
    model = MODELS + "mobilenet_v2_224.onnx"
    calib = None
    options = ["--mul=0.00392156863"]


def parse():
    a, own = Args(), sys.argv[1:]
    if "--" in own:
        a.options = own[own.index("--") + 1:]
        own = own[:own.index("--")]
    for o in own:
        name, _, value = o.partition("=")
        if name not in ("--model", "--calib") or not value:
            sys.exit("usage: bench/sensitivity.sh [--model=FILE.onnx --calib=FOLDER] [-- OPTION...]")
        setattr(a, name[2:], value)
    return a


def main():
    a = parse()
    work = tempfile.mkdtemp(prefix="mica-sens-")
    if not a.calib:
        if not os.path.exists("build/bench/sensitivity_photos"):
            sys.exit("build/bench/sensitivity_photos is missing: make benches")
        a.calib = work + "/samples"
        os.mkdir(a.calib)
        run("build/bench/sensitivity_photos", a.calib, *sorted(glob.glob(MODELS + "photos/*.jpg")))
    full = search(a, work, "full", "--max-float-layers=0")
    fast = search(a, work, "fast", "--target-cos=0.9995")
    best = search(a, work, "full", "--resume", "--target-cos=0.9995")
    rows = losses(work, "full")
    hand = by_hand(a, work, rows)
    order = places(work, "full")
    naive = search(a, work, "naive", "--max-float-layers=0")
    truth = losses(work, "naive")
    exact, wrong, above = differences(rows, truth)
    moved = sum(x != y for x, y in zip(order, places(work, "naive")))
    print("%s, %d operators, %d candidates on %d samples, %s" % (os.path.basename(a.model), full["operators"], full["candidates"],
                                                               full["samples"], THREADS))
    print("full search: %.1f s of the processor, %.1f s by the clock; %d candidates ran, the rest are the same as another; %d of them ended "
          "early; %.0f MB" % (full["search_cpu_seconds"], full["search_seconds"], full["computed"], full["dropped"], full["peak_mb"]))
    print("whole networks: %.1f s, %.1f s by the clock: %.1f times as long" %
          (naive["search_cpu_seconds"], naive["search_seconds"], naive["search_cpu_seconds"] / full["search_cpu_seconds"]))
    print("losses on all samples: %d candidates, %d differ in a bit; on fewer samples: %d, %d of them above the whole loss" %
          (exact, wrong, len(rows) - exact, above))
    print("ranking: %d of %d places differ (operator, loss, method, cycles)" % (moved, len(order)))
    print("mica compile and mica run per sample: %.0f s: %.1f times as long" %
          (hand * full["candidates"], hand * full["candidates"] / full["search_cpu_seconds"]))
    print("fast search: %.1f s of the processor and %.1f s for the pick (full: %.1f), %d operators kept (full: %d), rank agreement %.3f" %
          (fast["search_cpu_seconds"], fast["pick_seconds"], best["pick_seconds"], fast["kept"], best["kept"],
           agreement(losses(work, "fast"), truth)))
    if wrong or above or moved:
        sys.exit("the full search does not give what whole networks give")


main()

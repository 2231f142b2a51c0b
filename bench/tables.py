# SPDX-License-Identifier: MIT
"""Markdown of what was measured. Nothing is computed here that is not in the JSON."""
import statistics

import catalog


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(c) for c in r) + " |" for r in rows] + [""]


def ms(x):
    return f"{x:.3f}" if x < 1 else f"{x:.2f}" if x < 10 else f"{x:.1f}"


def ratio(triple):
    return f"{triple[0]:.2f}x" if triple else "-"


def ratio_spread(triple):
    return f"{triple[0]:.2f}x ({triple[1]:.2f}-{triple[2]:.2f})" if triple else "-"


def sides(model, threads):
    return {s["side"]: s for s in model["sides"] if s["threads"] == threads}


def best(side):
    return ms(side["best_ms"]) if side else "-"


BUSY = 0.9


def processor_had(part):
    """How much of a processor contestants of one thread had, in the worst model: 1 on a quiet machine."""
    return min(statistics.median(s["processors_had"] for s in m["sides"] if s["threads"] == 1) for m in part["models"])


def second_processor(part):
    """Warnings where the machine gave little to a thread, or to a second one."""
    had = processor_had(part)
    if had < BUSY:
        return [f"**The machine was busy: contestants of one thread had {percent(had)} of a processor. These figures are no basis for a comparison.**", ""]
    gave = [sides(m, 2)["control"]["scaling"][0] for m in part["models"] if "control" in sides(m, 2)]
    if not gave or min(gave) >= 1.8:
        return []
    return [f"The machine's second processor was busy with other work: a fixed piece of arithmetic, taking its turns, ran {min(gave):.2f} to {max(gave):.2f} "
            "times as fast on two threads. Rows with 2 threads say how both sides bear that, not how they scale; ONNX Runtime's spinning threads bear it worse.", ""]


def models_short(part):
    """Best latency and the ratios that matter most."""
    rows = []
    for m in part["models"]:
        for t in (1, 2):
            s = sides(m, t)
            rows.append([m["model"], t, best(s.get("ort_f32")), best(s.get("ort_int8")), best(s["e4m3"]), ratio(s["e4m3"].get("ratio_ort_f32")),
                         best(s["int8"]), ratio(s["int8"].get("ratio_ort_f32")), ratio(s["int8"].get("ratio_ort_int8"))])
    return table(["model", "threads", "ORT FP32", "ORT INT8", "MICA e4m3", "to FP32", "MICA int8", "to FP32", "to INT8"], rows) + second_processor(part)


def models_long(part):
    lines = ["Latency in ms, the best of all rounds:", ""]
    lines += table(["model", "threads", "ORT FP32", "ORT INT8", *(f"MICA {f}" for f in catalog.FORMATS)],
                  [[m["model"], t, *(best(sides(m, t).get(s)) for s in ("ort_f32", "ort_int8", *catalog.FORMATS))]
                   for m in part["models"] for t in (1, 2)])
    lines += second_processor(part)
    lines += ["Ratio to ONNX Runtime FP32 (above 1: MICA is faster), median of the rounds and their quartiles; int8 also to its INT8:", ""]
    lines += table(["model", "threads", *catalog.FORMATS, "int8 to INT8"],
                   [[m["model"], t, *(ratio_spread(sides(m, t)[f].get("ratio_ort_f32")) for f in catalog.FORMATS),
                     ratio_spread(sides(m, t)["int8"].get("ratio_ort_int8"))] for m in part["models"] for t in (1, 2)])
    lines += ["Two threads against one, of each side by itself; the machine: of a fixed piece of arithmetic that took its turns among them:", ""]
    names = ["control", "ort_f32", "ort_int8", *catalog.FORMATS]
    lines += table(["model", "the machine", "ORT FP32", "ORT INT8", *catalog.FORMATS],
                   [[m["model"], *(ratio_spread(sides(m, 2).get(s, {}).get("scaling")) for s in names)] for m in part["models"]])
    return lines + duel(part)


def duel(part):
    rows = [[m["model"], *(ms(m["peer_int8"]["ms"][k]) for k in catalog.KINDS), m["peer_int8"]["kind"],
             ", ".join(f"{op} {n}" for op, n in sorted(m["peer_int8"]["operators"].items(), key=lambda x: -x[1])[:6])]
            for m in part["models"] if m["peer_int8"]]
    if not rows:
        return []
    return ["The peer's INT8 model is the faster of two (one thread, ms); what its graph consists of after optimization:", "",
            *table(["model", "u8 activations", "s8 activations", "taken", "operators (the six most frequent)"], rows)]


def memory(part):
    """MB above an empty process; MICA's beside what the plan says."""
    def mb(x):
        return f"{x / 1e6:.1f}"
    rows = []
    for m in part["models"]:
        one, two = sides(m, 1), sides(m, 2)
        for f in ("e4m3", "int8", "f32"):
            p = m["plan"][f]
            parts = [p[k] for k in ("weights_bytes", "arena_bytes", "lmem_bytes", "tensor_bytes")]
            peak = one[f]["peak_over_empty_kb"] * 1024
            rows.append([m["model"], f, *(mb(x) for x in parts), mb(peak), f"{peak / sum(parts[:2]):.2f}", f"{peak / sum(parts):.2f}",
                         mb(two[f]["peak_over_empty_kb"] * 1024),
                         *(mb(one[o]["peak_over_empty_kb"] * 1024) if o in one else "-" for o in ("ort_f32", "ort_int8"))])
    empty = ", ".join(f"{k} {v / 1000:.1f} MB" for k, v in part["empty_kb"].items())
    return [f"MB above an empty process ({empty}). LMEM is the emulated local memory, tensors are the model's inputs and outputs:", "",
            *table(["model", "format", "weights", "arena", "LMEM", "tensors", "MICA peak", "to weights + arena", "to all four", "2 threads", "ORT FP32",
                    "ORT INT8"], rows)]


def percent(x):
    return f"{100 * x:.0f} %"


def run_of(part, threads, weights="streamed"):
    return next(r for r in part["runs"] if r["threads"] == threads and r["weights"] == weights)


def by_group(run, formats):
    """Per kind of layer: MACs of all of the network's over their time, as a share of the ceiling."""
    rows = []
    for group in dict.fromkeys(x["group"] for x in run["layers"]):
        row = [group]
        for f in formats:
            found = [x for x in run["layers"] if x["group"] == group and x["format"] == f]
            macs = sum(x["macs"] * x["count"] for x in found)
            # Each layer's time in units of the ceiling of its own moment.
            ideal = sum(x["macs"] * x["count"] / x["best_share"] for x in found)
            row.append(percent(macs / ideal))
        rows.append(row)
    return rows


def layers_short(part):
    run = run_of(part, 1)
    return table(["layers", *(f for f in ("e4m3", "e5m2", "bf16", "i8", "f32"))],
                 [r for r in by_group(run, ("e4m3", "e5m2", "bf16", "i8", "f32")) if r[0] not in ("matmul", "depthwise 5x5")])


def roof(run, entry):
    """What the format's ceiling and L2's bandwidth permit, GMAC/s."""
    return min(entry["ceiling"], entry["macs"] / entry["bytes"] * run["ceilings"]["read L2"])


def ceilings(part):
    names = list(part["runs"][0]["ceilings"])
    rows = [[n, "GB/s" if n.startswith("read") else "GMAC/s", *(f"{run_of(part, t)['ceilings'][n]:.0f}" for t in (1, 2))] for n in names]
    return table(["ceiling", "unit", "1 thread", "2 threads"], rows)


def steadiness(run):
    lost = sorted(x["share"][0] / x["best_share"] for x in run["layers"])
    return (f"With {run['threads']} thread{'s' if run['threads'] > 1 else ''} the median slice of a layer reached "
            f"{percent(lost[len(lost) // 2])} of its best one.")


def layers(part):
    lines = ceilings(part)
    formats = list(dict.fromkeys(x["format"] for x in part["runs"][0]["layers"]))
    for run in part["runs"]:
        lines += [f"By kind of layer, {run['threads']} thread{'s' if run['threads'] > 1 else ''}, {run['weights']} weights: share of the format's "
                  "ceiling over all of the network's layers of that kind:", "", *table(["layers", *formats], by_group(run, formats))]
    one, two = run_of(part, 1), run_of(part, 2)
    rows = []
    for name in dict.fromkeys(x["layer"] for x in one["layers"] if x["group"] != "matmul"):
        found = {(t, x["format"]): x for t, r in ((1, one), (2, two)) for x in r["layers"] if x["layer"] == name}
        first = found[1, formats[0]]
        cells = [f"{found[1, f]['gmac_s']:.0f} ({percent(found[1, f]['best_share'])})" for f in formats]
        cells += [percent(found[2, f]["best_share"]) for f in ("e4m3", "i8")]
        rows.append([name, first["count"], *cells])
    lines += ["Layer by layer, streamed weights: GMAC/s of the best run (share of the best slice of the ceiling around it), one thread; shares with two threads. "
              f"{steadiness(one)} {steadiness(two)}", ""]
    lines += table(["layer", "times", *formats, "e4m3, 2 threads", "i8, 2 threads"], rows)
    rows = [[x["layer"], x["format"], f"{x['gmac_s']:.1f}", percent(x["best_share"]), f"{roof(one, x):.0f}", percent(x["gmac_s"] / roof(one, x))]
            for x in one["layers"] if x["group"].startswith("depthwise") and x["format"] in ("e4m3", "i8", "f32")]
    lines += ["Depthwise layers against the lower one of their two roofs: the ceiling, and L2's bandwidth times MACs per byte:", ""]
    return lines + table(["layer", "format", "GMAC/s", "of the ceiling", "roof", "of the roof"], rows)


def accuracy(part):
    lines = []
    if part.get("top1"):
        lines += ["Top-1 on the 10,000 test images of Fashion-MNIST:", ""]
        names = ["ort_f32", "ort_int8", "f32", "bf16", "e4m3", "e5m2", "int8"]
        lines += table(["model", "ORT FP32", "ORT INT8", *(f"MICA {n}" for n in names[2:])],
                       [[m, *(f"{100 * r[n]:.2f} %" if n in r else "-" for n in names)] for m, r in part["top1"].items()])
    if part.get("cosine"):
        lines += ["Cosine of all outputs to ONNX Runtime FP32's, one photo or image:", ""]
        names = ["ort_int8", *catalog.FORMATS]
        lines += table(["model", "ORT INT8", *(f"MICA {n}" for n in names[1:])],
                       [[m, *(f"{r[n]:.5f}" if n in r else "-" for n in names)] for m, r in part["cosine"].items()])
    return lines


def accuracy_short(part):
    return accuracy({"top1": part.get("top1")}) or ["Not measured."]


def device(part):
    lines = ["Empty jobs through driver, firmware and a core (emulated guest):", ""]
    lines += table(["submit", "depth", "jobs/s", "latency us: min", "median", "p99"],
                   [[j["submit"], j["depth"], f"{j['jobs_per_s']:.0f}", *(f"{j['latency_us'][k]:.0f}" for k in ("min", "median", "p99"))]
                    for j in part["null_jobs"]])
    lines += ["Models in e4m3 (cycles are deterministic):", ""]
    return lines + table(["model", "cores", "cycles", "MAC utilization", "DRAM bytes"],
                         [[m["name"], m["cores"], m["cycles"], f"{100 * m['mac_utilization']:.1f} %", m["dram_bytes"]] for m in part["models"]])

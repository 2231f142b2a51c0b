# SPDX-License-Identifier: MIT
"""The engine's kernels layer by layer, as shares of the ceilings that engine_bench measures in between. Several passes over
all layers, because a disturbance that lasts longer than one layer would hit all of its rounds."""
import json
import statistics

import catalog
from catalog import note, quiet

RUNS = [{"threads": 1, "weights": "streamed"}, {"threads": 2, "weights": "streamed"}, {"threads": 1, "weights": "warm"}]


def one_pass(run, settings):
    options = [f"--threads={run['threads']}", f"--rounds={settings['layer_rounds']}", f"--slice={settings['layer_slice_s']}", "--json"]
    return json.loads(quiet(f"{catalog.BUILD}/engine_bench", *options, *(["--warm"] if run["weights"] == "warm" else [])))


def merged(passes):
    """The best time of all passes, the median of their best shares, and that of their
    median shares with its spread."""
    result = dict(passes[0])
    result["ceilings"] = {k: max(p["ceilings"][k] for p in passes) for k in passes[0]["ceilings"]}
    result["layers"] = []
    for same in zip(*(p["layers"] for p in passes)):
        entry = dict(same[0])
        shares = sorted(x["share"][0] for x in same)
        entry["us"] = min(x["us"] for x in same)
        entry["gmac_s"] = max(x["gmac_s"] for x in same)
        entry["best_share"] = statistics.median(x["best_share"] for x in same)
        entry["ceiling"] = statistics.median(x["ceiling"] for x in same)
        entry["share"] = [statistics.median(shares), shares[0], shares[-1]]
        result["layers"].append(entry)
    return result


def measure(_peer, settings):
    passes = [[] for _ in RUNS]
    for n in range(settings["layer_passes"]):
        note(f"layers: pass {n + 1} of {settings['layer_passes']}")
        for run, found in zip(RUNS, passes):
            found.append(one_pass(run, settings))
    return {"runs": [merged(p) for p in passes]}

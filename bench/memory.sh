#!/bin/bash
# SPDX-License-Identifier: MIT
# DRAM for intermediate values of compiled models beside other planners' on the unfused graph, and each step's share.
# bench/memory.sh [MODEL.onnx]...; --format=... and the like are handed on to mica compile.
set -euo pipefail
cd "$(dirname "$0")/.."
mica=${MICA:-build/mica}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

models=() options=()
for arg; do
	case $arg in
	-*) options+=("$arg") ;;
	*) models+=("$arg") ;;
	esac
done
if [ ${#models[@]} -eq 0 ]; then
	for name in light/light_resnet50 light/light_densenet121 light/light_inception_v1 mobilenet_v2_224; do
		[ ! -f "../shared/models/$name.onnx" ] || models+=("../shared/models/$name.onnx")
	done
	models+=(models/nanodet_g_416.onnx)
fi

for model in "${models[@]}"; do
	name=$(basename "$model" .onnx)
	"$mica" compile "$model" -o "$work/m.mica" "${options[@]}" --report="$work/$name.lmem.json" >/dev/null 2>"$work/err" ||
		{ cat "$work/err" >&2 && exit 1; }
	"$mica" compile "$model" -o "$work/m.mica" "${options[@]}" --report="$work/$name.tiles.json" --no-pass=residency --minimize=memory \
		>/dev/null 2>"$work/err" || { cat "$work/err" >&2 && exit 1; }
done

python3 - "$work" "${models[@]}" <<'E2'
import json, os, sys

def load(name, kind):
    return json.load(open(f"{sys.argv[1]}/{name}.{kind}.json"))["memory"]

def line(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |")

names = [os.path.basename(m).removesuffix(".onnx") for m in sys.argv[2:]]
print("Bytes of DRAM. Unfused graph in file order; compiled with LMEM for tiles only (--no-pass=residency --minimize=memory); as compiled by default.\n")
line("model", "no reuse", "first fit", "best fit", "lower bound", "tiles only", "its bound", "vs best fit", "default", "its bound", "vs best fit", "LMEM")
line(*["---"] * 12)
for n in names:
    t, d = load(n, "tiles"), load(n, "lmem")
    u = t["unfused"]
    against = lambda x: f"{100 * (x / u['best_fit'] - 1):+.1f} %"
    line(n, u["no_reuse"], u["first_fit"], u["best_fit"], u["lower_bound"], t["arena_size"], t["arena_lower_bound"], against(t["arena_size"]),
         d["arena_size"], d["arena_lower_bound"], against(d["arena_size"]), d["lmem_peak"])
for kind, what in ("tiles", "with LMEM for tiles only"), ("lmem", "by default"):
    print(f"\nEach step's share {what}, bytes of the peak of all intermediate values; from the unfused graph, planned, to the arena.\n")
    steps = [s["name"] for s in load(names[0], kind)["savings"]]
    line("model", "unfused", *steps, "arena")
    line(*["---"] * (len(steps) + 3))
    for n in names:
        m = load(n, kind)
        line(n, m["unfused"]["planned"], *[s["peak_before"] - s["peak_after"] if s["taken"] else 0 for s in m["savings"]], m["arena_size"])
E2

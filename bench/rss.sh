#!/bin/bash
# SPDX-License-Identifier: MIT
# What a run on the CPU takes in memory, beside what the compiled model says that it needs: arena, LMEM (as far as the plan uses it), inputs and
# outputs, weights. Usage: bench/rss.sh [MODEL.mica]...; without any, the models and formats of docs/cpu.md, compiled here.
set -euo pipefail
cd "$(dirname "$0")/.."
mica=${MICA:-build/mica} run=build/bench/mica_run
make -s "$mica" "$run" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Peak of a process with its code read whole; $1: threads, then the model, if any.
peak() {
	local threads=$1
	shift
	{ [ $# -eq 0 ] || echo "run 0.05"; echo rss; } | "$run" --threads="$threads" --code "$@" | sed -n 's/.*"peak_kb": \([0-9]*\).*/\1/p'
}

models=("$@")
if [ ${#models[@]} -eq 0 ]; then
	for onnx in ../shared/models/light/light_resnet50.onnx models/nanodet_g_416.onnx ../shared/models/mobilenet_v2_224.onnx models/fashion_resnet.onnx; do
		[ -f "$onnx" ] || { echo "$onnx is not here, skipped" >&2 && continue; }
		name=$(basename "$onnx" .onnx)
		# build/bench has what make bench compiled, with weights of its own for light_resnet50.
		for format in e4m3 int8; do
			out=build/bench/$name-$format-1.mica
			if [ ! -f "$out" ]; then
				out=$work/$name-$format.mica
				"$mica" compile "$onnx" -o "$out" --format=$format --calib=models/photos >/dev/null 2>"$work/err" ||
					"$mica" compile "$onnx" -o "$out" --format=$format >/dev/null 2>"$work/err" || { cat "$work/err" >&2 && continue; }
			fi
			models+=("$out")
		done
	done
fi

echo "| model | weights | arena | LMEM | tensors | sum | 1 thread | to the sum | to weights, arena | 2 threads | to the sum |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
empty1=$(peak 1) empty2=$(peak 2)
for model in "${models[@]}"; do
	one=$(($(peak 1 "$model") - empty1)) two=$(($(peak 2 "$model") - empty2))
	lmem=$("$mica" dump "$model" --memory | sed -n 's/^LMEM: peak \([0-9]*\),.*/\1/p')
	"$mica" info "$model" --json | python3 -c '
import json, math, sys
i, one, two, size = json.load(sys.stdin), int(sys.argv[2]), int(sys.argv[3]), {"f32": 4, "i32": 4, "bf16": 2}
tensors = sum(math.prod(t["shape"]) * size.get(t["dtype"], 1) for t in i["inputs"] + i["outputs"]) / 1024
weights, arena, lmem = i["weights_bytes"] / 1024, i["arena_bytes"] / 1024, int(sys.argv[4]) * i["cores"] / 1024
total = weights + arena + lmem + tensors
cells = [f"{x:.0f}" for x in (weights, arena, lmem, tensors, total, one)] + [f"{one / total:.2f}", f"{one / (weights + arena):.2f}", f"{two}", f"{two / total:.2f}"]
print("| " + " | ".join([sys.argv[1], *cells]) + " |")' "$(basename "$model" .mica)" "$one" "$two" "$lmem"
done

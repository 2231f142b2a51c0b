#!/bin/bash
# SPDX-License-Identifier: MIT
# The documentation quotes what was measured: README.md, docs/speed.md, docs/quantization.md and the picture are what bench/results/ gives. The
# measuring programs work: layers are measured, contestants answer, a broken command is refused.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh
export PYTHONDONTWRITEBYTECODE=1

# published: what README.md, docs/speed.md and the picture say.
published() {
	check "pages are those of bench/results/" python3 bench/bench.py --check
	# A figure changed by hand is found.
	mkdir -p "$work/tree"
	cp -r --parents README.md docs/speed.md docs/roofline.svg bench "$work/tree"
	sed -i 's/| light_resnet50 | 1 | /&9/' "$work/tree/README.md"
	expect "a figure changed by hand is found" 1 'README.md' env -C "$work/tree" python3 bench/bench.py --check
	check "texts of the roofline picture do not overlap" overlaps
}

# ---- the picture: no text on another one ----
overlaps() {
	python3 - <<-'EOF'
		import sys
		import xml.etree.ElementTree as tree
		boxes = []
		for t in tree.parse("docs/roofline.svg").iter("{http://www.w3.org/2000/svg}text"):
		    if "transform" in t.attrib:
		        continue
		    x, y, size = float(t.get("x")), float(t.get("y")), float(t.get("font-size"))
		    w = 0.55 * size * len(t.text)
		    x -= {"middle": w / 2, "end": w}.get(t.get("text-anchor"), 0)
		    boxes.append((x, y - 0.75 * size, x + w, y, t.text))
		bad = [(a[4], b[4]) for i, a in enumerate(boxes) for b in boxes[i + 1:] if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]]
		sys.exit(f"overlapping text: {bad}" if bad else 0)
	EOF
}
if [ -f bench/results/results.json ]; then
	published
else
	skip "pages are those of bench/results/" "nothing has been published yet (make bench PUBLISH=1)"
fi

# ---- docs/quantization.md: tables from bench/results/quant.json, targets ----
quantization() {
	check "docs/quantization.md is that of bench/results/" bench/quant.sh --check
	cp -r --parents docs/quantization.md bench scripts/lib.sh "$work/tree"
	sed -i 's/^| FP32 | 9/&9/' "$work/tree/docs/quantization.md"
	expect "an accuracy changed by hand is found" 1 'quantization.md is not as' "$work/tree/bench/quant.sh" --check
}
mkdir -p "$work/tree"
if [ -f bench/results/quant.json ]; then
	quantization
else
	skip "docs/quantization.md is that of bench/results/" "nothing has been published yet (bench/quant.sh --publish)"
fi
expect "an unknown row is refused" 1 'no part, option, model or row' bench/quant.sh top1 --row=INT9
check "targets that are missed are told, and by the worst output" env PYTHONPATH=bench python3 -c '
import quant_rows as rows, quant_tables as tables
photo = {"inside": {"mean": 0.9971, "worst": 0.99497, "output": "o", "photo": "p"}, "cycles": 1}
result = {"photos": {"nanodet_g_416": {"E4M3, center, adaround": photo}},
          "top1": {rows.FASHION[1]: {"FP32": {"top1": 93.11}, rows.INT8_BEST: {"top1": 92.81}}}}
said = tables.summary(result)
assert "1 of" in said and "not measured" in said and said.endswith("cosine 0.995 (nanodet_g_416: 0.9949)"), said
table = "\n".join(tables.targets(result))
assert "| 92.81 | 92.81 | met |" in table and "0.9971 / 0.9949 | 0.9950 | **not met** (the mean is)" in table, table'

if [ -x build/bench/engine_bench ] && [ -x build/bench/mica_run ]; then
	check "one layer is measured" build/bench/engine_bench --filter="conv 3x3/1 128->128" --formats=e4m3,i8 --rounds=2 --slice=0.0001 --json
	build/bench/engine_bench --filter="conv 3x3/1 128->128" --formats=e4m3,i8 --rounds=2 --slice=0.0001 --json >"$work/layers.json"
	check "two formats of it, with times and shares" python3 -c '
import json, sys
found = json.load(open(sys.argv[1]))["layers"]
assert [x["format"] for x in found] == ["e4m3", "i8"], found
assert all(x["us"] > 0 and x["gmac_s"] > 0 and x["best_share"] >= 0 for x in found), found' "$work/layers.json"
	expect "an unknown option is refused" 2 usage build/bench/engine_bench --nonsense
	"$MICA" compile models/fashion_mobilenetv2.onnx -o "$work/m.mica" --calib=models/photos >/dev/null 2>&1
	printf 'run 0.001\nrss\n' | build/bench/mica_run "$work/m.mica" >"$work/answers" 2>&1
	check "a contestant answers" grep -q '^{"runs": [1-9]' "$work/answers"
	check "a contestant tells its memory" grep -q '^{"peak_kb": [1-9]' "$work/answers"
	expect "a contestant refuses what it does not know" 2 '' bash -c "echo dance | build/bench/mica_run '$work/m.mica'"
else
	skip "layers and contestants" "the programs are not built (make benches)"
fi
summary

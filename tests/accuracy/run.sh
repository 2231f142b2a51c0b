#!/bin/bash
# SPDX-License-Identifier: MIT
# Accuracy on real data: the detector against golden FP32 outputs, the classifiers on the whole Fashion-MNIST test set.
# FP32 top-1 figures: models/fashion_*.md (ONNX Runtime).
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

threads=$(nproc)
data=/usr/share/datasets/fashion-mnist
images=$data/t10k-images-idx3-ubyte.gz
labels=$data/t10k-labels-idx1-ubyte.gz

# ---- nanodet, e4m3: every output's cosine is at least 0.99 ----
nanodet() {
	local at=0 name bytes
	check "nanodet compiles (e4m3)" "$MICA" compile models/nanodet_g_416.onnx -o "$work/nanodet.mica" --format=e4m3 --calib=models/photos --threads="$threads"
	check "nanodet runs on the golden input" "$MICA" run "$work/nanodet.mica" --input=models/nanodet_g_416.in.bin --output="$work/nanodet" --backend=cpu --threads="$threads"
	for output in cls_s8:865280 cls_s16:216320 cls_s32:54080 box_s8:475904 box_s16:118976 box_s32:29744; do
		name=${output%:*}
		bytes=${output#*:}
		tail -c +$((at + 1)) models/nanodet_g_416.out.bin | head -c "$bytes" >"$work/golden.bin"
		at=$((at + bytes))
		check "nanodet $name: cosine >= 0.99" "$MICA" diff "$work/nanodet/$name.npy" "$work/golden.bin" --min-cosine=0.99
		"$MICA" diff "$work/nanodet/$name.npy" "$work/golden.bin" || true
	done
}

# The boxes of a photo whose contents are known.
photo() {
	local dog
	for dog in /usr/share/darknet/data/dog.jpg "${MICA_DOG:-}"; do [ -f "$dog" ] && break; done
	if [ ! -f "$dog" ]; then
		skip "nanodet sees bicycle and dog" "dog.jpg is not here (Debian package darknet, or MICA_DOG=FILE)"
		return
	fi
	"$MICA" run "$work/nanodet.mica" --input="$dog" --backend=cpu --threads="$threads" >"$work/dog.txt"
	cat "$work/dog.txt"
	check "nanodet sees bicycle and dog" bash -c "grep -q '^bicycle' '$work/dog.txt' && grep -q '^dog' '$work/dog.txt'"
}

# ---- fashion MODEL FP32-TOP1 FORMAT POINTS: all 10,000 images, at most that many points below FP32 ----
fashion() {
	local model=$1 fp32=$2 format=$3 points=$4 top1
	"$MICA" compile "models/$model.onnx" -o "$work/f.mica" --format="$format" --calib="$data/train-images-idx3-ubyte.gz:512" --threads="$threads" &&
		"$MICA" eval "$work/f.mica" --images="$images" --labels="$labels" --backend=cpu --threads="$threads" --json >"$work/eval.json"
	top1=$(json "$work/eval.json" top1) || top1=0
	echo "$model $format: top-1 $top1, FP32 $fp32"
	check "$model $format within $points points of FP32" awk -v t="$top1" -v f="$fp32" -v p="$points" 'BEGIN { exit !(t * 100 >= f * 100 - p - 1e-9) }'
	rm -f "$work/eval.json"
}

nanodet
photo
if [ -f "$images" ]; then
	fashion fashion_mobilenetv2 0.9289 e4m3 1.0
	fashion fashion_mobilenetv2 0.9289 int8 0.5
	fashion fashion_resnet 0.9311 e4m3 1.0
	fashion fashion_resnet 0.9311 int8 0.5
	fashion fashion_mobilenetv2_qat 0.9284 int8 0.1
else
	for case in "mobilenetv2 e4m3" "mobilenetv2 int8" "resnet e4m3" "resnet int8" "mobilenetv2_qat int8"; do
		skip "fashion_$case" "Debian package dataset-fashion-mnist is not installed"
	done
fi
summary

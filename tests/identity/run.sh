#!/bin/bash
# SPDX-License-Identifier: MIT
# The result is a function of model and input alone: the same bytes from every instruction set, thread count and number of cores.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

best=$("$MICA" info --json | json /dev/stdin cpu isa)
case $best in
avx512) levels="scalar avx2 avx512" ;;
avx2) levels="scalar avx2" ;;
*) levels=scalar ;;
esac

# same NAME DIR: the codes and values in DIR are those of the reference run.
same() {
	local name=$1 dir=$2 file out
	for file in "$work/ref"/*.npy; do
		if ! out=$(cmp "$file" "$dir/${file##*/}" 2>&1); then
			not_ok "$name" "$out"
			return
		fi
	done
	ok "$name"
}

# all_ways MODEL FORMAT INPUT CALIB
all_ways() {
	local model=$1 format=$2 input=$3 calib=$4 cores level threads
	local repair=none
	[ "$model" != fashion_mobilenetv2 ] || repair=center # constants behind activations
	rm -rf "$work/ref"
	for cores in 1 2; do
		if ! "$MICA" compile "models/$model.onnx" -o "$work/m.mica" --format="$format" --cores=$cores --calib="$calib" --repair=$repair --threads=2 >/dev/null 2>"$work/err"; then
			not_ok "$model $format: compiles for $cores cores" "$(cat "$work/err")"
			continue
		fi
		for level in $levels; do
			for threads in 1 2; do
				[ "$level-$threads-$cores" != scalar-2-2 ] || continue # slow, and covered by the others
				rm -rf "$work/got"
				if ! "$MICA" run "$work/m.mica" --input="$input" --output="$work/got" --raw --backend=cpu --isa="$level" --threads=$threads >"$work/err" 2>&1; then
					not_ok "$model $format: $level, $threads threads, $cores cores" "$(cat "$work/err")"
				elif [ ! -d "$work/ref" ]; then
					mv "$work/got" "$work/ref"
					ok "$model $format: reference ($level, $threads thread, $cores core)"
				else
					same "$model $format: $level, $threads threads, $cores cores" "$work/got"
				fi
			done
		done
	done
}

for format in e4m3 e5m2 int8; do
	all_ways nanodet_g_416 $format models/nanodet_g_416.in.bin models/photos
	all_ways fashion_mobilenetv2 $format models/photos/chelsea.jpg models/photos
	all_ways fashion_resnet $format models/photos/chelsea.jpg models/photos
done
[ "$levels" = "scalar avx2 avx512" ] || skip "avx512" "this CPU has only $best"
summary

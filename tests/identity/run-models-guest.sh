#!/bin/bash
# SPDX-License-Identifier: MIT
# Every model of MICA_MODELS (else ../shared/models) in four formats, and a light topology: device and CPU give the same bytes.
# One guest runs all of it. (That f32 is within 1e-4 of ONNX Runtime is tests/unit/compiler_models_test.c.)
# MICA_FORMATS and MICA_ONLY (a pattern of names) choose.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

dir=${MICA_MODELS:-../shared/models}
[ -d "$dir" ] || { skip "models" "no folder $dir"; summary; exit; }
share=$work/share
mkdir -p "$share/in"

# Input of a model: its sample beside it, or a ramp over the elements of its input.
input_of() {
	local stem=${1%.onnx} n=150528
	case ${stem##*/} in
	fashion_resnet_b8) n=6272 ;;
	fashion*) n=784 ;;
	esac
	if [ -f "$stem.in.bin" ]; then
		echo "$stem.in.bin"
	else
		python3 -c "import array, sys; array.array('f', (i / $n for i in range($n))).tofile(sys.stdout.buffer)" >"$work/ramp.bin"
		echo "$work/ramp.bin"
	fi
}

cases=
for model in "$dir"/*.onnx "$dir"/light/light_resnet50.onnx; do
	stem=$(basename "$model" .onnx)
	# shellcheck disable=SC2053 # a pattern is meant
	[[ -f $model && $stem = ${MICA_ONLY:-*} ]] || continue
	input=$(input_of "$model")
	cp "$input" "$share/in/$stem.bin"
	for format in ${MICA_FORMATS:-e4m3 int8 bf16 f32}; do
		[ "$stem" != light_resnet50 ] || [ "$format" = e4m3 ] || continue
		name=$stem-$format
		if "$MICA" compile "$model" -o "$share/$name.mica" --format="$format" --calib="$input" --threads=2 >/dev/null 2>"$work/err" &&
			"$MICA" run "$share/$name.mica" --input="$share/in/$stem.bin" --output="$share/cpu/$name" --raw --backend=cpu --threads=2 >"$work/err" 2>&1; then
			cases+=" $name"
		else
			not_ok "$name compiles and runs on the CPU" "$(cat "$work/err")"
		fi
	done
done

for name in $cases; do
	echo "mica run $name.mica --input=in/${name%-*}.bin --output=device/$name --raw --backend=device >$name.log 2>&1"
done >"$share/guest.sh"
scripts/guest-run.sh --share "$share" --timeout 1800 -- sh guest.sh

for name in $cases; do
	if ! [ -d "$share/device/$name" ]; then
		not_ok "$name on the device" "$(cat "$share/$name.log" 2>&1)"
	elif out=$(diff -rq "$share/cpu/$name" "$share/device/$name" 2>&1); then
		ok "$name: the device's bytes are the CPU's"
	else
		not_ok "$name: the device's bytes are the CPU's" "$out"
	fi
done
summary

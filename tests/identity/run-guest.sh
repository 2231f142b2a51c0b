#!/bin/bash
# SPDX-License-Identifier: MIT
# Device == CPU, byte for byte: three models in three formats, 1 and 2 cores, submitted by io_uring and by ioctl; and the
# same predicted classes for the first 200 images of the test set. One guest runs all of it.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

data=/usr/share/datasets/fashion-mnist
share=$work/share
mkdir -p "$share/in"
cp models/nanodet_g_416.in.bin models/photos/chelsea.jpg "$share/in"

input_of() { case $1 in nanodet*) echo nanodet_g_416.in.bin ;; *) echo chelsea.jpg ;; esac }

# On the host: compile, and run on the CPU.
cases=
for model in nanodet_g_416 fashion_mobilenetv2 fashion_resnet; do
	for format in e4m3 e5m2 int8; do
		for cores in 1 2; do
			name=$model-$format-$cores
			calib=models/photos
			[ ! -d $data ] || [ $model = nanodet_g_416 ] || calib=$data/train-images-idx3-ubyte.gz:256
			repair=none
			[ $model != fashion_mobilenetv2 ] || repair=center	# constants behind activations
			if "$MICA" compile models/$model.onnx -o "$share/$name.mica" --format=$format --cores=$cores --calib=$calib --repair=$repair --threads=2 >/dev/null 2>"$work/err" &&
				"$MICA" run "$share/$name.mica" --input="$share/in/$(input_of $model)" --output="$share/cpu/$name" --raw --backend=cpu --threads=2 >"$work/err" 2>&1; then
				cases+=" $name"
			else
				not_ok "$name compiles and runs on the CPU" "$(cat "$work/err")"
			fi
		done
	done
done
if [ -d $data ]; then
	gzip -dc $data/t10k-images-idx3-ubyte.gz | python3 -c 'import sys; d = sys.stdin.buffer.read(16 + 200 * 784); sys.stdout.buffer.write(d[:4] + (200).to_bytes(4, "big") + d[8:])' >"$share/images.idx"
	gzip -dc $data/t10k-labels-idx1-ubyte.gz | python3 -c 'import sys; d = sys.stdin.buffer.read(8 + 200); sys.stdout.buffer.write(d[:4] + (200).to_bytes(4, "big") + d[8:])' >"$share/labels.idx"
fi

# In the guest.
{
	for name in $cases; do
		for submit in uring ioctl; do
			echo "mica run $name.mica --input=in/$(input_of "$name") --output=$submit/$name --raw --backend=device --submit=$submit >$name-$submit.log 2>&1"
		done
	done
	if [ -d $data ]; then
		for model in fashion_mobilenetv2 fashion_resnet; do
			for format in e4m3 int8; do
				name=$model-$format-2
				echo "mica eval $name.mica --images=images.idx --labels=labels.idx --backend=device --predictions=$name.device.npy >$name-eval.log 2>&1"
			done
		done
	fi
	echo 'dmesg >dmesg'
} >"$share/guest.sh"
scripts/guest-run.sh --share "$share" --timeout 1200 -- sh guest.sh

for name in $cases; do
	for submit in uring ioctl; do
		if ! [ -d "$share/$submit/$name" ]; then
			not_ok "$name, $submit" "$(cat "$share/$name-$submit.log" 2>&1)"
			continue
		fi
		different=
		for file in "$share/cpu/$name"/*.npy; do
			cmp -s "$file" "$share/$submit/$name/${file##*/}" || different+=" ${file##*/}"
		done
		if [ -z "$different" ]; then ok "$name, $submit: device == CPU"; else not_ok "$name, $submit: device == CPU" "different:$different"; fi
	done
done
if [ -d $data ]; then
	for model in fashion_mobilenetv2 fashion_resnet; do
		for format in e4m3 int8; do
			name=$model-$format-2
			"$MICA" eval "$share/$name.mica" --images="$share/images.idx" --labels="$share/labels.idx" --backend=cpu --threads=2 --predictions="$share/$name.cpu.npy"
			check "$name: the same classes for 200 images" cmp "$share/$name.cpu.npy" "$share/$name.device.npy"
			cat "$share/$name-eval.log"
		done
	done
else
	skip "the same classes for 200 images" "Debian package dataset-fashion-mnist is not installed"
fi
if grep -E 'WARNING|BUG:|Oops|Call Trace' "$share/dmesg" >"$work/bad"; then
	not_ok "no kernel warning" "$(cat "$work/bad")"
else
	ok "no kernel warning"
fi
summary

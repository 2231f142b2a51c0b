#!/bin/bash
# SPDX-License-Identifier: MIT
# `make run`: compile a detector to FP8, run it on the CPU, then on the emulated device in a guest, and compare the bytes.
# BACKEND=cpu stops after the CPU.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
model=models/nanodet_g_416.onnx
photo=models/photos/astronaut.jpg
compiled=build/run/nanodet.mica

# shown COMMAND...: print a command as one could type it, then run it.
shown() {
	printf '\n$ %s\n' "$*"
	"$@"
}

compile() {
	if [ "$compiled" -nt "$model" ] && [ "$compiled" -nt build/mica ]; then
		printf '\n%s is up to date\n' "$compiled"
		return
	fi
	shown build/mica compile "$model" -o "$compiled" --format=e4m3 --calib=models/photos
}

on_cpu() {
	rm -rf build/run/cpu
	shown build/mica run "$compiled" --input="$photo" --output=build/run/cpu --backend=cpu
	say_picture build/run/cpu
}

on_device() {
	local arguments=(run "$compiled" --input="$photo" --output=build/run/device --backend=device)
	rm -rf build/run/device
	printf '\nIn the guest:\n$ mica %s\n' "${arguments[*]}"
	scripts/guest-run.sh --share "$MICA_TOP" --timeout 600 -- mica "${arguments[@]}"
	say_picture build/run/device
}

say_picture() {
	[ ! -f "$1/detections.png" ] || echo "picture: $1/detections.png"
}

# same_bytes DIR DIR: every tensor that one run wrote, the other wrote with the same bytes.
same_bytes() {
	local file count=0 bytes=0
	for file in "$1"/*.npy "$1"/*.bin; do
		[ -e "$file" ] || continue
		cmp "$file" "$2/$(basename "$file")" || die "the device's result differs from the CPU's"
		count=$((count + 1))
		bytes=$((bytes + $(stat -c %s "$file")))
	done
	[ "$count" -gt 0 ] || die "$1 holds no tensors to compare"
	printf '\ndevice == CPU: %s tensors, %s bytes, byte-identical\n' "$count" "$bytes"
}

scripts/deps.sh user
make -s --no-print-directory all
for file in build/mica "$model" "$photo"; do
	[ -e "$file" ] || die "$file is missing"
done
mkdir -p build/run
compile
on_cpu
[ "${BACKEND:-}" != cpu ] || exit 0

scripts/deps.sh device
make -s --no-print-directory device
on_device
same_bytes build/run/cpu build/run/device

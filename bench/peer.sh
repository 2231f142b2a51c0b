#!/bin/bash
# SPDX-License-Identifier: MIT
# Fetch the peer (ONNX Runtime, as npm packages carry it) into the cache and build ort_run. Prints the folder that holds
# ort_run and libonnxruntime.so.1. Only bench/ uses it.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

dir=$MICA_CACHE/peer-onnxruntime-1.30.0
if [ ! -x "$dir/ort_run" ] || [ "$MICA_TOP/bench/peer/ort_run.c" -nt "$dir/ort_run" ]; then
	command -v npm >/dev/null || die "npm is needed to fetch ONNX Runtime (apt-get install npm)"
	tmp=$(mktemp -d "$MICA_CACHE/peer.XXXXXX")
	MICA_CLEANUP+=("rm -rf '$tmp'")
	(
		cd "$tmp"
		npm pack --silent onnxruntime-node@1.30.0 com.github.asus4.onnxruntime@0.4.9 >&2
		for file in *.tgz; do mkdir "x-$file" && tar -xzf "$file" -C "x-$file"; done
		mkdir out
		cp x-onnxruntime-node*/package/bin/napi-v6/linux/x64/libonnxruntime.so.1 out/
		headers=$(dirname "$(find . -name onnxruntime_c_api.h | head -n 1)")
		gcc -O2 -Wall -I"$headers" "$MICA_TOP/bench/peer/ort_run.c" -o out/ort_run -ldl
	)
	rm -rf "$dir"
	mv "$tmp/out" "$dir"
	rm -rf "$tmp"
fi
echo "$dir"

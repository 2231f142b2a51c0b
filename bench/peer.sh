#!/bin/bash
# SPDX-License-Identifier: MIT
# The peer: ONNX Runtime's library and C headers, fetched once from npm into the cache, and ort_run built against them.
# Prints the library's path; ort_run is build/bench/ort_run. Only bench/ uses it.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

VERSION=1.30.0
dir=$MICA_CACHE/onnxruntime-$VERSION
run=$MICA_BUILD/bench/ort_run

fetch() {
	command -v npm >/dev/null || die "npm is needed to fetch ONNX Runtime (apt-get install npm)"
	new_dir "$dir"
	step FETCH "onnxruntime-node $VERSION (npm)"
	(
		cd "$REPLY"
		npm pack --silent --fetch-retries=1 --fetch-timeout=60000 "onnxruntime-node@$VERSION" com.github.asus4.onnxruntime@0.4.9 >&2 ||
			die "npm cannot fetch onnxruntime-node $VERSION"
		for file in *.tgz; do
			mkdir "x-$file"
			tar -xzf "$file" -C "x-$file"
		done
		mv x-onnxruntime-node*/package/bin/napi-v6/linux/x64/libonnxruntime.so.1 .
		mkdir include
		find . -name 'onnxruntime_*.h' -not -path './include/*' -exec cp -n {} include/ \;
		rm -rf ./*.tgz ./x-*
	)
	publish_dir "$REPLY" "$dir"
}

lock onnxruntime
[ -f "$dir/libonnxruntime.so.1" ] || fetch
mkdir -p "$(dirname "$run")"
if [ ! -x "$run" ] || [ "$MICA_TOP/bench/peer/ort_run.c" -nt "$run" ] || [ "$MICA_TOP/bench/bench_serve.h" -nt "$run" ]; then
	gcc -O2 -Wall -D_GNU_SOURCE -I"$dir/include" -I"$MICA_TOP/bench" "$MICA_TOP/bench/peer/ort_run.c" -o "$run.$$" -ldl
	publish_file "$run.$$" "$run"
fi
echo "$dir/libonnxruntime.so.1"

#!/bin/bash
# SPDX-License-Identifier: MIT
# The peer: ONNX Runtime's library and C headers, fetched once from npm into the cache, and two programs built against them.
# Prints the library's path; build/bench/ort_run measures, build/bench/ort_io runs any model once. Only bench/ uses it.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

VERSION=1.30.0
dir=$MICA_CACHE/onnxruntime-$VERSION
run=$MICA_BUILD/bench

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
mkdir -p "$run"
for program in ort_run ort_io; do
	source=$MICA_TOP/bench/peer/$program.c
	out=$run/$program
	[ -z "$(find "$source" "$MICA_TOP/bench/peer/ort_peer.h" "$MICA_TOP/bench/bench_serve.h" -newer "$out" 2>&1)" ] && continue
	gcc -O2 -Wall -D_GNU_SOURCE -I"$dir/include" -I"$MICA_TOP/bench" "$source" -o "$out.$$" -ldl
	publish_file "$out.$$" "$out"
done
echo "$dir/libonnxruntime.so.1"

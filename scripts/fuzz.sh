#!/bin/bash
# SPDX-License-Identifier: MIT
# Run every fuzzer in build-fuzz/ for FUZZ_TIME seconds each. Seeds come from tests/fuzz/corpus/NAME/; what is found goes to
# build-fuzz/corpus/NAME/, crashes to build-fuzz/crashes/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
status=0
ran=0
mkdir -p build-fuzz/crashes
for fuzzer in build-fuzz/fuzz/*_fuzz; do
	[ -x "$fuzzer" ] || continue
	name=$(basename "$fuzzer")
	corpus=build-fuzz/corpus/$name
	seeds=tests/fuzz/corpus/$name
	mkdir -p "$corpus"
	dirs=("$corpus")
	[ ! -d "$seeds" ] || dirs+=("$seeds")
	step FUZZ "$name for ${FUZZ_TIME:-60} s"
	"$fuzzer" -max_total_time="${FUZZ_TIME:-60}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build-fuzz/crashes/$name-" "${dirs[@]}" >"build-fuzz/$name.log" 2>&1 || {
		status=1
		tail -n 30 "build-fuzz/$name.log" >&2
	}
	grep -E 'number_of_executed_units|average_exec' "build-fuzz/$name.log" | sed 's/^/          /' || true
	ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || die "there are no fuzzers in tests/fuzz/"
exit "$status"

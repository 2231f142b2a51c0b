#!/bin/bash
# SPDX-License-Identifier: MIT
# Run the fuzzers in build-fuzz/ side by side for FUZZ_TIME seconds each (FUZZ_RUNS=N: N executions each). Seeds are made from the
# golden tests' models; Debian's ONNX node tests are added where they are installed. What is found is kept in
# build-fuzz/corpus/NAME/, crashes in build-fuzz/crashes/. FUZZ_SEED=N repeats a run (checks do: what a change breaks is then
# its own fault, and new finds come from make fuzz). Ends with "N passed, N failed, N skipped".
# Usage: scripts/fuzz.sh [NAME]...      (default: all)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
mica=build/mica
seeds=build-fuzz/seeds
node_tests=/usr/share/libonnx-testdata
mkdir -p build-fuzz/crashes "$seeds/onnx_fuzz" "$seeds/model_fuzz"

# seeds_onnx: small ONNX models.
seeds_onnx() {
	local name file
	for file in tests/golden/*.in; do
		name=$(basename "$file" .in)
		python3 tests/golden/onnxtext.py "$file" "$seeds/onnx_fuzz/$name.onnx"
	done
	for file in tests/onnx/*.cases; do
		python3 tests/onnx/cases.py "$file" "$seeds/cases"
	done
	for file in "$seeds"/cases/*/model.onnx; do
		name=${file%/model.onnx}
		cp "$file" "$seeds/onnx_fuzz/case_${name##*/}.onnx"
	done
	rm -r "$seeds/cases"
	[ -d "$node_tests" ] || return 0
	find "$node_tests" -name model.onnx -size -8k | while read -r file; do
		cp "$file" "$seeds/onnx_fuzz/$(basename "$(dirname "$file")").onnx"
	done
}

# seeds_model: what the compiler makes of them.
seeds_model() {
	local file name format
	for file in tests/golden/[flq]*.in; do
		name=$(basename "$file" .in)
		for format in f32 e4m3; do
			"$mica" compile "$seeds/onnx_fuzz/$name.onnx" --format="$format" --method=none --lmem=64K \
				-o "$seeds/model_fuzz/$name-$format.mica" >/dev/null 2>&1 || true
		done
	done
}

# fuzz NAME: run one; its log is build-fuzz/NAME.log.
fuzz() {
	local name=$1 limit=(-max_total_time="${FUZZ_TIME:-60}")
	[ -z "${FUZZ_RUNS:-}" ] || limit=(-runs="$FUZZ_RUNS")
	[ -z "${FUZZ_SEED:-}" ] || limit+=(-seed="$FUZZ_SEED")
	mkdir -p "build-fuzz/corpus/$name"
	"build-fuzz/fuzz/$name" "${limit[@]}" -timeout=20 -rss_limit_mb=3072 -max_len=16384 -print_final_stats=1 \
		-close_fd_mask=1 -artifact_prefix="build-fuzz/crashes/$name-" "build-fuzz/corpus/$name" "$seeds/$name" \
		>"build-fuzz/$name.log" 2>&1
}

[ $# -gt 0 ] || { set -- build-fuzz/fuzz/*_fuzz; set -- "${@##*/}"; }
seeds_onnx
seeds_model
pids=()
for name in "$@"; do
	[ -x "build-fuzz/fuzz/$name" ] || die "there is no fuzzer $name; build it with 'make fuzz'"
	fuzz "$name" &
	pids+=($!)
done
MICA_CLEANUP=("kill ${pids[*]} 2>/dev/null; wait")
passed=0
failed=0
for name in "$@"; do
	if wait "${pids[0]}"; then
		passed=$((passed + 1))
		verdict=ok
	else
		failed=$((failed + 1))
		verdict="not ok"
	fi
	pids=("${pids[@]:1}")
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/$name.log")
	echo "$verdict - $name: ${runs:-?} executions"
	[ "$verdict" = ok ] || grep -E 'ERROR|runtime error|IR is broken|SUMMARY|  #[0-9]+ .* in |Base64|ALARM' "build-fuzz/$name.log" | head -n 30 >&2
done
MICA_CLEANUP=()
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]

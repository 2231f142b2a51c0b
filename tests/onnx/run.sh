#!/bin/bash
# SPDX-License-Identifier: MIT
# The ONNX project's tests (Debian: libonnx-testdata) through `mica onnx-test` on the CPU, and what the command itself promises.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

data=/usr/share/libonnx-testdata/data

# part NAME LEAST: the tests of that folder; none may fail, at least LEAST pass.
part() {
	local name=$1 least=$2 count
	"$MICA" onnx-test "$data/$name" --backend=cpu >"$work/log" 2>&1
	count=$(tail -n 1 "$work/log")
	if grep '^FAIL' "$work/log" >"$work/bad"; then
		not_ok "$name: none fails" "$(cat "$work/bad")"
	else
		ok "$name: none fails ($count)"
	fi
	if [ "${count%% *}" -ge "$least" ] 2>/dev/null; then
		ok "$name: at least $least pass"
	else
		not_ok "$name: at least $least pass" "$count"
	fi
	if grep '^SKIP' "$work/log" | grep -qvE '^SKIP [a-zA-Z0-9_]+: .+'; then
		not_ok "$name: each skip has its reason"
	else
		ok "$name: each skip has its reason"
	fi
}

if [ -d $data/node ]; then
	part node 860
	part pytorch-converted 65
	part pytorch-operator 30
	part simple 6
else
	skip "ONNX's own tests" "Debian package libonnx-testdata is not installed"
fi

# Tests of our own: what came after 1.12, what exporters and ONNX Runtime add. NAME.cases: models and known answers as text.
for file in tests/onnx/*.cases; do
	name=$(basename "$file" .cases)
	python3 tests/onnx/cases.py "$file" "$work/$name"
	"$MICA" onnx-test "$work/$name" --backend=cpu >"$work/log" 2>&1
	bad=$(grep -E '^(FAIL|SKIP)' "$work/log")
	if [ -z "$bad" ] && grep -qE '^[1-9][0-9]* passed, 0 failed, 0 skipped$' "$work/log"; then
		ok "$name: all pass ($(tail -n 1 "$work/log"))"
	else
		not_ok "$name: all pass" "$bad $(tail -n 1 "$work/log")"
	fi
done

# A test of the command: y = x + x, with right and with wrong data.
make_test() {
	mkdir -p "$1/test_data_set_0"
	python3 tests/onnx/tensors.py "$1" "$2"
}
make_test "$work/all/good" right
check "a right result passes" "$MICA" onnx-test "$work/all/good" --backend=cpu
make_test "$work/all/bad" wrong
expect "a wrong result fails" 10 "" "$MICA" onnx-test "$work/all/bad" --backend=cpu
check "the failure says where" grep -q "FAIL bad: output 0 'y', element 2 is 6, not 6.5" "$work/stdout"
check "the last line counts" grep -qx "0 passed, 1 failed, 0 skipped" "$work/stdout"
"$MICA" onnx-test "$work/all" --backend=cpu >"$work/stdout"
check "folders are searched" grep -qx "1 passed, 1 failed, 0 skipped" "$work/stdout"
"$MICA" onnx-test "$work/all" --backend=cpu --only=good >"$work/stdout"
check "--only chooses" grep -qx "1 passed, 0 failed, 0 skipped" "$work/stdout"
check "wide tolerances pass it" "$MICA" onnx-test "$work/all" --backend=cpu --atol=1
expect "a folder without tests" 3 "holds no test" "$MICA" onnx-test "$work/all/good/test_data_set_0"
expect "no folder" 2 "folder with tests" "$MICA" onnx-test
expect "no such folder" 3 "cannot open" "$MICA" onnx-test "$work/nowhere"
head -c 60 "$work/all/good/model.onnx" >"$work/all/bad/model.onnx"
expect "a truncated model is a failure, not a skip" 10 "" "$MICA" onnx-test "$work/all/bad" --backend=cpu
summary

#!/bin/bash
# SPDX-License-Identifier: MIT
# ONNX's node tests on the device: a random sample of those that pass on the CPU, device == CPU bit for bit. MICA_ONNX_GUEST
# is how many (default 40; "third": a third of all that pass), MICA_ONNX_SEED which (default: another sample every day).
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

data=/usr/share/libonnx-testdata/data/node
if [ ! -d $data ]; then
	skip "ONNX's node tests on the device" "Debian package libonnx-testdata is not installed"
	summary
	exit
fi

"$MICA" onnx-test $data --backend=cpu --verbose >"$work/cpu"
sed -n 's/^PASS \([a-zA-Z0-9_]*\).*/\1/p' "$work/cpu" >"$work/passed"
count=${MICA_ONNX_GUEST:-40}
[ "$count" != third ] || count=$((($(wc -l <"$work/passed") + 2) / 3))
seed=${MICA_ONNX_SEED:-$(date +%F)}
# Host steps need the device and the host in turn: always some of them.
{
	shuf --random-source=<(yes "$seed") "$work/passed" | head -n "$count"
	grep -E '^test_(gather_elements_0|top_k|nonmaxsuppression_two_classes|scatternd|loop11|gridsample)$' "$work/passed"
} | sort -u >"$work/sample"
mkdir -p "$work/share/node"
while read -r test; do
	cp -r "$data/$test" "$work/share/node/"
done <"$work/sample"
echo "sample: $(wc -l <"$work/sample") of $(wc -l <"$work/passed") tests, seed $seed"

scripts/guest-run.sh --share "$work/share" --timeout 1200 -- sh -c 'mica onnx-test node --backend=both >log 2>&1; echo "exit code $?" >>log; dmesg >dmesg' >/dev/null
tail -n 2 "$work/share/log"
if grep -qx 'exit code 0' "$work/share/log" && grep -qx "$(wc -l <"$work/sample") passed, 0 failed, 0 skipped" "$work/share/log"; then
	ok "$(wc -l <"$work/sample") node tests: device == CPU"
else
	not_ok "node tests: device == CPU" "$(cat "$work/share/log" 2>&1)"
fi
if grep -E 'WARNING|BUG:|Oops|Call Trace' "$work/share/dmesg" >"$work/bad"; then
	not_ok "no kernel warning" "$(cat "$work/bad")"
else
	ok "no kernel warning"
fi
summary

#!/bin/bash
# SPDX-License-Identifier: MIT
# Boot one guest that runs every kselftest program (or those named) and print its TAP and a summary line.
# Usage: tests/guest/run-guest-tests.sh [guest-run.sh options]... [-- NAME...]
# The guest's kernel log is left in build/guest/tests-kernel.log. MICA_SLOW: all time limits are so many times longer (default 1).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

slow=${MICA_SLOW:-1}
options=(--timeout $((1200 * slow)) -d debug=on)
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	options+=("$1")
	shift
done
[ $# -eq 0 ] || shift

tap=$(mktemp)
on_exit "rm -f '$tap'"
mkdir -p "$MICA_BUILD/guest"
status=0
"$MICA_TOP/scripts/guest-run.sh" --kernel-log "$MICA_BUILD/guest/tests-kernel.log" "${options[@]}" -- \
	env MICA_SLOW="$slow" MICA_TEST_TIMEOUT=$((300 * slow)) /usr/lib/mica/run-in-guest "$@" > >(tee "$tap") &
runner=$!
on_exit "kill $runner 2>/dev/null"
wait "$runner" || status=$?
sleep 0.1

skipped=$(grep -c '^ok .*# SKIP' "$tap" || true)
passed=$(($(grep -c '^ok ' "$tap" || true) - skipped))
failed=$(grep -c '^not ok ' "$tap" || true)
# A guest that died in the middle is a failure of its own, with whatever test ran last.
if [ "$status" -ne 0 ] || ! grep -q '^1\.\.' "$tap"; then
	failed=$((failed + 1))
	echo "not ok $((passed + skipped + failed)) guest: ended early with status $status"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

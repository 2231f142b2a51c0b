#!/bin/bash
# SPDX-License-Identifier: MIT
# Sessions that share an arena, on the device: tests/unit/sdk_arena_test.c in a guest.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

test=${MICA%/mica}/tests/sdk_arena_test
share=$work/share
mkdir "$share"
[ -x "$test" ] || make -s "$test" || exit
cp "$test" "$share/arena_test"
cmocka=$(ldd "$test" | sed -n 's/.*=> \(.*libcmocka[^ ]*\).*/\1/p')
[ -z "$cmocka" ] || cp "$cmocka" "$share"
echo 'LD_LIBRARY_PATH=$PWD MICA_TEST_BACKEND=device ./arena_test >log 2>&1; echo $? >status; dmesg >dmesg' >"$share/guest.sh"
scripts/guest-run.sh --share "$share" --timeout 300 -- sh guest.sh
if [ "$(cat "$share/status" 2>/dev/null)" = 0 ]; then
	ok "sessions share an arena on the device"
else
	not_ok "sessions share an arena on the device" "$(cat "$share/log" 2>&1)"
fi
if grep -E 'WARNING|BUG:|Oops|Call Trace' "$share/dmesg" >"$work/err" 2>&1; then
	not_ok "the kernel log is clean" "$(cat "$work/err")"
else
	ok "the kernel log is clean"
fi
summary

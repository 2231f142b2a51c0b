#!/bin/bash
# SPDX-License-Identifier: MIT
# Take from the kernel's source package what the tests need: kselftest.h, kselftest_harness.h, lib.mk, the runner, and
# checkpatch.pl with its word lists. Print the folder, laid out like the kernel's tree. Unpacked once, then cached.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

root=$MICA_CACHE/kselftest
final=$root/6.12

unpack() {
	local work tar
	stale "$final"
	new_dir "$final"
	work=$REPLY
	step FETCH "linux-source-6.12 (kselftest, checkpatch)"
	"$MICA_TOP/scripts/fetch-backports.sh" binary "$work/deb" linux-source-6.12
	tar=$(find "$work/deb" -name 'linux-source-6.12.tar.*' | head -n 1)
	[ -n "$tar" ] || die "linux-source-6.12 holds no tarball"
	quiet unpack tar -C "$work" --strip-components=1 --wildcards -xf "$tar" \
		'linux-source-6.12/tools/testing/selftests/kselftest*.h' \
		'linux-source-6.12/tools/testing/selftests/lib.mk' \
		'linux-source-6.12/tools/testing/selftests/kselftest' \
		'linux-source-6.12/scripts/checkpatch.pl' \
		'linux-source-6.12/scripts/spelling.txt' \
		'linux-source-6.12/scripts/const_structs.checkpatch'
	rm -rf "$work/deb"
	publish_dir "$work" "$final"
}

if [ ! -d "$final" ]; then
	lock kselftest
	if [ ! -d "$final" ]; then
		need_space "$root" 600
		unpack
	fi
fi
echo "$final"

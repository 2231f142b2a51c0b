#!/bin/bash
# SPDX-License-Identifier: MIT
# Style and static checks as TAP: checkpatch --strict and sparse on the driver, shellcheck on the scripts, an SPDX line
# in every source file. A tool that is not installed is a skip.
# shellcheck disable=SC2317 # checks are called by name
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
count=0
bad=0

# check NAME COMMAND...: ok if the command succeeds, else its output as diagnostics.
check() {
	local name=$1 text
	shift
	count=$((count + 1))
	if text=$("$@" 2>&1); then
		echo "ok $count $name"
	else
		bad=1
		echo "not ok $count $name"
		head -n 60 <<<"$text" | sed 's/^/# /'
	fi
}

skip() {
	count=$((count + 1))
	echo "ok $count $1 # SKIP $2"
}

# run_checkpatch IGNORED: checkpatch on the files named on stdin. Out of tree there is no MAINTAINERS to keep; the SPDX
# line in uapi/ names two licences on purpose.
run_checkpatch() {
	local script
	script=$(scripts/kselftest.sh)/scripts/checkpatch.pl
	xargs -0 -r perl "$script" --no-tree --strict --terse --quiet --no-summary --show-types --max-line-length=120 \
		--ignore "FILE_PATH_CHANGES,SPDX_LICENSE_TAG,CONFIG_DESCRIPTION,MACRO_ARG_REUSE$1" --file \
		2> >(grep -v '^fatal: .*git\|your current branch' >&2)
}

# Trace headers are macros that no C parser follows; the kernel's own ones trip over the same two rules. BIT() is not
# for uapi headers.
checkpatch() {
	local status=0
	find driver tests/guest/fault tests/guest/bugs -name '*.[ch]' ! -name '*_trace.h' -print0 | run_checkpatch '' || status=1
	find uapi/drm -name '*.h' -print0 | run_checkpatch ,BIT_MACRO,CAMELCASE || status=1
	find driver -name '*_trace.h' -print0 | run_checkpatch ,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT || status=1
	return "$status"
}

sparse_driver() {
	local text
	text=$(scripts/driver.sh C=2 W=1 2>&1 >/dev/null) || { echo "$text"; return 1; }
	! grep -E 'warning:|error:' <<<"$text"
}

spdx() {
	local file missing=0
	while IFS= read -r -d '' file; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier:' && continue
		echo "$file has no SPDX line"
		missing=1
	done < <(find . -path './build*' -prune -o -path ./.git -prune -o -path ./models -prune -o -type f \
		\( -name '*.[chS]' -o -name '*.sh' -o -name Makefile -o -name Kbuild -o -name '*.ld' -o -name '*.def' \
		-o -name '*.proto' -o -name '*.py' -o -name '*.js' \) -print0)
	[ "$missing" -eq 0 ]
}

paths() {
	# A machine's own paths and hosts have no place in the tree.
	! grep -rnIE '(^|[^A-Za-z0-9_.])/(work|home|root)/[a-z]' --include='*' --exclude-dir=.git --exclude-dir='build*' \
		--exclude-dir=models . | grep -vE 'scripts/lint\.sh'
}

check 'every source file has an SPDX line' spdx
check 'no path of one machine' paths
if command -v shellcheck >/dev/null; then
	mapfile -d '' scripts < <(find scripts tests bench .ci docs -type f -print0 2>/dev/null |
		xargs -0 -r grep -lZE '^#!/bin/(ba)?sh' || true)
	check 'shellcheck' shellcheck -S warning -x -P scripts "${scripts[@]}" scripts/lib.sh
else
	skip shellcheck 'shellcheck is not installed'
fi
if [ -z "$(find driver -name '*.c' 2>/dev/null)" ]; then
	skip checkpatch 'no driver'
elif [ "${MICA_LINT_DRIVER:-1}" = 0 ]; then
	skip checkpatch 'MICA_LINT_DRIVER=0'
else
	check 'checkpatch --strict' checkpatch
	if command -v sparse >/dev/null; then
		check 'sparse and W=1' sparse_driver
	else
		skip 'sparse and W=1' 'sparse is not installed'
	fi
fi
echo "1..$count"
exit "$bad"

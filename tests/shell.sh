# SPDX-License-Identifier: MIT
# For test scripts: `. tests/shell.sh` at the top of the tree, then check/expect lines, then `summary`.
# MICA is the command under test; $work is a scratch folder that goes away at the end.
# shellcheck shell=bash

MICA=${MICA:-build/mica}
passed=0
failed=0
skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ok() { passed=$((passed + 1)); echo "ok - $1"; }
not_ok() {
	failed=$((failed + 1))
	echo "not ok - $1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/    /' | head -n 12
}
skip() { skipped=$((skipped + 1)); echo "ok - $1 # SKIP $2"; }

# check NAME COMMAND...: the command succeeds.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1 </dev/null); then ok "$name"; else not_ok "$name" "\$ $*
exit code $?
$out"; fi
}

# expect NAME CODE PATTERN COMMAND...: exit code, and an extended regular expression in what it says on stderr.
expect() {
	local name=$1 code=$2 pattern=$3 status=0
	shift 3
	"$@" >"$work/stdout" 2>"$work/stderr" </dev/null || status=$?
	if ! [[ $status =~ ^$code$ ]]; then
		not_ok "$name" "\$ $*
exit code $status, not $code
$(cat "$work/stderr")"
	elif [ -n "$pattern" ] && ! grep -qE -- "$pattern" "$work/stderr"; then
		not_ok "$name" "\$ $*
no '$pattern' in:
$(cat "$work/stderr")"
	else
		ok "$name"
	fi
}

# json FILE KEY..: the value at that path of a JSON object.
json() {
	local file=$1
	shift
	python3 -c '
import json, sys
v = json.load(open(sys.argv[1]))
for k in sys.argv[2:]:
    v = v[int(k)] if isinstance(v, list) else v[k]
print(v if not isinstance(v, bool) else str(v).lower())' "$file" "$@"
}

summary() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}

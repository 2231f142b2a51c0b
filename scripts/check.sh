#!/bin/bash
# SPDX-License-Identifier: MIT
# Run test suites, a line each, and end with "N passed, N failed, N skipped" over all of them.
# Usage: scripts/check.sh GROUP... [+ GROUP...]     groups: user asan tsan fuzz guest debug
#
# Groups behind a '+' run beside those before it: a guest waits a lot, and a sanitizer build does not. A suite's line appears
# when it is done; lines of the two sides are mixed. Group and suite keep their order within a side.
#
# A suite is a program whose output is TAP, or ends with a line "N passed, N failed, N skipped"; one that says neither
# counts as one test. Suites are found, not listed:
#   user   build/tests/* (cmocka), every tests/*/run.sh, scripts/lint.sh
#   asan   the unit tests and tests/golden/run.sh in build-asan/; tsan: the unit tests in build-tsan/
#   fuzz   scripts/fuzz.sh, FUZZ_TIME=60 seconds for each fuzzer
#   debug  the same kselftest programs with a debug kernel (KASAN, lockdep, kmemleak, ...), which is built first; not in make check
#   guest  tests/guest/run-guest-tests.sh, plain and behind an IOMMU; every tests/*/run-guest.sh
# They run at the top of the tree with MICA (the command) and MICA_BUILD set; their output is kept in build/check/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
logs=$MICA_BUILD/check
mkdir -p "$logs"
sides=1
running=''	# the suite's process
# shellcheck disable=SC2016 # expanded at exit
on_exit '[ -z "$running" ] || { kill "$running" 2>/dev/null; wait "$running"; } 2>/dev/null'
suite_limit=${MICA_SUITE_TIMEOUT:-1500}

# count_results LOG STATUS: set passed, failed, skipped from what a suite wrote.
count_results() {
	local summary planned
	summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1 || true)
	if [ -n "$summary" ]; then
		read -r passed _ failed _ skipped _ <<<"${summary//,/}"
	else
		# cmocka 1.1 reports a skip as "not ok N # SKIP".
		skipped=$(grep -ciE '^(ok .*|not ok [0-9]+ *)# *skip' "$1" || true)
		passed=$(grep '^ok ' "$1" | grep -cvi '# *skip' || true)
		failed=$(grep '^not ok ' "$1" | grep -cviE '^not ok [0-9]+ *# *skip' || true)
		planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }')
		# Tests that were announced and never reported have failed.
		if [ "$planned" -gt $((passed + failed + skipped)) ]; then
			failed=$((planned - passed - skipped))
		fi
		if [ $((passed + failed + skipped)) -eq 0 ] && [ "$2" -eq 0 ]; then passed=1; fi
	fi
	if [ "$2" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
}

# suite NAME COMMAND...: run it, count, print its line and, if it failed, what failed.
suite() {
	local name=$1 log status=0 start passed=0 failed=0 skipped=0 verdict=ok text
	shift
	log=$logs/${name//\//-}.log
	start=$EPOCHREALTIME
	[ ! -t 2 ] || [ "$sides" -gt 1 ] || printf '  ...     %s\r' "$name" >&2
	timeout -k 10 "$suite_limit" "$@" >"$log" 2>&1 </dev/null &
	running=$!
	wait "$running" || status=$?
	running=''
	[ "$status" -ne 124 ] || echo "not ok - stopped after $suite_limit s" >>"$log"
	count_results "$log" "$status"
	text="$passed passed"
	# Building is no test: only its failure counts.
	[[ $name != build* ]] || { text=built; passed=0; }
	echo "$passed $failed $skipped" >>"$results"
	suite_failed=$failed
	[ "$failed" -eq 0 ] || { text="$passed passed, $failed failed"; verdict=FAIL; }
	[ "$skipped" -eq 0 ] || text+=", $skipped skipped"
	# At once, so that another side's lines do not come in between.
	text=$(printf '  %-7s %-28s %-36s %6.1f s\n' "$verdict" "$name" "$text" \
		"$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
		[ "$verdict" = ok ] || show_failure "$log")
	echo "$text"
}

show_failure() {
	if grep '^not ok ' "$1" | grep -qviE '^not ok [0-9]+ *# *skip'; then
		grep -A 4 '^not ok ' "$1" | head -n 30 | sed 's/^/          /'
	else
		tail -n 15 "$1" | sed 's/^/          /'
	fi
	echo "          all of it: ${1#"$MICA_TOP"/}"
}

# build NAME TARGET...: build for a group; a failed build is a failed test and skips what depends on it.
build() {
	local name=$1
	shift
	suite "$name" make "$@"
	[ "$suite_failed" -eq 0 ]
}

unit_tests() {
	local prefix=$1 dir=$2 test
	for test in "$dir"/tests/*; do
		if [ -x "$test" ] && [ -e "tests/unit/$(basename "$test").c" ]; then
			suite "$prefix$(basename "$test")" "$test"
		fi
	done
}

# scripts_named FILE [PREFIX]: the suites of that name.
scripts_named() {
	local file
	for file in tests/*/"$1"; do
		[ ! -x "$file" ] || suite "${2:-}$(basename "$(dirname "$file")")" "$file"
	done
}

use_build() {
	export MICA_BUILD=$MICA_TOP/$1 MICA=$MICA_TOP/$1/mica
}

group_user() {
	use_build build
	[ "$sides" -gt 1 ] || build build all tests benches || return 0
	unit_tests unit/ build
	scripts_named run.sh
	suite lint scripts/lint.sh
}

group_asan() {
	# The full numbers run without sanitizers.
	export MICA_STREAMS=600 MICA_GRAPHS=100 MICA_PLAN_PROBLEMS=2000
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
	build build-asan SAN=1 all tests || return 0
	use_build build-asan
	unit_tests asan/ build-asan
	[ ! -x tests/golden/run.sh ] || suite asan/golden tests/golden/run.sh
	[ ! -x tests/cli/run.sh ] || suite asan/cli tests/cli/run.sh
	use_build build
	unset ASAN_OPTIONS UBSAN_OPTIONS MICA_STREAMS MICA_GRAPHS MICA_PLAN_PROBLEMS
}

group_tsan() {
	export TSAN_OPTIONS=halt_on_error=0
	build build-tsan SAN=thread all tests || return 0
	use_build build-tsan
	unit_tests tsan/ build-tsan
	use_build build
	unset TSAN_OPTIONS
}

group_fuzz() {
	use_build build
	build build-fuzz SAN=fuzz fuzzers || return 0
	suite fuzz env FUZZ_SEED=1 scripts/fuzz.sh
}

group_guest() {
	use_build build
	build build-device device || return 0
	suite guest tests/guest/run-guest-tests.sh
	suite guest-iommu tests/guest/run-guest-tests.sh --iommu
	scripts_named run-guest.sh guest/
}

group_debug() {
	local limit=$suite_limit
	use_build build
	build build-device device || return 0
	suite_limit=${MICA_SUITE_TIMEOUT:-10800}
	suite build-debug-kernel scripts/debug-kernel.sh
	[ "$suite_failed" -gt 0 ] || suite build-debug scripts/debug-guest.sh
	if [ "$suite_failed" -eq 0 ]; then
		suite debug-checkers scripts/debug-guest.sh tests/guest/run-checker-tests.sh
		suite debug scripts/debug-guest.sh tests/guest/run-guest-tests.sh
		suite debug-iommu scripts/debug-guest.sh tests/guest/run-guest-tests.sh --iommu
	fi
	suite_limit=$limit
}

# side GROUP...: one group after another.
side() {
	local group
	for group; do "group_$group"; done
}

# beside FIRST SECOND: two lists of groups at the same time, after the build that both need.
beside() {
	local pid pids=()
	sides=2
	build build all tests benches || return 0
	for side; do
		# shellcheck disable=SC2086 # a list of groups
		scripts/check.sh --side "$results" $side &
		pids+=($!)
	done
	on_exit "kill ${pids[*]} 2>/dev/null; wait"
	for pid in "${pids[@]}"; do
		wait "$pid" || { echo "  FAIL    a side ended early with status $?"; echo 0 1 0 >>"$results"; }
	done
}

export CMOCKA_MESSAGE_OUTPUT=TAP
if [ "${1:-}" = --side ]; then
	results=$2	# "passed failed skipped" a line, from all sides
	sides=2
	shift 2
	side "$@"
	exit 0
fi
for group; do
	case $group in
	user | asan | tsan | fuzz | guest | debug | +) ;;
	*) die "unknown group '$group' (user, asan, tsan, fuzz, guest, debug)" ;;
	esac
done
results=$(mktemp)
on_exit "rm -f '$results'"
groups=$*
case $groups in
*+*) beside "${groups%%+*}" "${groups#*+}" ;;
*) side "$@" ;;
esac
awk '{ passed += $1; failed += $2; skipped += $3 }
	END { print passed + 0 " passed, " failed + 0 " failed, " skipped + 0 " skipped"; exit failed > 0 }' "$results"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Which lines, branches and specialized kernels of the engine the random command streams reach, path by path: a table on
# stdout and in build-coverage/coverage.md, what is never reached in build-coverage/unreached.txt. Usage:
#   scripts/coverage.sh [--publish] [TEST]...    (default: streams_test; --publish also writes the table into docs/speed.md)
# MICA_STREAMS is the number of streams (default 10000).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
publish=
if [ "${1:-}" = --publish ]; then
	publish=--publish
	shift
fi
tests=("${@:-streams_test}")
command -v gcov >/dev/null || die "gcov is needed (apt-get install gcc)"
make SAN=coverage CC="${CC:-gcc}" "${tests[@]/#/build-coverage/tests/}" >&2
find build-coverage -name '*.gcda' -delete
for test in "${tests[@]}"; do
	step RUN "$test"
	MICA_STREAMS=${MICA_STREAMS:-10000} "build-coverage/tests/$test" >build-coverage/test.log 2>&1 || {
		tail -n 20 build-coverage/test.log >&2
		die "$test failed"
	}
done
exec python3 scripts/coverage_report.py $publish "${tests[*]}"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Which lines, branches and specialized kernels of the engine the random command streams reach, path by path, and what the
# engine's other tests add: a table on stdout and in build-coverage/coverage.md, what no test reaches in
# build-coverage/unreached.txt. --publish also writes the table into docs/speed.md. MICA_STREAMS: how many (default 10000).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$MICA_TOP"
others=(numerics_test engine_paths_test engine_convert_test engine_copy_test engine_check_test engine_isa_test engine_job_test)
export MICA_STREAMS=${MICA_STREAMS:-10000}
command -v gcov >/dev/null || die "gcov is needed (apt-get install gcc)"

run() {
	step RUN "$1"
	"build-coverage/tests/$1" >build-coverage/test.log 2>&1 && return
	tail -n 20 build-coverage/test.log >&2
	die "$1 failed"
}

programs=(streams_test "${others[@]}")
make SAN=coverage CC="${CC:-gcc}" "${programs[@]/#/build-coverage/tests/}" >&2
find build-coverage -name '*.gcda' -delete
run streams_test
python3 scripts/coverage_report.py collect build-coverage/streams.json
for test in "${others[@]}"; do run "$test"; done
python3 scripts/coverage_report.py collect build-coverage/all.json
python3 scripts/coverage_report.py report build-coverage/streams.json build-coverage/all.json "$@"

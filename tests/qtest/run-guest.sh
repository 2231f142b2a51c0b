#!/bin/bash
# SPDX-License-Identifier: MIT
# Test the device through QEMU's qtest protocol: no guest, no kernel, some seconds. Prints "N passed, N failed, N skipped".
# Usage: tests/qtest/run-guest.sh [PATTERN]      PATTERN: names of tests, as in 'flr_*'
# Environment: MICA_QEMU, another binary than the one that scripts/qemu.sh builds.
set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

out=$MICA_BUILD/qtest
mkdir -p "$out"
cd "$MICA_TOP"
export MICA_QEMU=${MICA_QEMU:-$(scripts/qemu.sh)}
export MICA_PROBE=$out/probe.bin

riscv64-unknown-elf-gcc -march=rv32imc -misa-spec=2.2 -mabi=ilp32 -nostdlib -nostartfiles -Wl,-Ttext=0 -Wl,--build-id=none \
	-Wl,--no-warn-rwx-segments -o "$out/probe.elf" tests/qtest/probe.S
riscv64-unknown-elf-objcopy -O binary -j .text "$out/probe.elf" "$MICA_PROBE"
cc -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -Iuapi -o "$out/device_test" tests/qtest/*.c -lcmocka -lz

status=0
log=$out/device_test.log
CMOCKA_MESSAGE_OUTPUT=TAP MICA_TEST_FILTER=${1:-} timeout 600 "$out/device_test" >"$log" 2>&1 || status=$?
grep -v '^ok ' "$log" || true
passed=$(grep -c '^ok ' "$log" || true)
failed=$(grep -c '^not ok ' "$log" || true)
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]

#!/bin/bash
# SPDX-License-Identifier: MIT
# Build the driver, the guest tests and the guest's image for the debug kernel (scripts/debug-kernel.sh) into build/debug/, which
# shares everything else with build/; then run COMMAND with that guest.
# Usage: scripts/debug-guest.sh [COMMAND [ARGUMENT]...]
#        scripts/debug-guest.sh tests/guest/run-guest-tests.sh --iommu -- job_test
#        scripts/debug-guest.sh scripts/guest-run.sh -- sh -c 'dmesg | tail'
# MICA_SLOW: how many times longer than with the stock kernel a test may take (default 8).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

host=$MICA_BUILD
export MICA_KERNEL=debug MICA_BUILD=$MICA_BUILD/debug MICA_SLOW=${MICA_SLOW:-8}
[ -e "$host/libmica.a" ] && [ -x "$host/qemu-system-x86_64" ] || die "$host has no guest tools; run 'make device' first"
mkdir -p "$MICA_BUILD"
for file in mica libmica.a libmica.so.0 firmware qemu-system-x86_64; do
	ln -sfn "../$file" "$MICA_BUILD/$file"
done
"$MICA_TOP/scripts/driver.sh" >/dev/null
"$MICA_TOP/scripts/guest-tests.sh"
"$MICA_TOP/scripts/guest-image.sh" >/dev/null
[ $# -eq 0 ] || exec "$@"

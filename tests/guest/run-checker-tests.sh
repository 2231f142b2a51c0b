#!/bin/bash
# SPDX-License-Identifier: MIT
# Do the debug kernel's checkers fire, and does the test runner hear them? One bug of each kind in a guest; TAP.
# Usage: scripts/debug-guest.sh tests/guest/run-checker-tests.sh
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

tap=$(mktemp)
on_exit "rm -f '$tap'"
"$MICA_TOP/scripts/guest-run.sh" --no-load --timeout 600 -- /usr/lib/mica/run-in-guest bugs.sh >"$tap" || true
cat "$tap"
echo "--- what of this is expected:"

count=0
bad=0
# heard NAME PATTERN: the case NAME failed, for a reason that matches.
heard() {
	local verdict=ok
	count=$((count + 1))
	grep -qE "^not ok [0-9]+ $1( |\$).*$2" "$tap" || { verdict='not ok'; bad=$((bad + 1)); }
	echo "$verdict $count - heard: $1"
}
heard 'bugs.sh: use_after_free' 'KASAN: slab-use-after-free'
heard 'bugs.sh: out_of_bounds' 'KASAN: slab-out-of-bounds'
heard 'bugs.sh: lock_order' 'possible circular locking'
heard 'bugs.sh: atomic_sleep' '(scheduling while atomic|sleeping function|Invalid wait context)'
heard 'bugs.sh: rcu' 'suspicious RCU'
heard 'bugs.sh: shift' 'UBSAN: shift-out-of-bounds'
heard 'bugs.sh: objects' 'ODEBUG: free active'
heard 'bugs.sh: dma' 'WARNING:.* check_unmap'
heard 'kmemleak: nothing is lost' ''
heard 'lockdep: is still on' ''
echo "$((count - bad)) passed, $bad failed, 0 skipped"
[ "$bad" -eq 0 ]

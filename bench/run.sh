#!/bin/bash
# SPDX-License-Identifier: MIT
# `make bench`: measure every figure that README.md quotes. Tables go to stdout and build/bench/bench.md, numbers to
# build/bench/bench.json. Usage: bench/run.sh [cpu|device|accuracy]...   (default: all)
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

cd "$MICA_TOP"
mkdir -p build/bench
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(cpu accuracy device)
peer=
case " ${parts[*]} " in *' cpu '*) peer=$(bench/peer.sh) || echo "no peer: only MICA's own figures" >&2 ;; esac
exec python3 bench/bench.py --peer="$peer" "${parts[@]}"

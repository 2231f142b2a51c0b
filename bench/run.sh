#!/bin/bash
# SPDX-License-Identifier: MIT
# `make bench`: measure every figure that the documentation quotes. Usage: [QUICK=1] bench/run.sh [--publish] [PART]...
# Parts are models (models=NAME,NAME: only these), layers, accuracy and device (default: all). Tables go to stdout and build/bench/bench.md, numbers to
# build/bench/bench.json; --publish also writes them into README.md, docs/ and bench/results/ (docs/speed.md).
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

cd "$MICA_TOP"
mkdir -p build/bench
scripts/deps.sh bench || say "bench: Debian's packages for the peer are not all here"
peer=$(bench/peer.sh) || say "bench: no ONNX Runtime, only MICA's own figures"

# Debian's modules belong to Debian's Python, which need not be the first one in the path.
python=python3
for candidate in python3 /usr/bin/python3; do
	if "$candidate" -c 'import numpy, onnx' 2>/dev/null; then
		python=$candidate
		break
	fi
done
exec env PYTHONDONTWRITEBYTECODE=1 "$python" bench/bench.py --peer="$peer" "$@"

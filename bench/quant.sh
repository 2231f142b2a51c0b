#!/bin/bash
# SPDX-License-Identifier: MIT
# Accuracy and device cycles by format and repair, beside the targets: bench/quant.sh --help
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$MICA_TOP"
exec env PYTHONDONTWRITEBYTECODE=1 python3 bench/quant.py "$@"

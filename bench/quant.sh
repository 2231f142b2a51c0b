#!/bin/bash
# SPDX-License-Identifier: MIT
# Accuracy and device cycles by format and repair, as Markdown: bench/quant.sh [top1|photos]... [--model=NAME] [--row=NAME] [--no-left-out]
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$MICA_TOP"
exec python3 bench/quant.py "$@"

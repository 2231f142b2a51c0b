#!/bin/bash
# SPDX-License-Identifier: MIT
# The search for sensitive operators against what it replaces: bench/sensitivity.sh [--model=FILE.onnx --calib=FOLDER] [-- OPTION...]
# By default mobilenet_v2_224 on 30 samples made from five photos. Options behind -- go to mica sensitivity and mica compile.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$MICA_TOP"
exec python3 bench/sensitivity.py "$@"

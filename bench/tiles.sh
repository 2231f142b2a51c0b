#!/bin/bash
# SPDX-License-Identifier: MIT
# What small tiles cost on the CPU: a model compiled for less and less LMEM, best latency in turns, against the largest.
# Usage: bench/tiles.sh MODEL.onnx [OPTION of mica compile]...; THREADS=2 ROUNDS=4
set -euo pipefail
cd "$(dirname "$0")/.."
mica=${MICA:-build/mica}
[ $# -gt 0 ] || { sed -n '3,4s/^# //p' "$0" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sizes="16M 2M 512K 256K 128K"

for s in $sizes; do
	"$mica" compile "$1" -o "$work/$s.mica" "${@:2}" --lmem="$s" >/dev/null 2>"$work/err" || { cat "$work/err" >&2 && exit 1; }
done
for _ in $(seq "${ROUNDS:-4}"); do
	for s in $sizes; do
		ms=$("$mica" bench "$work/$s.mica" --backend=cpu --threads="${THREADS:-1}" --seconds=0.15 --json |
			python3 -c 'import json, sys; print(json.load(sys.stdin)["latency_ms"]["min"])')
		echo "$s $ms" >>"$work/times"
	done
done
awk '!($1 in best) || $2 < best[$1] { best[$1] = $2 }
	END { n = split("'"$sizes"'", s, " "); for (i = 1; i <= n; i++) printf "LMEM %-4s %.3f ms, %.3f of %s\n", s[i], best[s[i]], best[s[i]] / best[s[1]], s[1] }' \
	"$work/times"

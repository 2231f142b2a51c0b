#!/bin/bash
# SPDX-License-Identifier: MIT
# Golden tests of the compiler: each NAME.in (onnxtext.py) is compiled with the options it names; what the command says
# (the IR after a pass, or the error and exit code) must be NAME.expected. --update writes the expectations anew.
# Usage: tests/golden/run.sh [--update] [NAME]...
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

update=${MICA_UPDATE:-}
[ "${1:-}" != --update ] || { update=1; shift; }
[ $# -gt 0 ] || { set -- tests/golden/*.in; set -- "${@##*/}"; set -- "${@%.in}"; }

# compile NAME: what `mica compile` says about it, without the paths of this run.
compile() {
	local options status=0
	python3 tests/golden/onnxtext.py "tests/golden/$1.in" "$work/$1.onnx" || return 1
	options=$(sed -n 's/^options: *//p' "tests/golden/$1.in")
	# shellcheck disable=SC2086 # the options are meant to split
	"$MICA" compile "$work/$1.onnx" -o "$work/$1.mica" $options >/dev/null 2>"$work/said" </dev/null || status=$?
	sed "s,$work/,,g" "$work/said"
	[ "$status" -eq 0 ] || echo "exit code $status"
}

for name in "$@"; do
	expected=tests/golden/$name.expected
	compile "$name" >"$work/got" 2>&1
	if [ -n "$update" ]; then
		cp "$work/got" "$expected"
		echo "updated $expected"
	elif difference=$(diff -u "$expected" "$work/got" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "$difference"
	fi
done
[ -n "$update" ] || summary

#!/bin/bash
# SPDX-License-Identifier: MIT
# Build driver/ as a module against the unpacked kernel headers; print the path of mica.ko. Sources stay clean: kbuild
# runs in build/driver/ on a tree of links to Kbuild, driver/ and uapi/.
# Without BTF, which would need pahole and serves nothing here.
# Usage: scripts/driver.sh [VARIABLE=VALUE]...     passed to kbuild, such as W=1 C=1
set -euo pipefail
. "$(dirname "$0")/lib.sh"

stage=$MICA_BUILD/driver

# link_tree: mirror the sources as links, dropping links whose source is gone.
link_tree() {
	local dir
	mkdir -p "$stage"
	find "$stage" -xtype l -delete
	for dir in driver uapi; do
		[ ! -d "$MICA_TOP/$dir" ] || cp -rsf "$MICA_TOP/$dir" "$stage/"
	done
	[ ! -f "$MICA_TOP/Kbuild" ] || ln -sf "$MICA_TOP/Kbuild" "$stage/Kbuild"
}

# module_dir: where kbuild starts: the top Kbuild if there is one, else driver/'s own.
module_dir() {
	if [ -f "$stage/Kbuild" ]; then echo "$stage"; else echo "$stage/driver"; fi
}

[ -n "$(find "$MICA_TOP/driver" -name '*.c' 2>/dev/null | head -n 1)" ] || die "driver/ holds no sources yet"
headers=$("$MICA_TOP/scripts/kernel.sh" --headers)
lock "driver-$(content_key "$stage")"
link_tree

log=$stage/build.log
status=0
[ "${MICA_KERNEL:-}" != debug ] || set -- MICA_KUNIT=y "$@"
env -u O make -C "$headers" M="$(module_dir)" -j "$MICA_JOBS" \
	CONFIG_DEBUG_INFO_BTF_MODULES="" "$@" modules \
	>"$log" 2>&1 || status=$?
# Warnings count, progress lines do not; a stripped-down vmlinux cannot give modules BTF, which is fine.
grep -vE '^ +(CC|LD|AR|CHECK|MODPOST|BTF|AS|HOSTCC|GEN) |^make[^*]*$|^Skipping BTF|compiler differs|The kernel was built by|You are using' \
	"$log" >&2 || true
[ "$status" -eq 0 ] || die "kbuild failed; all of it: $log"
ko=$(find "$stage" -name mica.ko | head -n 1)
[ -n "$ko" ] || die "kbuild made no mica.ko; see $log"
! grep -qE '^ +(CC|LD) ' "$log" || step KBUILD "${ko#"$MICA_TOP"/}"
echo "$ko"

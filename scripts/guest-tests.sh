#!/bin/bash
# SPDX-License-Identifier: MIT
# Build tests/guest/*.c as kselftest programs into build/guest-tests/, linked with libmica; shell tests (*_test.sh) are
# copied. Files named *_util.c are helpers linked into each program; fault/ is a kernel module for them, bugs/ one for the debug
# kernel. Only what changed is built.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

src=$MICA_TOP/tests/guest
out=$MICA_BUILD/guest-tests
mkdir -p "$out" "$out.d"
lock "guest-tests-$(content_key "$out")"

kselftest=$("$MICA_TOP/scripts/kselftest.sh")/tools/testing/selftests
{
	cat <<-RULES
		builddir = $out.d
		rule cc
		  command = gcc -std=gnu11 -D_GNU_SOURCE= -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -pthread -isystem $kselftest -I$src -I$MICA_TOP/uapi -I$MICA_TOP/libsdk -I$MICA_TOP/engine \$drm -MD -MF \$out.d -c \$in -o \$out
		  description = CC \$in
		  depfile = \$out.d
		  deps = gcc
		rule link
		  command = gcc -pthread -Wl,--wrap=fork -o \$out \$in -Wl,--as-needed -lprotobuf-c -luring -ldrm -lm
		  description = LD \$out
		rule copy
		  command = install -m 755 \$in \$out
		drm = $(pkg-config --cflags libdrm)
	RULES
	helpers=''
	for file in "$src"/*_util.c; do
		[ -e "$file" ] || continue
		obj=$out.d/$(basename "$file" .c).o
		helpers+=" $obj"
		echo "build $obj: cc $file"
	done
	for file in "$src"/*.c; do
		case $file in *_util.c | */\*.c) continue ;; esac
		name=$(basename "$file" .c)
		echo "build $out.d/$name.o: cc $file"
		echo "build $out/$name: link $out.d/$name.o$helpers $MICA_BUILD/libmica.a"
	done
	for file in "$src"/*_test.sh; do
		[ ! -e "$file" ] || echo "build $out/$(basename "$file"): copy $file"
	done
} >"$out.d/build.ninja"

# kernel_module NAME: mica_NAME.ko, built on links to its sources as scripts/driver.sh does.
kernel_module() {
	local dir=$out.d/$1
	mkdir -p "$dir"
	cp -rsf "$src/$1/." "$dir"
	if ! env -u O make -C "$("$MICA_TOP/scripts/kernel.sh" --headers)" M="$dir" CONFIG_DEBUG_INFO_BTF_MODULES="" modules \
		>"$dir/build.log" 2>&1; then
		cat "$dir/build.log" >&2
		exit 1
	fi
	cmp -s "$dir/mica_$1.ko" "$out/mica_$1.ko" || install -m 644 "$dir/mica_$1.ko" "$out/"
}

modules=(fault)
[ "${MICA_KERNEL:-}" != debug ] || modules+=(bugs)
for module in "${modules[@]}"; do
	kernel_module "$module"
done

# A test whose source is gone must not run any more.
for file in "$out"/*; do
	name=$(basename "$file")
	[ -e "$src/$name.c" ] || [ -e "$src/$name" ] || [[ " ${modules[*]/%/.ko} " == *" ${name#mica_} "* ]] || rm -f "$file"
done
[ "${MICA_KERNEL:-}" != debug ] || install -m 755 "$src/bugs/bugs.sh" "$out/"
grep -q '^build' "$out.d/build.ninja" || exit 0
if ! ninja -f "$out.d/build.ninja" -j "$MICA_JOBS" >"$out.d/build.log" 2>&1; then
	grep -v '^gcc ' "$out.d/build.log" >&2
	exit 1
fi
grep -q 'no work to do' "$out.d/build.log" || step TESTS "${out#"$MICA_TOP"/}"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Build QEMU once per content, then link qemu-device/*.c and the engine into it; print the binary's path.
#
# The base is a plain QEMU 10 from Debian's backports, kept in the cache under a key of everything it is made from, and
# shared by all clones. Our device is compiled with the very flags that QEMU uses for hw/misc/edu.c and linked with QEMU's
# own link command plus our objects and the engine archive, so a change costs seconds and needs no reconfiguration.
#
# Usage: scripts/qemu.sh                     the binary with the device (build/qemu-system-x86_64)
#        scripts/qemu.sh --base              only the base; prints its folder
#        scripts/qemu.sh --device-dir DIR    take the device from another folder
#        scripts/qemu.sh --output FILE       put the binary there (its objects go to FILE.d/)
#        scripts/qemu.sh --no-engine         link without build/libengine.a
# DIR/*.c are compiled, except *_test.c; DIR/trace-events becomes the group hw_misc_mica, included by DIR/trace.h as
# "trace/trace-hw_misc_mica.h". Include paths: QEMU's own, DIR, uapi/, engine/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

base_only=''
engine=1
device_dir=$MICA_TOP/qemu-device
output=$MICA_BUILD/qemu-system-x86_64
while [ $# -gt 0 ]; do
	case $1 in
	--base) base_only=1 ;;
	--no-engine) engine='' ;;
	--device-dir) device_dir=$(cd "$2" && pwd); shift ;;
	--output) output=$(realpath -m "$2"); shift ;;
	*) die "unknown option '$1'" ;;
	esac
	shift
done

root=$MICA_CACHE/qemu
devices=$MICA_TOP/qemu-device/meson/mica-x86_64.mak
configure_args=(
	--python=/usr/bin/python3 --target-list=x86_64-softmmu
	--without-default-features --without-default-devices --with-devices-x86_64=mica
	--enable-tcg --enable-kvm --enable-system --enable-virtfs --enable-attr --enable-cap-ng
	--disable-fdt --disable-docs --disable-tools --disable-guest-agent --disable-install-blobs
	--disable-download --disable-debug-info --disable-werror
)

# resolve_version: the version that the cache holds, else (or with MICA_UPDATE=1) the newest there is.
resolve_version() {
	if [ -n "${MICA_UPDATE:-}" ] || [ ! -s "$root/version" ]; then
		mkdir -p "$root"
		"$MICA_TOP/scripts/fetch-backports.sh" version src:qemu >"$root/version.$$"
		publish_file "$root/version.$$" "$root/version"
	fi
	cat "$root/version"
}

# fetch_tools: meson and pycotap of the backports, unpacked (the release's meson is too old for QEMU 10).
fetch_tools() {
	local work
	[ ! -d "$root/tools" ] || return 0
	stale "$root/tools"
	new_dir "$root/tools"
	work=$REPLY
	"$MICA_TOP/scripts/fetch-backports.sh" binary "$work" meson python3-pycotap
	publish_dir "$work" "$root/tools"
}

# unpack_source DIR: QEMU's source with our devices file and without the firmware blobs that the tarball lacks.
unpack_source() {
	local work tar
	[ ! -d "$1" ] || return 0
	stale "$1"
	new_dir "$1"
	work=$REPLY
	step FETCH "QEMU $version"
	"$MICA_TOP/scripts/fetch-backports.sh" tarball "$work/tar" qemu
	tar=$(find "$work/tar" -name 'qemu_*.orig.tar.*' | head -n 1)
	[ -n "$tar" ] || die "apt downloaded no QEMU tarball"
	mkdir "$work/src"
	tar -C "$work/src" --strip-components=1 -xf "$tar"
	cp "$devices" "$work/src/configs/devices/x86_64-softmmu/mica.mak"
	sed -i 's/^\( *unpack_edk2_blobs = \).*/\1false/' "$work/src/meson.build"
	publish_dir "$work/src" "$1"
}

configure_base() (
	rm -rf "$base/build" && mkdir -p "$base/build" && cd "$base/build" &&
		../src/configure --cc="ccache gcc" --host-cc=gcc "${configure_args[@]}"
)

# record_commands: the two command lines that the device needs, as text files beside the build.
record_commands() (
	cd "$base/build" && ninja -t compdb >compdb.json && ninja -t compdb -x >compdb-full.json && python3 - <<-'PY'
		import json, shlex
		def pick(name, match):
		    return [e for e in json.load(open(name)) if match(e)][0]["command"]
		compile = shlex.split(pick("compdb.json", lambda e: e["file"].endswith("/hw/misc/edu.c")))
		skip = {"-o", "-c", "-MF", "-MQ"}
		words, it = [], iter([w for w in compile if w != "ccache"][1:])
		for w in it:
		    if w in skip:
		        next(it)
		    elif w != "-MD":
		        words.append(w)
		link = shlex.split(pick("compdb-full.json", lambda e: e.get("output") == "qemu-system-x86_64"))
		link = [w for w in link if w != "ccache"][1:]
		open("mica-compile", "w").write("\n".join(map(shlex.quote, words)) + "\n")
		open("mica-link", "w").write("\n".join(map(shlex.quote, link)) + "\n")
	PY
)

# base_complete: it is built, and at the place that its recorded commands name (a cache may have been moved).
base_complete() {
	[ -e "$base/complete" ] && grep -qF "$base/src" "$base/build/mica-compile"
}

build_base() {
	! base_complete || return 0
	lock "qemu-$key"
	! base_complete || return 0
	if [ -e "$base/complete" ]; then rm -rf "$base"; fi
	need_space "$root" 3000
	mkdir -p "$base"
	fetch_tools
	unpack_source "$base/src"
	export PYTHONPATH=$root/tools/usr/lib/python3/dist-packages
	export CCACHE_DIR=$MICA_CACHE/ccache CCACHE_BASEDIR=$root
	# A stopped build goes on where it was: ninja redoes what it has not recorded as finished.
	if [ ! -e "$base/configured" ]; then
		step CONFIG "QEMU $version"
		quiet qemu-configure configure_base
		touch "$base/configured"
	fi
	step BUILD "QEMU $version (once; several minutes)"
	quiet qemu nice -n 10 ninja -C "$base/build" -j "$MICA_JOBS" qemu-system-x86_64
	quiet qemu-record record_commands
	# Firmware sources are two thirds of the source tree, and nothing here compiles them.
	rm -rf "$base/src/roms"
	touch "$base/complete"
}

version=$(resolve_version)
key=$(content_key "$version" "${configure_args[@]}" "@$devices" "$(gcc -dumpfullversion)")
base=$root/$key
build_base
if [ -n "$base_only" ]; then
	echo "$base"
	exit 0
fi

# --- The device ---------------------------------------------------------------------------------------------------

work=$output.d
engine_lib=$MICA_BUILD/libengine.a

# write_ninja: the device's build file. Commands run in the base's build folder, where QEMU's relative flags hold.
write_ninja() {
	local src obj objects='' trace=''
	cat <<-RULES
		builddir = $work
		device_flags = -g -Werror -ffp-contract=off -I$work/gen -I$device_dir -I$MICA_TOP/uapi -I$MICA_TOP/engine
		rule cc
		  command = gcc @$base/build/mica-compile \$device_flags -MD -MF \$out.d -c \$in -o \$out
		  depfile = \$out.d
		  deps = gcc
		  description = CC \$in
		rule trace
		  command = python3 $base/src/scripts/tracetool.py --backend=log --group=hw_misc_mica --format=\$format \$in \$out
		  description = TRACE \$out
		rule link
		  command = gcc @$work/link-flags -o \$out.tmp \$objects @$work/link-inputs && mv -f \$out.tmp \$out
		  description = LINK \$out
	RULES
	if [ -f "$device_dir/trace-events" ]; then
		trace="$work/gen/trace/trace-hw_misc_mica"
		printf 'build %s: trace %s\n  format = h\n' "$trace.h" "$device_dir/trace-events"
		printf 'build %s: trace %s\n  format = c\n' "$trace.c" "$device_dir/trace-events"
		printf 'build %s: cc %s | %s\n' "$trace.o" "$trace.c" "$trace.h"
		objects="$trace.o"
	fi
	for src in "$device_dir"/*.c; do
		case $src in
		*_test.c | */\*.c) continue ;;
		esac
		obj=$work/$(basename "$src" .c).o
		printf 'build %s: cc %s%s\n' "$obj" "$src" "${trace:+ || $trace.h}"
		objects+=" $obj"
	done
	printf 'build %s: link %s | %s %s %s\n  objects = %s\n' "$output" "$objects" \
		"${engine:+$engine_lib}" "$work/link-flags" "$work/link-inputs" "$objects"
	echo "default $output"
}

# split_link: QEMU's link line as two response files, before and after our objects; the engine follows our objects.
split_link() {
	awk -v flags="$work/link-flags.new" -v inputs="$work/link-inputs.new" -v engine="${engine:+$engine_lib}" '
		BEGIN { if (engine != "") print engine >inputs }
		$0 == "-o" { getline; next }
		{ print >($0 == "-m64" ? flags : inputs) }' "$base/build/mica-link"
	update_file "$work/link-flags"
	update_file "$work/link-inputs"
}

# update_file FILE: FILE.new becomes FILE, but an unchanged file keeps its time stamp.
update_file() {
	if cmp -s "$1.new" "$1"; then rm -f "$1.new"; else mv -f "$1.new" "$1"; fi
}

lock "qemu-device-$(content_key "$output")"
mkdir -p "$work/gen/trace"
if [ -n "$engine" ]; then
	make -s --no-print-directory -C "$MICA_TOP" "${engine_lib#"$MICA_TOP"/}" >&2
fi
split_link
write_ninja >"$work/build.ninja.new"
update_file "$work/build.ninja"
log=$work/build.log
if ! ninja -C "$base/build" -f "$work/build.ninja" -j "$MICA_JOBS" >"$log" 2>&1; then
	grep -vE '^ninja: Entering|^gcc ' "$log" >&2
	exit 1
fi
grep -q 'no work to do' "$log" || step QEMU "${output#"$MICA_TOP"/}"
echo "$output"

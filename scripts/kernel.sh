#!/bin/bash
# SPDX-License-Identifier: MIT
# Unpack the newest kernel (6.12 or later) of Debian's backports into the cache, without installing it; print its folder, which has
#   vmlinuz, config, version (text), modules/ (depmod'ed lib/modules/VERSION), headers/ (for make -C)
# Usage: scripts/kernel.sh            print the folder
#        scripts/kernel.sh --headers  print its headers folder
# MICA_UPDATE=1 looks for a newer kernel; else the one in the cache serves. MICA_KERNEL=debug: scripts/debug-kernel.sh's instead.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ "${MICA_KERNEL:-}" != debug ] || exec "$MICA_TOP/scripts/debug-kernel.sh" "$@"
root=$MICA_CACHE/kernel
fetch=$MICA_TOP/scripts/fetch-backports.sh

# fix_headers DIR: the headers' Makefile and links name /usr/src and /usr/lib; point them to where DIR will be.
fix_headers() {
	local file link target
	for file in "$1"/usr/src/linux-headers-*-amd64/Makefile; do
		sed -i "s#/usr/src/#$final/root/usr/src/#g" "$file"
	done
	find "$1/usr/src" "$1/usr/lib" -type l -lname '/usr/*' | while IFS= read -r link; do
		target=$(readlink "$link")
		ln -sfn "$final/root$target" "$link"
	done
}

unpack() {
	local work image headers version common kbuild
	stale "$final"
	new_dir "$final"
	work=$REPLY
	image=$latest
	version=${image#linux-image-}
	headers=linux-headers-$version
	common=linux-headers-${version%-amd64}-common
	kbuild=linux-kbuild-${version%-amd64}
	step FETCH "Linux $version and its headers"
	"$fetch" binary "$work/root" "$image" "$headers" "$common" "$kbuild"
	[ -d "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
	[ -d "$work/root/lib/modules/$version" ] || die "the package $image has no /lib/modules/$version"
	fix_headers "$work/root"
	quiet depmod depmod -b "$work/root" "$version"
	ln -s "root/boot/vmlinuz-$version" "$work/vmlinuz"
	ln -s "root/boot/config-$version" "$work/config"
	ln -s "root/lib/modules/$version" "$work/modules"
	ln -s "root/usr/src/$headers" "$work/headers"
	echo "$version" >"$work/version"
	publish_dir "$work" "$final"
}

# complete: a kernel is there, and where its headers think they are (a cache may have been moved).
complete() {
	[ -z "${MICA_UPDATE:-}" ] && [ -e "$root/current/vmlinuz" ] && grep -qF "$root/" "$root/current/headers/Makefile"
}

PATH=$PATH:/usr/sbin:/sbin
if ! complete; then
	lock kernel
	if ! complete; then
		need_space "$root" 1500
		mkdir -p "$root"
		latest=$("$fetch" resolve linux-image-amd64)
		printf '%s\n' linux-image-6.12 "$latest" | sort -VC || die "the backports kernel is $latest; MICA needs 6.12 or newer"
		final=$root/${latest#linux-image-}
		if ! grep -qsF "$root/" "$final/headers/Makefile"; then
			rm -rf "$final"
			unpack
		fi
		ln -sfn "$(basename "$final")" "$root/current.new"
		mv -fT "$root/current.new" "$root/current"
	fi
fi

dir=$(readlink -f "$root/current")
if [ "${1:-}" = --headers ]; then
	echo "$dir/headers"
else
	echo "$dir"
fi

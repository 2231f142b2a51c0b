#!/bin/bash
# SPDX-License-Identifier: MIT
# Build a debug kernel (KASAN, lockdep, kmemleak, fault injection, ...) for the guest from Debian's linux-source-6.12 with
# scripts/debug-kernel.config; print its folder, laid out like scripts/kernel.sh's: vmlinuz, config, version, modules/, headers/.
# Built once, then cached by what this script and the configuration say; minutes with ccache warm, some ten minutes without.
# Usage: scripts/debug-kernel.sh [--headers]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

root=$MICA_CACHE/debug-kernel
config=$MICA_TOP/scripts/debug-kernel.config
key=$(content_key "@$0" "@$config")
final=$root/$key

# Parts of DRM that only other drivers select: a prompt makes them choices of the configuration.
add_prompts() {
	local name
	for name in DRM_SCHED DRM_EXEC DRM_GPUVM DRM_GEM_SHMEM_HELPER; do
		sed -i "/^config $name\$/,/tristate/s/tristate\$/tristate \"$name\"/" "$1/drivers/gpu/drm/Kconfig"
	done
	sed -i '/^config WANT_DEV_COREDUMP$/,/bool/s/bool$/bool "WANT_DEV_COREDUMP"/' "$1/drivers/base/Kconfig"
}

# check_config DIR: a symbol that Kconfig dropped would silently leave out a checker.
check_config() {
	local line
	grep -E '^(CONFIG_|# CONFIG_)' "$config" | while IFS= read -r line; do
		grep -qxF "$line" "$1/.config" || die "the kernel's configuration did not take $line"
	done
}

kernel_make() {
	local compiler=gcc
	if command -v ccache >/dev/null; then
		compiler='ccache gcc'
		export CCACHE_DIR=${CCACHE_DIR:-$MICA_CACHE/ccache}
	fi
	make -C "$work/headers" -j "$MICA_JOBS" CC="$compiler" HOSTCC="$compiler" KBUILD_BUILD_TIMESTAMP=@0 "$@"
}

# count_steps ABOUT: number the compiler's lines as quiet() wants them; how many there will be is what it was once.
count_steps() {
	awk -v about="$1" '/^ +(CC|AS) / { n++; printf "[%d/%d] ", n, (n > about ? n : about) } { print; fflush() }'
}

build_kernel() {
	kernel_make bzImage modules | count_steps 1300
}

# slim: the module of the driver is built in this tree, so headers, scripts and Module.symvers stay; objects and C files do not.
slim() {
	find "$1" -name '*.o' -not -path '*/scripts/*' -not -path '*/tools/*' -delete
	find "$1" \( -name '*.a' -o -name '.*.cmd' -o -name vmlinux -o -name 'vmlinux.*' -o -name '.tmp_vmlinux*' \) \
		-not -path '*/scripts/*' -not -name 'vmlinux.lds*' -not -path '*/tools/*' -type f -delete
	find "$1" -name '*.c' -not -path '*/scripts/*' -not -path '*/tools/*' -delete
	rm -rf "$1/Documentation"
}

unpack() {
	local tar
	step FETCH "linux-source-6.12"
	"$MICA_TOP/scripts/fetch-backports.sh" binary "$work/deb" linux-source-6.12
	tar=$(find "$work/deb" -name 'linux-source-6.12.tar.*' | head -n 1)
	[ -n "$tar" ] || die "linux-source-6.12 holds no tarball"
	mkdir "$work/headers"
	quiet unpack tar -C "$work/headers" --strip-components=1 --exclude='*/boot/dts/*' \
		--exclude='*/tools/testing/*' -xf "$tar"
	rm -rf "$work/deb"
}

build() {
	local version
	unpack
	add_prompts "$work/headers"
	step KERNEL "configuration with KASAN, lockdep, kmemleak, fault injection"
	quiet debug-kernel-config kernel_make KCONFIG_ALLCONFIG="$config" allnoconfig
	check_config "$work/headers"
	step KERNEL "build (takes a while)"
	quiet debug-kernel build_kernel
	version=$(cat "$work/headers/include/config/kernel.release")
	quiet debug-kernel-modules kernel_make INSTALL_MOD_PATH="$work/root" modules_install
	cp "$work/headers/arch/x86/boot/bzImage" "$work/vmlinuz"
	ln -s headers/.config "$work/config"
	ln -s "root/lib/modules/$version" "$work/modules"
	echo "$version" >"$work/version"
	slim "$work/headers"
}

PATH=$PATH:/usr/sbin:/sbin
if [ ! -e "$final/version" ]; then
	lock debug-kernel
	if [ ! -e "$final/version" ]; then
		need_space "$root" 3000
		stale "$final"
		new_dir "$final"
		work=$REPLY
		build
		publish_dir "$work" "$final"
	fi
fi
if [ "${1:-}" = --headers ]; then
	echo "$final/headers"
else
	echo "$final"
fi

#!/bin/bash
# SPDX-License-Identifier: MIT
# Make the guest's initramfs in build/guest/initramfs.cpio from what is built now: busybox, kernel modules, mica.ko,
# firmware, the mica command and libmica with the libraries they need, and the guest tests. Print its path.
# Parts that do not exist (yet) are left out. Uncompressed: unpacking costs the emulated CPU more than copying.
# Content-keyed: nothing is done if nothing changed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

out=$MICA_BUILD/guest
image=$out/initramfs.cpio
kernel=$("$MICA_TOP/scripts/kernel.sh")
version=$(cat "$kernel/version")
PATH=$PATH:/usr/sbin:/sbin

# Modules that the guest needs whatever our driver depends on.
modules=(virtio_pci virtio_blk 9p 9pnet_virtio drm gpu_sched drm_shmem_helper drm_exec drm_gpuvm)

# present FILE...: print those that exist.
present() {
	local file
	for file in "$@"; do [ ! -f "$file" ] || echo "$file"; done
}

mapfile -t programs < <(present "$MICA_BUILD/mica" "$MICA_BUILD"/guest-tests/*)
mapfile -t libraries < <(present "$MICA_BUILD"/libmica.so.?)
mapfile -t firmware < <(present "$MICA_BUILD"/firmware/*.bin)
mapfile -t driver < <(find "$MICA_BUILD/driver" -name mica.ko 2>/dev/null)
guest_files=("$MICA_TOP/tests/guest/init" "$MICA_TOP/tests/guest/run-in-guest")

# shared_libraries FILE...: the files that the dynamic linker would load for them. Statically linked ones have none.
shared_libraries() {
	local file
	for file in "$@"; do
		ldd "$file" 2>/dev/null || true
	done | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' | sort -u
}

# module_closure NAME...: paths (relative to the modules folder) of the modules and all they depend on.
module_closure() {
	local name
	for name in "$@"; do
		awk -v want="${name//-/_}" -F '[: ]+' '{
			base = $1; sub(/.*\//, "", base); sub(/\.ko.*/, "", base); gsub(/-/, "_", base)
			if (base == want) { for (i = 1; i <= NF; i++) if ($i != "") print $i; exit }
		}' "$kernel/modules/modules.dep"
	done | sort -u
}

add_modules() {
	local dir=$1/lib/modules/$version path depends=''
	[ ${#driver[@]} -eq 0 ] || depends=$(modinfo -F depends "${driver[0]}" | tr ',' ' ')
	mkdir -p "$dir"
	# shellcheck disable=SC2086
	module_closure "${modules[@]}" $depends | while IFS= read -r path; do
		case $path in
		*.xz) xz -dc "$kernel/modules/$path" >"$dir/$(basename "${path%.xz}")" ;;
		*.zst) zstd -qdc "$kernel/modules/$path" >"$dir/$(basename "${path%.zst}")" ;;
		*) cp "$kernel/modules/$path" "$dir/" ;;
		esac
	done
	if [ ${#driver[@]} -gt 0 ]; then
		strip -g -o "$dir/mica.ko" "${driver[0]}"
		mkdir -p "$1/usr/share/mica"
		touch "$1/usr/share/mica/has-driver"
	fi
	cp "$kernel/modules/modules.order" "$kernel/modules"/modules.builtin* "$dir/"
	depmod -b "$1" "$version"
}

# add_libraries ROOT FILE...: each library at its own path, so that the linker's defaults find it.
add_libraries() {
	local root=$1 lib
	shift
	shared_libraries "$@" | while IFS= read -r lib; do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
}

build() {
	local root=$1 dir
	mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib64,usr/lib/mica,usr/share,proc,sys,dev,tmp,run,etc,root,mnt/host,mnt/ctl,var}
	for dir in bin sbin lib lib64; do
		mkdir -p "$root/usr/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	cp "$(command -v busybox)" "$root/bin/busybox"
	# One link per applet: the kernel's and the tests' scripts call them by name.
	busybox --list | while IFS= read -r dir; do ln -s busybox "$root/bin/$dir"; done 2>/dev/null || true
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	add_modules "$root"
	install -m 755 "$MICA_TOP/tests/guest/init" "$root/init"
	install -m 755 "$MICA_TOP/tests/guest/run-in-guest" "$root/usr/lib/mica/run-in-guest"
	mkdir -p "$root/lib/firmware/mica" "$root/usr/lib/mica/tests"
	[ ${#firmware[@]} -eq 0 ] || cp "${firmware[@]}" "$root/lib/firmware/mica/"
	if [ ${#libraries[@]} -gt 0 ]; then
		strip -o "$root/usr/lib/$(basename "${libraries[0]}")" "${libraries[0]}"
		ln -s "$(basename "${libraries[0]}")" "$root/usr/lib/libmica.so"
	fi
	for dir in "${programs[@]}"; do
		case $dir in
		*/guest-tests/*) cp "$dir" "$root/usr/lib/mica/tests/" ;;
		*) cp "$dir" "$root/usr/bin/" ;;
		esac
	done
	strip -g "$root"/usr/lib/mica/tests/* "$root/usr/bin/mica" 2>/dev/null || true
	add_libraries "$root" "${programs[@]}" "${libraries[@]}"
}

lock "guest-image-$(content_key "$image")"
mkdir -p "$out"
inputs=("$0" "$(command -v busybox)" "${guest_files[@]}" "${programs[@]}" "${libraries[@]}" "${firmware[@]}" "${driver[@]}")
key=$(content_key "$version" "${modules[*]}" "${inputs[@]/#/@}")
if [ ! -e "$image" ] || [ "$(cat "$out/key" 2>/dev/null)" != "$key" ]; then
	rm -f "$out/key"
	stale "$out/root" "$image"
	new_dir "$out/root"
	work=$REPLY
	build "$work"
	(cd "$work" && find . -print0 | cpio --null -o -H newc --owner=0:0 --quiet) >"$image.tmp.$$"
	publish_file "$image.tmp.$$" "$image"
	echo "$key" >"$out/key"
	step IMAGE "${image#"$MICA_TOP"/} ($(du -m "$image" | cut -f1) MB)"
fi
echo "$image"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Install the Debian packages that a part of MICA needs and that are missing. Nothing missing: nothing is done, at once.
# Usage: scripts/deps.sh [user|device|check|bench]...     (default: user)
set -euo pipefail

# The user side: compiler, SDK, CPU backend, unit tests.
user="gcc libc6-dev make pkg-config libprotobuf-c-dev protobuf-c-compiler libonnx-dev libjpeg62-turbo-dev libpng-dev
	libjson-c-dev libcmocka-dev liburing-dev libdrm-dev"

# The device side: QEMU, guest kernel, initramfs, driver, firmware.
device="bc bison busybox-static ccache cpio dpkg-dev flex gcc-riscv64-unknown-elf kmod libattr1-dev libcap-ng-dev
	libelf-dev libglib2.0-dev libssl-dev ninja-build patch perl picolibc-riscv64-unknown-elf python3-venv qemu-system-data
	seabios xz-utils zlib1g-dev"

# What only `make check` uses.
check="clang dataset-fashion-mnist libclang-rt-14-dev libonnx-testdata shellcheck sparse"

# What only `make bench` uses: the peer's INT8 models and their data. npm is left to the user: it comes with some nodejs packages
# and conflicts with them.
bench="dataset-fashion-mnist python3-numpy python3-onnx"

die() { printf 'deps.sh: %s\n' "$*" >&2; exit 1; }

wanted=
for part in "${@:-user}"; do
	case $part in
	user) wanted+=" $user" ;;
	device) wanted+=" $device" ;;
	check) wanted+=" $check" ;;
	bench) wanted+=" $bench" ;;
	*) die "unknown part '$part' (user, device, check or bench)" ;;
	esac
done

command -v dpkg-query >/dev/null || die "this is not a Debian system; install the equivalents of:$(echo "$wanted" | tr -s '\n\t ' ' ')"

# missing: print the wanted packages that are not installed.
missing() {
	local installed
	# shellcheck disable=SC2086 # the list is meant to split
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p') || true
	# shellcheck disable=SC2086
	printf '%s\n' $wanted | grep -vxF "$installed" || true
}

list=$(missing)
[ -n "$list" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || die "these packages are missing and neither root nor sudo is at hand: ${list//$'\n'/ }"
	as_root=sudo
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# apt COMMAND...: quiet unless it fails; waits for another apt instead of failing.
apt() {
	if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@" </dev/null >"$log" 2>&1; then
		tail -n 15 "$log" >&2
		return 1
	fi
}

printf '  APT     %s\n' "${list//$'\n'/ }" >&2
# A package list that cannot be refreshed may still be good enough: the installation decides.
apt update || true
# shellcheck disable=SC2086
apt install --no-install-recommends $list || die "apt-get could not install: ${list//$'\n'/ }"
list=$(missing)
[ -z "$list" ] || die "still missing after the installation: ${list//$'\n'/ }"

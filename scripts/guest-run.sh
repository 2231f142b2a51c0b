#!/bin/bash
# SPDX-License-Identifier: MIT
# Boot a guest with the MICA device, run a command in it as root, stream its output, return its exit status.
#
# Usage: scripts/guest-run.sh [option]... -- COMMAND [ARGUMENT]...
#   -d PROPS          more properties of the device, as in -d lmem=1M,threads=2; -d mica-accel,... works too
#   --cores N         cores of the device (default 2)
#   --no-device       a guest without the device
#   --no-load         do not load the driver at boot
#   --iommu           put the device behind a translating vIOMMU
#   --share DIR       a host folder as /mnt/host, read and write (default: an empty one); the command starts there
#   --timeout S       kill the guest after S seconds (default 300; status 124)
#   --memory M, --smp N, --qemu FILE
#   --append WORDS    more of the kernel command line
#   --kernel-log FILE keep the guest's kernel log
#   --qmp SOCKET      QEMU's machine protocol on a unix socket
#   --debug           show QEMU's own messages and what the device logs as guest errors
#   -- before the command; for shell syntax use  -- sh -c '...'
# Environment: MICA_ACCEL (default tcg,thread=multi; kvm on hardware that has it), MICA_QEMU_ARGS (more QEMU arguments).
# The guest has the mica command, libmica, the driver, its firmware and the guest tests as they are built now.
# A status of 124 is a timeout, 125 a guest that died before the command ended.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cores=2
device=mica-accel
props=''
driver_load=1
iommu=''
share=''
seconds=300
memory=2G
smp=2
qemu=$MICA_BUILD/qemu-system-x86_64
append=''
keep_log=''
qmp=''
debug=''

while [ $# -gt 0 ]; do
	case $1 in
	-d) props=${2#mica-accel,}; shift ;;
	--cores) cores=$2; shift ;;
	--no-device) device='' ;;
	--no-load) driver_load='' ;;
	--iommu) iommu=1 ;;
	--share) share=$(cd "$2" && pwd); shift ;;
	--timeout) seconds=$2; shift ;;
	--memory) memory=$2; shift ;;
	--smp) smp=$2; shift ;;
	--qemu) qemu=$2; shift ;;
	--append) append=$2; shift ;;
	--kernel-log) keep_log=$2; shift ;;
	--qmp) qmp=$2; shift ;;
	--debug) debug=1 ;;
	--) shift; break ;;
	*) die "unknown option '$1' (options come before --, the command after it)" ;;
	esac
	shift
done
[ $# -gt 0 ] || die "no command; usage: guest-run.sh [option]... -- COMMAND [ARGUMENT]..."
[ -x "$qemu" ] || die "$qemu is not built; run 'make qemu' first"
kernel=$("$MICA_TOP/scripts/kernel.sh")
image=$("$MICA_TOP/scripts/guest-image.sh")

run=$(mktemp -d "${TMPDIR:-/tmp}/mica-guest.XXXXXX")
on_exit "rm -rf '$run'"
mkdir "$run/ctl"
if [ -z "$share" ]; then
	share=$run/share
	mkdir "$share"
fi
# The image may be rebuilt while this guest boots: hold on to the one we saw.
ln "$image" "$run/initramfs" 2>/dev/null || cp "$image" "$run/initramfs"

# quoted WORD...: as the guest's shell reads them.
quoted() {
	local word
	for word in "$@"; do
		printf "'%s' " "${word//\'/\'\\\'\'}"
	done
}
echo "exec $(quoted "$@")" >"$run/ctl/command"

# Commas in a path end a QEMU property; they are doubled.
# shellcheck disable=SC2054
args=(-nodefaults -no-user-config -display none -no-reboot
	-L /usr/share/seabios -L /usr/share/qemu
	-accel "${MICA_ACCEL:-tcg,thread=multi}" -cpu max -machine q35 -m "$memory" -smp "$smp"
	-kernel "$kernel/vmlinuz" -initrd "$run/initramfs"
	-chardev stdio,id=out,signal=off -serial chardev:out -serial "file:$run/kernel.log"
	-fsdev "local,id=ctl,path=${run//,/,,}/ctl,security_model=none" -device virtio-9p-pci,fsdev=ctl,mount_tag=ctl
	-fsdev "local,id=host,path=${share//,/,,},security_model=none,multidevs=remap"
	-device virtio-9p-pci,fsdev=host,mount_tag=host)
cmdline="console=ttyS1 quiet loglevel=5 panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on"
# The emulated CPU's time stamp counter is this machine's; a guest that measures it on a busy machine may end with a clock that runs away.
if [ "$(uname -m)" = x86_64 ]; then
	tsc=$MICA_BUILD/guest/tsc-khz
	mkdir -p "${tsc%/*}"
	[ "$tsc" -nt "$MICA_TOP/scripts/tsc-khz.c" ] || { gcc -O2 -o "$run/tsc-khz" "$MICA_TOP/scripts/tsc-khz.c" && mv "$run/tsc-khz" "$tsc"; }
	khz=$("$tsc" || true)
	[ -z "$khz" ] || cmdline+=" tsc_early_khz=$khz"
fi
# KASAN: every report, not only the first of a boot.
[ "${MICA_KERNEL:-}" != debug ] || cmdline+=" kasan_multi_shot kunit.enable=1"
if [ -n "$iommu" ]; then
	# shellcheck disable=SC2054
	args=(-device intel-iommu,intremap=on "${args[@]}")
	cmdline+=" intel_iommu=on iommu=strict iommu.passthrough=0"
	[ "${MICA_ACCEL:-tcg}" != kvm ] || args+=(-machine kernel-irqchip=split)
fi
if [ -n "$device" ]; then
	# shellcheck disable=SC2054
	args+=(-device pcie-root-port,id=port0,chassis=1,slot=1
		-device "$device,id=mica0,bus=port0,cores=$cores${props:+,$props}")
fi
[ -n "$driver_load" ] || cmdline+=" mica.load=0"
[ -z "$qmp" ] || args+=(-qmp "unix:${qmp//,/,,},server=on,wait=off")
# shellcheck disable=SC2054
[ -z "$debug" ] || args+=(-d guest_errors,unimp)
# shellcheck disable=SC2206 # a list of arguments in one variable
args+=(-append "$cmdline $append" ${MICA_QEMU_ARGS:-})

show_kernel_log() {
	say "--- the guest's kernel said last:"
	tail -n 40 "$run/kernel.log" | tr -d '\r' >&2
}

# QEMU writes to a pipe of its own, since it would switch our caller's stdout to non-blocking.
mkfifo "$run/out"
cat <"$run/out" &
reader=$!
timeout -k 5 "$seconds" "$qemu" "${args[@]}" </dev/null >"$run/out" 2>"$run/qemu.err" &
machine=$!
on_exit "kill $machine 2>/dev/null; wait $machine 2>/dev/null"
status=0
wait "$machine" || status=$?
wait "$reader" || true

if [ -n "$keep_log" ]; then
	cat "$run/kernel.log" "$run/ctl/dmesg.tests" "$run/ctl/dmesg" 2>/dev/null | tr -d '\r' >"$keep_log" || true
fi
if [ -n "$debug" ] || [ "$status" -ne 0 ]; then cat "$run/qemu.err" >&2; fi
if [ "$status" -eq 124 ]; then
	say "guest-run.sh: the guest was killed after $seconds s"
	show_kernel_log
	exit 124
fi
if [ ! -s "$run/ctl/status" ]; then
	say "guest-run.sh: the guest died before the command ended (QEMU's status $status)"
	show_kernel_log
	exit 125
fi
exit "$(cat "$run/ctl/status")"

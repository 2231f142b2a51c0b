#!/bin/bash
# SPDX-License-Identifier: MIT
# What the command says about devices: none, no driver, firmware that is missing, damaged or of another version, a model that
# does not fit, a job that takes too long, one that faults, null jobs. In guests; docs/cli.md has the codes.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

share=$work/share
mkdir "$share" "$work/calib"
python3 - "$work/calib/a.npy" <<'PY'
import struct, sys
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
head += " " * (63 - (10 + len(head)) % 64) + "\n"
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<784f", *[(i % 13 - 6) / 4 for i in range(784)]))
PY
cp "$work/calib/a.npy" "$share/x.npy"
for cores in 1 2 4; do
	check "a model for $cores cores compiles" "$MICA" compile models/fashion_resnet.onnx -o "$share/c$cores.mica" --cores=$cores --calib="$work/calib"
done
check "a model for little LMEM compiles" "$MICA" compile models/fashion_resnet.onnx -o "$share/small.mica" --lmem=512K --calib="$work/calib"

# A model whose first command jumps out of its segment at run time cannot be made: the checks at load refuse it on the CPU. The
# device checks each packet itself; there the model is loaded and its job faults.
python3 - "$share/c1.mica" "$share/bad.mica" <<'PY'
import struct, sys, zlib
d = bytearray(open(sys.argv[1], "rb").read())
meta = struct.unpack_from("<Q", d, 16)[0]
at = next(i for i in range(64, 64 + meta - 128) if d[i] == 0x10 and d[i + 1] == 2 and d[i + 4:i + 8] == bytes(4) and 0 < struct.unpack_from("<I", d, i + 48)[0] <= 8)
struct.pack_into("<I", d, at + 48, 3)      # COPY with elements of 3 bytes
struct.pack_into("<I", d, 40, zlib.crc32(d[64:64 + meta]))
struct.pack_into("<I", d, 48, 0)
struct.pack_into("<I", d, 48, zlib.crc32(d[:64]))
open(sys.argv[2], "wb").write(d)
PY
expect "the CPU refuses a bad command at load" 4 "commands are refused: core 0, packet at 0x.*copy.*elem" "$MICA" run "$share/bad.mica" --backend=cpu --input="$share/x.npy"

# In the guest: each case leaves its exit code and what it said.
cat >"$share/guest.sh" <<'EOS'
firmware=/lib/firmware/mica
case_() {
	name=$1
	shift
	"$@" >"results/$name.out" 2>"results/$name.err"
	echo $? >"results/$name.code"
}
mkdir results
mv $firmware/mica_fw.bin /tmp/good.bin
case_ no_driver mica run c1.mica --input=x.npy --backend=device
modprobe mica
case_ no_firmware mica run c1.mica --input=x.npy --backend=device
for kind in badcrc badabi badhw truncated; do
	rmmod mica
	cp $firmware/mica_fw_$kind.bin $firmware/mica_fw.bin
	modprobe mica
	case_ $kind mica run c1.mica --input=x.npy --backend=device
done
rmmod mica
cp /tmp/good.bin $firmware/mica_fw.bin
modprobe mica
case_ info mica info --json
case_ auto mica run c2.mica --input=x.npy --json
case_ cores mica run c4.mica --input=x.npy --backend=device
case_ lmem mica run small.mica --input=x.npy --backend=device
case_ fault_uring mica run bad.mica --input=x.npy --backend=device
case_ fault_ioctl mica run bad.mica --input=x.npy --backend=device --submit=ioctl
case_ after_fault mica run c1.mica --input=x.npy --backend=device
# A core that hangs (debug=on), so that the wait is too short on any machine.
hung() { set -- /sys/kernel/debug/accel/*/inject "$@"; echo "1 0" >"$1"; shift; mica run c1.mica --input=x.npy --backend=device --timeout=0.5 "$@"; }
case_ timeout hung --submit=uring
case_ timeout_ioctl hung --submit=ioctl
case_ second_device mica run c1.mica --input=x.npy --backend=device --device=1
case_ bench mica bench c1.mica --backend=device --seconds=0.5 --json
for submit in uring ioctl; do
	case_ null_1_$submit mica bench --null-jobs --submit=$submit --seconds=0.5 --json
	case_ null_32_$submit mica bench --null-jobs --submit=$submit --depth=32 --seconds=0.5 --json
done
dmesg >results/dmesg
EOS

# said NAME CODE PATTERN TITLE
said() {
	local code
	code=$(cat "$share/results/$1.code" 2>/dev/null)
	if [ "$code" != "$2" ] || { [ -n "$3" ] && ! cat "$share/results/$1".{err,out} 2>/dev/null | grep -qE -- "$3"; }; then
		not_ok "$4" "exit code ${code:-none}, expected $2 and '$3':
$(cat "$share/results/$1".{err,out} 2>/dev/null)"
	else
		ok "$4"
	fi
}

scripts/guest-run.sh --share "$share" -d debug=on --no-load --timeout 280 -- sh guest.sh
said no_driver 8 "has no driver: load it with 'modprobe mica'" "a device without its driver"
said no_firmware 9 "firmware is missing.*mica_fw.bin" "missing firmware"
said badcrc 9 "damaged .wrong checksum" "firmware with a wrong checksum"
said truncated 9 "damaged .wrong size" "truncated firmware"
said badabi 5 "ABI version [0-9]+\.\.[0-9]+, the driver speaks" "firmware of another ABI version"
said badhw 5 "is for hardware" "firmware for other hardware"
said info 0 '"cores": *2' "info shows the device"
said auto 0 '"backend": *"device"' "auto takes the device"
said cores 11 "compiled for 4 cores, /dev/accel/accel0 has 2; compile it with --cores=2" "a model for more cores than there are"
said lmem 0 "" "a model for less LMEM runs"
said fault_uring 10 "faulted on core 0 at packet 0x.*layer '.+'" "a fault names core, packet and layer (uring)"
said fault_ioctl 10 "faulted on core 0 at packet 0x.*layer '.+'" "a fault names core, packet and layer (ioctl)"
said after_fault 0 "" "the next job after a fault runs"
said timeout 10 "did not end within" "a wait that is too short (uring)"
said timeout_ioctl 10 "did not end within" "a wait that is too short (ioctl)"
said second_device 8 "there are 1 MICA devices, number 1" "a device number that is too large"
said bench 0 '"cycles"' "bench on the device"
for submit in uring ioctl; do
	for depth in 1 32; do
		said null_${depth}_$submit 0 '"jobs_per_s"' "null jobs, $submit, depth $depth"
		grep -E 'jobs_per_s|median' "$share/results/null_${depth}_$submit.out" 2>/dev/null
	done
done
if grep -E 'WARNING|BUG:|Oops|Call Trace' "$share/results/dmesg" >"$work/bad"; then
	not_ok "no kernel warning" "$(cat "$work/bad")"
else
	ok "no kernel warning"
fi

echo 'mica run small.mica --input=x.npy --backend=device 2>err; echo $? >code; mica run c1.mica --input=x.npy --backend=device 2>err2; echo $? >code2' >"$share/small.sh"
scripts/guest-run.sh --share "$share" --cores 1 -d lmem=1M --timeout 120 -- sh small.sh
mv "$share/err2" "$share/results/lmem_small.err"; mv "$share/code2" "$share/results/lmem_small.code"
said lmem_small 11 "compiled for 2097152 bytes of LMEM per core, .* has 1048576; compile it with --lmem=1048576" "a model for more LMEM than there is"
check "a model that fits a small device runs" grep -qx 0 "$share/code"

echo 'mica run c1.mica --input=x.npy --backend=device 2>err; echo $? >code; mica run c1.mica --input=x.npy --json >out; grep -q cpu out; echo $? >code2' >"$share/none.sh"
scripts/guest-run.sh --share "$share" --no-device --timeout 120 -- sh none.sh
mv "$share/err" "$share/results/none.err"; mv "$share/code" "$share/results/none.code"
said none 8 "no MICA device on the PCI bus.*--backend=cpu" "a machine without the device"
check "auto falls back to the CPU" grep -qx 0 "$share/code2"
summary

#!/bin/bash
# SPDX-License-Identifier: MIT
# What the command says and how it exits: results, and every kind of mistake with its message and code (docs/cli.md).
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

model=models/fashion_mobilenetv2.onnx
mica=$work/net.mica
calib=$work/calib
mkdir "$calib"

# npy FILE DESCR SHAPE [FILL]: a constant array made with nothing but the standard library.
npy() {
	python3 - "$@" <<'PY'
import struct, sys
path, descr, shape = sys.argv[1:4]
dims = [int(d) for d in shape.split("x") if d]
n = 1
for d in dims: n *= d
fill = float(sys.argv[4]) if len(sys.argv) > 4 else 0.5
code = {"<f4": "f", "<f8": "d", "|u1": "B"}[descr]
values = [fill * ((i * 7919 % 13) - 6) for i in range(n)] if code != "B" else [i % 256 for i in range(n)]
head = "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }" % (descr, "True" if "fortran" in path else "False", "".join("%d," % d for d in dims))
head += " " * (63 - (10 + len(head)) % 64) + "\n"
open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<%d%s" % (n, code), *values))
PY
}

# onnx FILE OP DIM: one operator from input x [1, DIM] to output y; DIM may be a name.
onnx() {
	python3 - "$@" <<'PY'
import sys
def vi(n):
    out = b""
    while n > 127: out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])
def num(field, n): return vi(field << 3) + vi(n)
def msg(field, *parts):
    body = b"".join(p.encode() if isinstance(p, str) else p for p in parts)
    return vi(field << 3 | 2) + vi(len(body)) + body
path, op, dim = sys.argv[1:4]
d = msg(1, num(1, int(dim))) if dim.isdigit() else msg(1, msg(2, dim))
def value(field, name): return msg(field, msg(1, name), msg(2, msg(1, num(1, 1), msg(2, msg(1, num(1, 1)), d))))
graph = msg(7, msg(1, msg(1, "x"), msg(2, "y"), msg(3, "the_node"), msg(4, op)), msg(2, "g"), value(11, "x"), value(12, "y"))
open(path, "wb").write(num(1, 7) + graph + msg(8, num(2, 13)))
PY
}

npy "$calib/a.npy" '<f4' 1x1x28x28 0.2
npy "$work/x.npy" '<f4' 1x1x28x28 0.2
npy "$work/fortran.npy" '<f4' 1x1x28x28
npy "$work/wide.npy" '<f4' 1x1x28x29
npy "$work/double.npy" '<f8' 1x1x28x28 0.2

# ---- the good path ----
check "compile writes a model" "$MICA" compile $model -o "$mica" --calib="$calib"
check "compile in every format: int8" "$MICA" compile $model -o "$work/int8.mica" --format=int8 --calib="$calib/a.npy,$calib/a.npy" --cores=2 --lmem=1M --threads=2
check "compile --json prints an object" bash -c "'$MICA' compile $model -o '$work/j.mica' --calib='$calib' --json >'$work/c.json'"
check "its object has sizes" json "$work/c.json" weights_bytes
check "compile --report writes JSON" bash -c "'$MICA' compile $model -o '$work/j.mica' --calib='$calib' --report='$work/r.json' && python3 -m json.tool '$work/r.json' >/dev/null"
check "run prints classes" bash -c "'$MICA' run '$mica' --input='$work/x.npy' --backend=cpu | grep -q 'MAC utilization'"
check "run takes NAME=FILE and writes outputs" "$MICA" run "$mica" --input=input="$work/x.npy" --backend=cpu --output="$work/out" --raw
check "logits.npy is there" test -s "$work/out/logits.npy"
check "logits.raw.npy is there" test -s "$work/out/logits.raw.npy"
check "run --json is one object" bash -c "'$MICA' run '$mica' --input='$work/x.npy' --backend=cpu --json >'$work/run.json'"
check "run --json has cycles" json "$work/run.json" cycles
check "run --json has mac_utilization" json "$work/run.json" mac_utilization
check "run --json has dram_bytes" json "$work/run.json" dram_bytes
check "run --json has five classes" json "$work/run.json" classes 4 label
check "f64 input gives the same output" bash -c "'$MICA' run '$mica' --input='$work/double.npy' --backend=cpu --output='$work/out64' && '$MICA' diff '$work/out/logits.npy' '$work/out64/logits.npy'"
check "an image goes through the sidecar" "$MICA" run "$mica" --input=models/photos/chelsea.jpg --backend=cpu
check "dump lists layers" bash -c "'$MICA' dump '$mica' | grep -qi conv"
check "dump --commands disassembles" bash -c "'$MICA' dump '$mica' --commands | grep -q ' end'"
check "dump --memory shows the plan" bash -c "'$MICA' dump '$mica' --memory | grep -q 'lower bound'"
check "dump --memory shows other planners' plans" bash -c "'$MICA' dump '$mica' --memory | grep -q 'size-ordered best fit'"
check "compile for least memory" "$MICA" compile $model -o "$work/least.mica" --minimize=memory --no-pass=residency,views
check "dump --memory says what was left out" bash -c "'$MICA' dump '$work/least.mica' --memory | grep -q 'residency.*left out'"
check "dump --graph shows the IR" bash -c "'$MICA' dump '$mica' --graph | grep -q conv"
check "info shows the machine" bash -c "'$MICA' info | grep -q cpu"
check "info --json is one object" bash -c "'$MICA' info --json | python3 -m json.tool >/dev/null"
check "info MODEL shows inputs" bash -c "'$MICA' info '$mica' | grep -q '1x1x28x28'"
check "bench of a .mica" bash -c "'$MICA' bench '$mica' --backend=cpu --seconds=0.2 --json >'$work/bench.json'"
check "bench has latency_ms.p99" json "$work/bench.json" latency_ms p99
check "bench has gmac_per_s" json "$work/bench.json" gmac_per_s
check "bench of an .onnx compiles it" "$MICA" bench $model --backend=cpu --seconds=0.2 --format=int8
check "help lists the commands" bash -c "'$MICA' help | grep -q compile"
for command in info compile calibrate sensitivity compare run eval bench dump diff; do
	check "$command --help exits with 0" bash -c "'$MICA' $command --help | grep -q '^usage: mica $command'"
done
check "--version" bash -c "'$MICA' --version | grep -q '^mica [0-9]'"

# ---- calibration tables ----
check "calibrate writes a table" "$MICA" calibrate $model --calib="$calib" -o "$work/table"
check "compile takes it without samples" "$MICA" compile $model -o "$work/t.mica" --format=int8 --calib-table="$work/table"
check "repairs say what they gain" bash -c "'$MICA' compile $model -o '$work/t.mica' --format=int8 --calib='$calib' --repair=cle,bias 2>&1 | grep -q 'repair bias: output cosine'"
check "repairs that need samples say so" bash -c "'$MICA' compile $model -o '$work/t.mica' --format=e4m3 --repair=center,bias 2>&1 | grep -q 'are left out: center bias'"
echo "input max wrong 0 1" >"$work/bad.table"
expect "arrays cannot be augmented" 2 "a.npy is an array; only images can be augmented" "$MICA" compile $model -o "$work/t.mica" --calib="$calib" --augment=2
expect "a table's mistake is named" 2 "bad.table:1: not a threshold: 'wrong'" "$MICA" compile $model -o "$work/t.mica" --calib-table="$work/bad.table"
expect "calibrate without samples" 2 "pass --calib DIR" "$MICA" calibrate $model -o "$work/table"
expect "calibrate without -o" 2 "-o TABLE" "$MICA" calibrate $model --calib="$calib"
expect "unknown repair" 2 "allowed are none, all, cle" "$MICA" compile $model -o "$work/t.mica" --repair=magic
expect "none stands alone" 2 "'none' stands alone" "$MICA" compile $model -o "$work/t.mica" --repair=cle,none
expect "percentile out of range" 2 "from 50 to 100" "$MICA" compile $model -o "$work/t.mica" --percentile=101

# ---- inputs unlike the calibration data ----
npy "$work/bytes.npy" '<f4' 1x1x28x28 40
for net in net int8; do
	expect "run warns of inputs far beyond their range ($net)" 0 "WARNING: .*bytes.npy: .* input 'input' are far outside .* check the preprocessing" \
		"$MICA" run "$work/$net.mica" --input="$work/bytes.npy" --backend=cpu
	check "run says nothing of usual ones ($net)" bash -c "! '$MICA' run '$work/$net.mica' --input='$work/x.npy' --backend=cpu 2>&1 | grep WARNING"
done
check "info shows the range of inputs" bash -c "'$MICA' info '$mica' | grep -q 'range -1.2 to 1.2'"
idx=/usr/share/datasets/fashion-mnist/t10k
if [ -e $idx-images-idx3-ubyte.gz ]; then
	expect "eval counts values beyond the range" 0 "WARNING: .* of 20 images, lie outside of the range" "$MICA" eval "$mica" --images=$idx-images-idx3-ubyte.gz \
		--labels=$idx-labels-idx1-ubyte.gz --limit=20 --backend=cpu --mul=0.1
else
	skip "eval counts values beyond the range" "no dataset-fashion-mnist"
fi

# ---- compare ----
check "compare prints layers and outputs" bash -c "'$MICA' compare $model --format=int8 --calib='$calib' 2>/dev/null | grep -q '^output logits: cosine 0.99'"
check "compare --top=0 prints every layer" bash -c "[ \$('$MICA' compare $model --format=int8 --calib='$calib' --top=0 2>/dev/null | wc -l) -gt 30 ]"
check "compare writes a page that loads nothing" bash -c "'$MICA' compare $model --calib='$calib' --html='$work/c.html' --json='$work/compare.json' && grep -q '</html>' '$work/c.html' && ! grep -qiE '(src|href)=.?https?:|@import|url\(' '$work/c.html'"
python3 -c 'import sys; d = open(sys.argv[1], "rb").read(); open(sys.argv[2], "wb").write(d.replace(b"logits", b"<i>\"&x"))' $model "$work/hostile.onnx"
check "names are text on the page, and strings in JSON" bash -c "'$MICA' compare '$work/hostile.onnx' --calib='$calib' --html='$work/h.html' --json='$work/h.json' && grep -q '&lt;i&gt;&quot;&amp;x' '$work/h.html' &&
	! grep -q '<i>\"' '$work/h.html' && python3 -m json.tool '$work/h.json' >/dev/null"
check "compare --json=FILE has layers" json "$work/compare.json" layers 0 network cosine
check "compare --json prints one object" bash -c "'$MICA' compare $model --calib='$calib' --json 2>/dev/null | python3 -m json.tool >/dev/null"
check "f32 is exact" bash -c "'$MICA' compare $model --format=f32 --calib='$calib' --sort=snr | grep -q 'output logits: cosine 1.00000, SNR exact'"
npy "$work/beyond.npy" '<f4' 1x1x28x28 2
expect "compare warns loudly of inputs beyond their range" 0 "WARNING: 'input' saturates: .*check the preprocessing" "$MICA" compare $model --format=int8 --calib="$calib" --input="$work/beyond.npy"
expect "compare without samples" 2 "nothing to compare on" "$MICA" compare $model --format=int8
expect "compare with an empty folder" 3 "holds no .jpg" bash -c "mkdir -p '$work/nothing'; '$MICA' compare $model --input='$work/nothing'"
expect "compare int8 without calibration" 2 "pass --calib" "$MICA" compare $model --format=int8 --input="$work/x.npy"
expect "compare with a qtable for nobody" 2 "no operator 'nobody'" bash -c "echo nobody bf16 >'$work/n.qtable'; '$MICA' compare $model --calib='$calib' --qtable='$work/n.qtable'"
expect "compare with an unknown order" 2 "allowed are alone, cos" "$MICA" compare $model --calib="$calib" --sort=best
expect "compare takes no -o" 2 "unknown option" "$MICA" compare $model --calib="$calib" -o "$work/a"
expect "compare to a missing folder" 3 "cannot be written" "$MICA" compare $model --calib="$calib" --html="$work/none/c.html"
expect "compare to a folder" 3 "is a folder" "$MICA" compare $model --calib="$calib" --html="$work"
expect "compare to a full device" 3 "No space left" "$MICA" compare $model --calib="$calib" --html=/dev/full
check "a page that cannot be written leaves none" bash -c "! (ulimit -f 4; trap '' XFSZ; '$MICA' compare $model --calib='$calib' --html='$work/cut.html' 2>/dev/null) && ! ls '$work' | grep cut"
# ---- sensitivity ----
search=("$MICA" sensitivity "$model" --calib="$calib,models/photos" -o "$work/q")
check "sensitivity writes its tables" "${search[@]}" --formats=int8,e4m3 --methods=max,kl --target-cos=0.99999 --max-float-layers=2 --order=loss --ranking="$work/ranking"
check "a qtable that names what stays in float" grep -qE ' f32$' "$work/q"
check "a calibration table" grep -q '^# mica calibration table 1' "$work/q.table"
check "a log" grep -qE '^int8 kl [0-9.e+-]+ ' "$work/q.log"
check "a ranking" grep -qE '^ +1 ' "$work/ranking"
check "compile takes both tables" "$MICA" compile $model -o "$work/t.mica" --format=int8 --qtable="$work/q" --calib-table="$work/q.table"
check "a search that is resumed runs nothing twice" bash -c "'${search[0]}' ${search[*]:1} --formats=int8,e4m3 --methods=max,kl --resume --json | sed -n '/^{/,\$p' >'$work/s.json'"
check "and says so" test "$(json "$work/s.json" computed)" = 0
expect "a log of other options" 2 "q.log: was made for another model, other samples or options" "${search[@]}" --resume --activations=asymmetric
printf 'import os, sys\nprint(len(os.listdir(sys.argv[1])))\n' >"$work/count.py"
check "a measure of the user's own" "${search[@]}" --metric="python3 $work/count.py" --log="$work/own.log" --search=fast
expect "a measure that fails" 2 "the command failed with exit code 1" "${search[@]}" --metric=false
expect "a measure that prints no number" 2 "must print one number, it printed 'hello" "${search[@]}" --metric="echo hello"
# timeout --foreground: one signal, as from a terminal; otherwise its group gets a second one, which ends the search at once
expect "Ctrl-C keeps what was found" 130 "interrupted: .*--resume goes on" env --default-signal=INT timeout --foreground --preserve-status -s INT 2 "${search[@]}" --search=naive --formats=int8,e4m3,e5m2,bf16 --methods=max,kl,percentile,mse --metric="sleep 0.1; echo 1; :"
check "and its tables are whole" "$MICA" compile $model -o "$work/t.mica" --format=int8 --qtable="$work/q" --calib-table="$work/q.table"
expect "sensitivity without samples" 2 "--calib=DIR_OR_FILES is needed" "$MICA" sensitivity $model -o "$work/q"
expect "sensitivity without -o" 2 "-o QTABLE is needed" "$MICA" sensitivity $model --calib="$calib"
expect "a format twice" 2 "'int8' stands there twice" "${search[@]}" --formats=int8,int8
expect "an unknown format to search" 2 "allowed are e4m3, e5m2, int8, bf16" "${search[@]}" --formats=f32
expect "an impossible target" 2 "from 0 to 1" "${search[@]}" --target-cos=2
expect "what the search finds out itself" 2 "is what the search finds out" "${search[@]}" --format=int8
expect "one file for two" 2 "is named for two files" "${search[@]}" --log="$work/q"
expect "the model is not overwritten" 2 "is named for two files, or is the model" "$MICA" sensitivity $model --calib="$calib" -o $model
expect "a Q/DQ model has its formats" 2 "nothing to choose" "$MICA" sensitivity models/fashion_mobilenetv2_qat.onnx --calib="$calib" -o "$work/q2"

# ---- usage: 2 ----
expect "no command" 2 "usage: mica" "$MICA"
expect "unknown command" 2 "no command 'frobnicate'.*mica help" "$MICA" frobnicate
expect "unknown option" 2 "unknown or ambiguous option '--frob'" "$MICA" run "$mica" --frob
expect "unknown short option" 2 "unknown option '-z'" "$MICA" run "$mica" -z
expect "option without its value" 2 "needs a value" "$MICA" run "$mica" --input
expect "flag with a value" 2 "takes no value" "$MICA" run "$mica" --json=yes
expect "unknown format lists what is allowed" 2 "allowed are e4m3, e5m2, int8, bf16, f32" "$MICA" compile $model -o "$work/a.mica" --format=fp4
expect "unknown method" 2 "allowed are max, kl" "$MICA" compile $model -o "$work/a.mica" --method=best
expect "too many cores" 2 "from 1 to 8" "$MICA" compile $model -o "$work/a.mica" --cores=9
expect "unknown step to leave out" 2 "allowed are views, in_place" "$MICA" compile $model -o "$work/a.mica" --no-pass=views,fast
expect "unknown aim" 2 "allowed are time, memory" "$MICA" compile $model -o "$work/a.mica" --minimize=size
expect "odd lmem" 2 "multiple of 64" "$MICA" compile $model -o "$work/a.mica" --lmem=5000
check "all the lmem that may be asked for" "$MICA" compile $model -o "$work/j.mica" --format=f32 --lmem=1G
cp $model "$work/self.onnx"
ln -s self.onnx "$work/link.onnx"
expect "output over the model" 2 "is the model itself" "$MICA" compile "$work/self.onnx" -o "$work/link.onnx" --format=f32
expect "compile without -o" 2 "-o OUT.mica" "$MICA" compile $model
expect "compile of two models" 2 "found also" "$MICA" compile $model $model -o "$work/a.mica"
expect "report of another kind" 2 "html or .json" "$MICA" compile $model -o "$work/a.mica" --report=r.txt
expect "unknown backend" 2 "allowed are auto, device, cpu" "$MICA" run "$mica" --backend=gpu
expect "bad thread count" 2 "from 1 to 256" "$MICA" run "$mica" --threads=0
expect "more sessions than eval starts" 2 "--threads=65: a number from 1 to 64" "$MICA" eval "$mica" --data=. --threads=65
expect "more threads than the planner starts" 2 "--threads=65: a number from 1 to 64" "$MICA" memplan x.csv --threads=65
expect "-o where nothing is written" 2 "unknown option '-o'" "$MICA" info -o x
expect "a mistake in an option that was shortened" 2 "rgb, bgr or gray" "$MICA" compile $model -o "$work/a.mica" --chan=cmyk
check "-o is --output everywhere" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" -o "$work/short"
check "and writes" test -s "$work/short/logits.npy"
expect "unknown backend of the ONNX tests" 2 "allowed are auto, device, cpu, both" "$MICA" onnx-test . --backend=gpu
expect "more threads than the engine takes" 2 "from 1 to 256" "$MICA" run "$mica" --threads=257
check "as many threads as the engine takes" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --threads=256
expect "missing input" 2 "input 'input' is missing" "$MICA" run "$mica" --backend=cpu
expect "unknown input name" 2 "no input 'foo'" "$MICA" run "$mica" --backend=cpu --input=foo="$work/x.npy"
expect "input given twice" 2 "given before" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --input="$work/x.npy"
expect "input of another kind" 2 "ends in .npy, .bin, .jpg or .png" "$MICA" run "$mica" --backend=cpu --input=README.md
expect "--raw without --output" 2 "needs --output" "$MICA" run "$mica" --raw --input="$work/x.npy"
expect "bad sidecar key" 2 "unknown key 'foo'" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --sidecar=<(echo 'foo = 1')
expect "bad sidecar option" 2 "rgb, bgr or gray" "$MICA" compile $model -o "$work/a.mica" --channels=cmyk
echo "input = nosuch" >"$work/nosuch.sidecar"
expect "sidecar for an input that is not there: compile" 2 "nosuch.sidecar: sidecar line 1: input = nosuch: .*it has 'input'" "$MICA" compile $model -o "$work/a.mica" --sidecar="$work/nosuch.sidecar"
expect "sidecar for an input that is not there: run" 2 "nosuch.sidecar: sidecar line 1: input = nosuch: .*it has 'input'" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --sidecar="$work/nosuch.sidecar"
expect "eval without data" 2 "--images=FILE.idx and --labels" "$MICA" eval "$mica"
expect "bench --depth without --null-jobs" 2 "goes with --null-jobs" "$MICA" bench "$mica" --depth=2
expect "bench of a .mica with --format" 2 "compiled already" "$MICA" bench "$mica" --format=int8
expect "dump of two things" 2 "at a time" "$MICA" dump "$mica" --graph --memory
expect "bad shape" 2 "NAME=D,D" "$MICA" compile $model -o "$work/a.mica" --shape=28

# ---- files: 3 ----
expect "missing model" 3 "missing.mica: cannot open: No such file" "$MICA" run missing.mica --input="$work/x.npy" --backend=cpu
expect "missing onnx" 3 "missing.onnx" "$MICA" compile missing.onnx -o "$work/a.mica"
expect "missing input file" 3 "nothing.npy" "$MICA" run "$mica" --backend=cpu --input="$work/nothing.npy"
expect "folder as a model" 3 "is a folder" "$MICA" run "$work" --input="$work/x.npy" --backend=cpu
expect "output into nowhere" 3 "cannot" "$MICA" compile $model -o "$work/no/such/folder/a.mica" --calib="$calib"
expect "no room for the output" 3 "a.mica: cannot be written: File too large" bash -c "trap '' XFSZ; ulimit -f 100; exec '$MICA' compile $model -o '$work/a.mica' --calib='$calib'"
ln -s /dev/full "$work/full.html"
expect "no room for the report" 3 "full.html: cannot be written: No space left on device; free some space" "$MICA" compile $model -o "$work/a.mica" --calib="$calib" --report="$work/full.html"
expect "no room for a table" 3 "a.table: cannot be written: File too large" bash -c "trap '' XFSZ; ulimit -f 1; exec '$MICA' calibrate $model --calib='$calib' -o '$work/a.table'"
check "nothing of it is left" bash -c "! ls '$work' | grep -q 'a.table'"
ln -s real.table "$work/link.table"
echo old >"$work/real.table"
check "a link's target is replaced" "$MICA" calibrate $model --calib="$calib" -o "$work/link.table"
check "and not the link" bash -c "test -L '$work/link.table' && grep -q 'mica calibration table' '$work/real.table'"
mkfifo "$work/pipe.mica"
expect "an output that is no regular file stays" 3 "not a regular file" "$MICA" compile $model -o "$work/pipe.mica" --calib="$calib"
check "it is still a pipe" test -p "$work/pipe.mica"
mkdir "$work/pipes"
mkfifo "$work/pipes/logits.npy"
expect "an output array that is no regular file stays" 3 "not a regular file" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --output="$work/pipes"
check "it is still a pipe, too" test -p "$work/pipes/logits.npy"
expect "no room for the results" 3 "standard output: cannot be written: No space left" bash -c "exec '$MICA' run '$mica' --backend=cpu --input='$work/x.npy' --json >/dev/full"
expect "missing calibration folder" 3 "nowhere" "$MICA" compile $model -o "$work/a.mica" --calib="$work/nowhere"
mkdir "$work/empty"
expect "empty calibration folder" 3 "holds no .jpg" "$MICA" compile $model -o "$work/a.mica" --calib="$work/empty"
expect "missing sidecar" 3 "none.sidecar" "$MICA" compile $model -o "$work/a.mica" --sidecar="$work/none.sidecar"
expect "output folder that is a file" 3 "cannot create the folder" "$MICA" run "$mica" --backend=cpu --input="$work/x.npy" --output="$work/x.npy"

# ---- damage: 4 ----
head -c 5000 "$mica" >"$work/cut.mica"
expect "truncated .mica" 4 "cut.mica: truncated" "$MICA" run "$work/cut.mica" --backend=cpu --input="$work/x.npy"
{ cat "$mica"; echo; } >"$work/long.mica"
expect "bytes behind the end" 4 "behind its end" "$MICA" dump "$work/long.mica"
python3 - "$mica" "$work" <<'PY'
import sys
d = bytearray(open(sys.argv[1], "rb").read())
f = bytearray(d); f[-1] ^= 1; open(sys.argv[2] + "/weights.mica", "wb").write(f)
f = bytearray(d); f[100] ^= 1; open(sys.argv[2] + "/meta.mica", "wb").write(f)
f = bytearray(d); f[20] ^= 1; open(sys.argv[2] + "/header.mica", "wb").write(f)
import struct, zlib
f = bytearray(d); f[8:12] = struct.pack("<I", 99); f[48:52] = bytes(4); f[48:52] = struct.pack("<I", zlib.crc32(f[:64])); open(sys.argv[2] + "/version.mica", "wb").write(f)
PY
expect "damaged weights" 4 "corrupt weights" "$MICA" info "$work/weights.mica"
expect "damaged metadata" 4 "corrupt metadata" "$MICA" info "$work/meta.mica"
expect "damaged header" 4 "corrupt header" "$MICA" info "$work/header.mica"
expect "an .onnx is no .mica" 4 "not a compiled model.*mica compile" "$MICA" run $model --backend=cpu --input="$work/x.npy"
head -c 100000 $model >"$work/cut.onnx"
expect "truncated .onnx" 4 "cut.onnx" "$MICA" compile "$work/cut.onnx" -o "$work/a.mica"
expect "a .mica is no .onnx" 4 "net" "$MICA" compile "$mica" -o "$work/a.mica"
head -c 2000 "$work/x.npy" >"$work/cut.npy"
expect "truncated .npy" 4 "cut.npy: truncated" "$MICA" run "$mica" --backend=cpu --input="$work/cut.npy"
head -c 3001 "$work/x.npy" >"$work/odd.bin"
expect "odd .bin" 4 "not a row of f32" "$MICA" run "$mica" --backend=cpu --input="$work/odd.bin"
head -c 20000 models/photos/chelsea.jpg >"$work/cut.jpg"
expect "truncated .jpg" 4 "truncated JPEG" "$MICA" run "$mica" --backend=cpu --input="$work/cut.jpg"
echo hello >"$work/text.png"
expect "text as .png" 4 "neither a JPEG nor a PNG" "$MICA" run "$mica" --backend=cpu --input="$work/text.png"
python3 - "$work" <<'PY'
import sys, struct
open(sys.argv[1] + "/images.idx", "wb").write(struct.pack(">HBBIII", 0, 8, 3, 2, 28, 28) + bytes(2 * 784))
open(sys.argv[1] + "/labels.idx", "wb").write(struct.pack(">HBBI", 0, 8, 1, 2) + b"\x09\x0a")
PY
expect "labels beyond the classes" 7 "labels.idx: image 1 is of class 10, the model has the classes 0 to 9" "$MICA" eval "$mica" --backend=cpu --images="$work/images.idx" --labels="$work/labels.idx"
check "those within are counted" "$MICA" eval "$mica" --backend=cpu --images="$work/images.idx" --labels="$work/labels.idx" --limit=1
printf 'conv\0 f32\n' >"$work/nul.qtable"
expect "NUL in a qtable" 4 "nul.qtable:1: is not a text" "$MICA" compile $model -o "$work/a.mica" --calib="$calib" --qtable="$work/nul.qtable"
expect "NUL in a calibration table" 4 "nul.qtable:1: is not a text" "$MICA" compile $model -o "$work/a.mica" --calib-table="$work/nul.qtable"
expect "damaged IDX" 4 "not an IDX" "$MICA" eval "$mica" --backend=cpu --images="$work/text.png" --labels="$work/text.png"

# ---- version: 5, support: 6, shape: 7 ----
onnx "$work/relu.onnx" Relu batch
onnx "$work/odd.onnx" Frobnicate 4
expect "unsupported operator" 6 "the_node.*Frobnicate|Frobnicate.*the_node" "$MICA" compile "$work/odd.onnx" -o "$work/a.mica" --format=f32
expect "free dimension without --shape" 7 "--shape[ =]x=" "$MICA" compile "$work/relu.onnx" -o "$work/a.mica" --format=f32
check "free dimension with --shape" "$MICA" compile "$work/relu.onnx" -o "$work/a.mica" --format=f32 --shape=x=1,8
expect "--shape of an unknown input" 2 "foo" "$MICA" compile "$work/relu.onnx" -o "$work/a.mica" --format=f32 --shape=x=1,8 --shape=foo=1,8
expect "another version of .mica" 5 "format version 99.*compile" "$MICA" run "$work/version.mica" --backend=cpu --input="$work/x.npy"
expect "Fortran order" 6 "ascontiguousarray" "$MICA" run "$mica" --backend=cpu --input="$work/fortran.npy"
expect "wrong .npy shape" 7 "has the shape 1x1x28x29, input 'input' needs 1x1x28x28" "$MICA" run "$mica" --backend=cpu --input="$work/wide.npy"
head -c 400 "$work/x.npy" >"$work/short.bin"
expect "wrong .bin size" 7 "holds 100 f32 values, input 'input' has 784" "$MICA" run "$mica" --backend=cpu --input="$work/short.bin"
expect "diff of other shapes" 7 "different shapes" "$MICA" diff "$work/x.npy" "$work/wide.npy"
expect "calibration of another shape" 7 "not samples of input" "$MICA" compile $model -o "$work/a.mica" --calib="$work/wide.npy"
if [ "$("$MICA" info --json | json /dev/stdin cpu isa)" != avx512 ]; then
	expect "kernels that the CPU lacks" 6 "cannot run the avx512 kernels" "$MICA" run "$mica" --backend=cpu --isa=avx512 --input="$work/x.npy"
else
	skip "kernels that the CPU lacks" "this CPU has them all"
fi

# ---- no device: 8 ----
if [ -e /dev/accel/accel0 ]; then
	skip "no device" "there is one"
else
	expect "no device" 8 "no MICA device.*--backend=cpu" "$MICA" run "$mica" --backend=device --input="$work/x.npy"
	expect "null jobs without a device" 8 "no MICA device" "$MICA" bench --null-jobs
fi
expect "device path that is none" 8 "/dev/null: is not a MICA device" "$MICA" run "$mica" --device=/dev/null --input="$work/x.npy"
expect "null jobs on the CPU" 6 "measure the path to a device" "$MICA" bench --null-jobs --backend=cpu

# ---- diff: 1 ----
npy "$work/y.npy" '<f4' 1x1x28x28 0.2001
check "diff of the same is 0" "$MICA" diff "$work/x.npy" "$work/x.npy"
expect "diff of different arrays is 1" 1 "" "$MICA" diff "$work/x.npy" "$work/y.npy"
check "diff with --min-cosine is content" "$MICA" diff "$work/x.npy" "$work/y.npy" --min-cosine=0.999
check "diff of folders" "$MICA" diff "$work/out" "$work/out" --json

# ---- nothing stays behind ----
timeout -s INT 0.3 "$MICA" compile $model -o "$work/int.mica" --calib="$calib" >/dev/null 2>&1
TMPDIR=$work/empty timeout -s INT 0.5 "$MICA" bench $model --backend=cpu --seconds=30 >/dev/null 2>&1
check "an interrupted bench leaves no temporary file" bash -c "! ls '$work/empty' | grep ."
check "no temporary file lies about" bash -c "! ls '$work' | grep -E '\.tmp$|\.mica\.|\.npy\.|\.png\.'"

summary

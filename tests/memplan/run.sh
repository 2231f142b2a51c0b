#!/bin/bash
# SPDX-License-Identifier: MIT
# mica memplan: plans, proofs and exit codes; files that are hostile, unusual or large; outputs that cannot be written.
set -u
cd "$(dirname "$0")/../.." || exit
. tests/shell.sh

# csv NAME LINE...: a file in $work, its name in $file.
csv() {
	file=$work/$1.csv
	shift
	printf '%s\n' "$@" >"$file"
}

# plan NAME CODE PATTERN ARGUMENT...: `mica memplan $file ARGUMENT...`
plan() {
	local name=$1 code=$2 pattern=$3
	shift 3
	expect "$name" "$code" "$pattern" "$MICA" memplan "$file" "$@"
}

# valid IN OUT CAPACITY: OUT places every buffer of IN, in order, none past the capacity, no two on top of each other.
valid() {
	python3 - "$@" <<'PY'
import csv, sys
rows = [list(csv.DictReader(open(p, encoding="utf-8-sig", newline=""))) for p in sys.argv[1:3]]
assert [r["id"] for r in rows[0]] == [r["id"] for r in rows[1]], "other buffers"
live = []
for a, b in zip(*rows):
    for k in ("lower", "upper", "size"):
        assert int(a[k]) == int(b[k]), k
    lo, at, size = int(b["lower"]), int(b["offset"]), int(b["size"])
    assert at % int(a.get("alignment") or 1) == 0, "misaligned"
    assert not a.get("fixed") or int(a["fixed"]) == at, "moved"
    assert at + size <= int(sys.argv[3]), "past the capacity"
    live.append((lo, int(b["upper"]), at, at + size, a.get("alias") or None, b["id"]))
    for o in live[:-1]:
        if o[4] and o[4] == live[-1][4]:
            assert o[2] == at, "apart"
        elif o[0] < live[-1][1] and lo < o[1] and o[2] < at + size and at < o[3]:
            sys.exit("%s and %s overlap" % (o[5], b["id"]))
PY
}

# ---- results ----
csv small id,lower,upper,size a,0,3,4 b,1,5,3 c,4,7,4 d,6,9,3 e,8,10,4 f,0,1,3 g,9,10,3
plan "minimizes" 0 '' --out="$work/small.out.csv" --json
check "the JSON has a peak" test "$(json "$work/stdout" peak)" = 7
check "and a bound" test "$(json "$work/stdout" lower_bound)" = 7
check "and the gap, 0" test "$(json "$work/stdout" gap)" = 0
check "and the status" test "$(json "$work/stdout" status)" = bound
check "and seconds" json "$work/stdout" seconds
check "the plan is valid" valid "$file" "$work/small.out.csv" 7
check "its columns are the input's and offset" grep -qx 'id,lower,upper,size,offset' "$work/small.out.csv"
plan "places within a capacity" 0 '' --capacity=8 --out="$work/small.out.csv"
check "that plan is valid too" valid "$file" "$work/small.out.csv" 8
plan "a capacity below the bound is infeasible" 3 '' --capacity=6 --json --out="$work/small.out.csv"
check "the status says so" test "$(json "$work/stdout" status)" = infeasible
check "so does fits" test "$(json "$work/stdout" fits)" = false
check "a plan is written all the same" valid "$file" "$work/small.out.csv" "$(json "$work/stdout" peak)"

# The bound is 6, the optimum 7: a search is needed to prove it.
csv gap id,lower,upper,size a,0,2,2 b,1,4,2 c,3,6,2 d,5,7,2 e,0,1,4 f,2,3,4 g,4,5,4 h,6,7,4 i,1,2,2 k,3,4,2 l,5,6,2
plan "a proof by search, or the bound" 0 '' --json
check "optimal is proved" grep -qE 'optimal|bound' "$work/stdout"

csv ties size,alias,id,fixed,upper,lower,alignment 10,g,a,,4,0,1 6,g,b,,8,2,4 5,,c,8,9,1,8 3,,d,,9,0,2
plan "fixed offsets, groups and alignments in any column order" 0 '' --out="$work/ties.out.csv" --json
check "they are kept" valid "$file" "$work/ties.out.csv" "$(json "$work/stdout" peak)"
check "the optional columns come back" grep -qx 'id,lower,upper,size,alignment,fixed,alias,offset' "$work/ties.out.csv"
csv clash id,lower,upper,size,fixed a,0,4,10,0 b,3,8,10,5
plan "fixed buffers that overlap have no plan" 3 "'a' and 'b' overlap" --json
check "the JSON says infeasible" test "$(json "$work/stdout" status)" = infeasible
csv torn id,lower,upper,size,fixed,alias a,0,4,10,0,g b,6,8,10,5,g
plan "a group cannot be fixed twice" 3 "'a' and 'b' .*group"
csv odd id,lower,upper,size,alignment,fixed a,0,4,10,4,6
plan "a fixed offset that is not aligned" 5 ':2: fixed 6 is not a multiple'

# A hard random problem that a few nodes do not solve: the best plan is written.
python3 - "$work" <<'PY'
import random, sys
r = random.Random(5)
boxes = [(0, 200, 0, 1000)]
while len(boxes) < 420:
    boxes.sort(key=lambda b: (b[1] - b[0]) * (b[3] - b[2]))
    a, b, c, d = boxes.pop()
    if b - a >= 4 and d - c >= 4:
        t1, t2 = sorted(r.sample(range(a + 1, b), 2)); l1, l2 = sorted(r.sample(range(c + 1, d), 2))
        boxes += [(a, t2, c, l1), (t2, b, c, l2), (t1, b, l2, d), (a, t1, l1, d), (t1, t2, l1, l2)]
        if t1 == t2 or l1 == l2: raise SystemExit("cut")
    else:
        t = (a + b) // 2
        boxes += [(a, t, c, d), (t, b, c, d)]
r.shuffle(boxes)
open(sys.argv[1] + "/hard.csv", "w").write("id,lower,upper,size\n" + "".join("b%d,%d,%d,%d\n" % (i, x[0], x[1], x[3] - x[2]) for i, x in enumerate(boxes) if x[3] > x[2] and x[1] > x[0]))
r = random.Random(6)
with open(sys.argv[1] + "/many.csv", "w") as f:
    f.write("id,lower,upper,size\n")
    f.writelines("%d,%d,%d,%d\n" % (i, i, i + 2 + r.randrange(4) * r.randrange(4), 64 * r.randrange(1, 99)) for i in range(100000))
with open(sys.argv[1] + "/dense.csv", "w") as f:
    f.write("id,lower,upper,size\n")
    f.writelines("%d,%d,%d,%d\n" % (i, r.randrange(500000), 500000 + r.randrange(1, 500000), r.randrange(1, 1 << 20)) for i in range(200000))
PY
file=$work/hard.csv
plan "the limit is reached: exit 4" 4 '' --capacity=1000 --nodes=300 --out="$work/hard.out.csv" --svg="$work/hard.svg" --json
check "the status is stopped" test "$(json "$work/stdout" status)" = stopped
check "fits is false" test "$(json "$work/stdout" fits)" = false
check "the plan is written" valid "$file" "$work/hard.out.csv" "$(json "$work/stdout" peak)"
check "the picture is XML" python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/hard.svg"
check "it shows the capacity" grep -q '>capacity 1000<' "$work/hard.svg"
check "and the bound" grep -q '>lower bound 1000<' "$work/hard.svg"
plan "in words too" 4 '' --capacity=1000 --nodes=300
check "it says how much is missing" grep -qE 'needs [0-9]+ bytes more than the capacity of 1000' "$work/stdout"
for run in 1 2; do "$MICA" memplan "$file" --nodes=2000 --threads=2 --out="$work/again$run.csv" >"$work/stdout"; done
check "a node limit gives the same plan again" cmp "$work/again1.csv" "$work/again2.csv"
plan "a time limit ends the search" 4 '' --capacity=1000 --time-limit=0.1 --nodes=99999999

interrupt() {
	"$MICA" memplan "$work/hard.csv" --time-limit=60 --out="$work/int.csv" --json >"$work/int.json" &
	local pid=$! status=0
	sleep 0.5
	kill -INT "$pid"
	wait "$pid" || status=$?
	[ "$status" -eq 4 ] && valid "$work/hard.csv" "$work/int.csv" "$(json "$work/int.json" peak)"
}
# A shell without job control starts background commands with SIGINT ignored; the handler is set in spite of that.
if "$MICA" memplan "$work/hard.csv" --time-limit=2 --json >"$work/stdout"; then
	skip "Ctrl-C writes the best plan so far" "the problem is solved too fast to be interrupted"
else
	check "Ctrl-C writes the best plan so far" interrupt
fi

# ---- size ----
file=$work/many.csv
plan "100,000 buffers of a chain" "(0|4)" '' --time-limit=2 --out="$work/many.out.csv" --json
file=$work/dense.csv
plan "200,000 buffers that nearly all overlap" "(0|4)" '' --time-limit=2 --json

# ---- files ----
printf '\xef\xbb\xbfid, lower ,upper,size\r\n"a, ""b""",0,2,4\r\n b ,1,3,5\r\n\r\n c,2,4,6' >"$work/odd.csv"
file=$work/odd.csv
plan "BOM, CRLF, quotes, blanks, no last newline" 0 '' --out="$work/odd.out.csv"
check "quotes come back" grep -qF '"a, ""b""",0,2,4,' "$work/odd.out.csv"
check "the last line counts" grep -q '^c,2,4,6,' "$work/odd.out.csv"
csv big id,lower,upper,size a,0,9223372036854775807,17592186044416 b,5000000000,6000000000,17592186044416
plan "times of 63 bits and sizes of 2^44" 0 '' --json
check "their peak" test "$(json "$work/stdout" peak)" = 35184372088832
: >"$work/none.csv"; file=$work/none.csv
plan "an empty file" 5 'is empty'
csv header id,lower,upper,size
plan "a file without buffers" 0 '' --svg="$work/header.svg" --out="$work/header.out.csv"
check "its plan has a header" grep -qx 'id,lower,upper,size,offset' "$work/header.out.csv"
csv missing id,lower,upper x,0,1
plan "a column is missing" 5 ":1: no column 'size'"
csv twice id,lower,upper,size,size x,0,1,2,3
plan "a column is there twice" 5 "two columns are named 'size'"
csv short id,lower,upper,size a,0,1,2 b,0,1
plan "a field is missing" 5 ":3: 3 fields, 'size' is column 4"
csv reversed id,lower,upper,size a,5,5,2
plan "upper is not above lower" 5 ':2: lower 5 is not below upper 5'
csv negative id,lower,upper,size a,-1,5,2
plan "a negative number" 5 ":2: lower is '-1'"
csv word id,lower,upper,size a,0,5,two
plan "a word where a number is needed" 5 ":2: size is 'two'"
csv huge id,lower,upper,size a,0,5,99999999999999999999999
plan "a number that overflows" 5 ':2: size is 9999.*the most is'
csv hugetime id,lower,upper,size a,0,9223372036854775808,1
plan "a time that overflows" 5 ':2: upper is 9223372036854775808'
csv twins id,lower,upper,size a,0,1,1 b,0,1,1 a,2,3,1
plan "an id that is used twice" 5 ":4: the id 'a' has been used in line 2"
csv noid id,lower,upper,size ,0,1,1
plan "an empty id" 5 ':2: the id is empty'
csv open id,lower,upper,size '"a,0,1,1'
plan "a quote that does not end" 5 ':2: a quoted field does not end'
csv after id,lower,upper,size '"a"b,0,1,1'
plan "text after a quote" 5 ":2: 'b' after a quoted field"
csv align id,lower,upper,size,alignment a,0,1,1,3
plan "an alignment of 3" 5 ':2: alignment 3 is not a power of two'
csv wide "id,lower,upper,size$(printf ',x%.0s' $(seq 40))"
plan "too many columns" 5 'more than 32 columns'
printf 'id,lower,upper,size\na,0,1\0,1\n' >"$work/nul.csv"; file=$work/nul.csv
plan "a NUL character" 5 'NUL'
{ echo id,lower,upper,size; head -c 100000 /dev/zero | tr '\0' x; } >"$work/long.csv"; file=$work/long.csv
plan "a line of 100,000 characters" 5 ':2: longer than'
head -c 65536 /dev/urandom >"$work/noise.csv"; file=$work/noise.csv
plan "noise" 5 ''
file=$work/no-such.csv
plan "a file that is not there" 5 'No such file'
file=$work
plan "a folder" 5 'directory'

# ---- outputs ----
file=$work/small.csv
plan "a full device" 6 '/dev/full' --out=/dev/full
check "it is still a device" test -c /dev/full
plan "a full device for the picture" 6 '/dev/full' --svg=/dev/full
# shellcheck disable=SC2016 # the inner shell expands them
expect "a full device for the result" 6 'standard output' bash -c '"$1" memplan "$2" >/dev/full' - "$MICA" "$file"
plan "a folder that is not there" 6 'No such file' --out="$work/nowhere/x.csv"
# shellcheck disable=SC2016
check "a pipe as output" bash -c '"$1" memplan "$2" --out=/dev/stdout | grep -q "^a,0,3,4,"' - "$MICA" "$file"
for bad in 0 -1 1.5 x 99999999999999999999 ''; do
	plan "--capacity=$bad" 2 'capacity' --capacity="$bad"
done
plan "two files" 2 'one FILE.csv' "$file"

# ---- the published instances, where they are ----
data=${MICA_DATA:-../shared/data}/alloc
if [ -d "$data" ]; then
	for file in "$data"/*.csv; do
		plan "$(basename "$file") fits 1,048,576" 0 '' --capacity=1048576 --time-limit=60 --out="$work/hard.out.csv"
		check "$(basename "$file"): the plan is valid" valid "$file" "$work/hard.out.csv" 1048576
	done
	for file in "$data"/real/*.csv; do
		plan "$(basename "$file") is minimal" 0 '' --json
		check "$(basename "$file") is at its bound" test "$(json "$work/stdout" status)" = bound
	done
else
	skip "the published instances" "no $data"
fi
summary

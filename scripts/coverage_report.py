# SPDX-License-Identifier: MIT
"""Reads what gcov counted in the engine's objects. The kernels are headers that each path compiles for its instruction set,
with templates that are inlined; a function here is what the compiler made one of, so that each specialization of a kernel that
is not inlined counts by itself.  Called by scripts/coverage.sh:
    collect OUT.json                                what was counted until now
    report STREAMS.json ALL.json [--publish]        the tables"""
import glob
import json
import os
import subprocess
import sys

BUILD = "build-coverage"
PATHS = ["scalar", "fma", "avx2", "avx512"]
DOC = "docs/speed.md"
KINDS = ("lines", "branches", "functions")


def add(count, file):
    for line in file["lines"]:
        number = str(line["line_number"])
        count["lines"][number] = count["lines"].get(number, 0) + line["count"]
        # A line that is inlined often has many branches: each direction counts as taken when one copy took it.
        for i, b in enumerate(line.get("branches", [])):
            key = f"{number} {'else' if i % 2 else 'then'}"
            count["branches"][key] = count["branches"].get(key, 0) + b["count"]
    for f in file["functions"]:
        key = f"{f['name']} (line {f['start_line']})"
        count["functions"][key] = count["functions"].get(key, 0) + f["execution_count"]


def collect():
    """{path or 'shared': {source: {lines, branches, functions}}}, each {what: count}."""
    found = {p: {} for p in [*PATHS, "shared"]}
    for data in sorted(glob.glob(f"{BUILD}/obj/engine/*.gcno")):
        name = os.path.basename(data).split(".")[0]
        path = name[5:] if name.startswith("path_") else "shared"
        out = subprocess.run(["gcov", "-b", "-c", "--json-format", "--stdout", data], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             check=True).stdout
        for file in json.loads(out)["files"]:
            source = os.path.relpath(file["file"])
            if source.startswith("engine/"):
                add(found[path].setdefault(source, {k: {} for k in KINDS}), file)
    return found


def share(counts):
    hit = sum(1 for c in counts.values() if c)
    return f"{100 * hit / len(counts):.0f}" if counts else "-"


def functions(count):
    hit = sum(1 for c in count["functions"].values() if c)
    return f"{hit} of {len(count['functions'])}"


def cell(streams, everything):
    """Of the streams: lines, branches, functions; in brackets the lines of all tests where that is more."""
    if not streams:
        return ""
    lines, more = share(streams["lines"]), share(everything["lines"])
    return f"{lines}{f' ({more})' if more != lines else ''} / {share(streams['branches'])} / {functions(streams)}"


def tables(streams, everything):
    lines = ["| file | " + " | ".join(PATHS) + " |", "|" + "---|" * (len(PATHS) + 1)]
    for source in sorted({s for p in PATHS for s in streams[p]}):
        if source.endswith("_impl.h"):
            lines.append(f"| {source} | " + " | ".join(cell(streams[p].get(source), everything[p].get(source)) for p in PATHS) + " |")
    shared = [f"{s} {cell(c, everything['shared'][s])}" for s, c in sorted(streams["shared"].items()) if s.endswith(".c")]
    return [*lines, "", "Shared by the paths: " + "; ".join(shared) + "."]


def ranges(numbers):
    """1,2,3,7 -> 1-3,7."""
    runs = []
    for n in sorted(int(n) for n in numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)


def missed(count):
    functions_missed = sorted(f for f, c in count["functions"].items() if not c)
    return ranges(n for n, c in count["lines"].items() if not c), functions_missed


def unreached(everything):
    """What no test reached: in no path at all, then by path."""
    lines = ["Reached in no path by any test:"]
    for source in sorted({s for p in PATHS for s in everything[p]}):
        total = {}
        for p in PATHS:
            for n, c in everything[p].get(source, {"lines": {}})["lines"].items():
                total[n] = total.get(n, 0) + c
        if 0 in total.values():
            lines.append(f"  {source}: {ranges(n for n, c in total.items() if not c)}")
    for path, counts in everything.items():
        lines.append(f"{path}:")
        for source, count in sorted(counts.items()):
            numbers, names = missed(count)
            if numbers or names:
                lines.append(f"  {source}: lines {numbers or 'all reached'}" + (f"; functions {', '.join(names)}" if names else ""))
    return lines


def write(path, text):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(path + ".tmp", path)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def report(streams, everything, to_publish):
    count = os.environ.get("MICA_STREAMS", "10000")
    lines = [f"By {count} random streams: lines in % (by all of the engine's tests, where that is more) / directions of branches in % / "
             "functions, that is specializations of kernels:", "", *tables(streams, everything)]
    write(f"{BUILD}/coverage.md", "\n".join(lines) + "\n")
    write(f"{BUILD}/unreached.txt", "\n".join(unreached(everything)) + "\n")
    print("\n".join(lines))
    if to_publish:
        sys.path.insert(0, "bench")
        import publish
        with open(DOC, encoding="utf-8") as f:
            text = publish.replaced(f.read(), "coverage", lines, DOC, "scripts/coverage.sh")
        write(DOC, text)


def main():
    if sys.argv[1:2] == ["collect"] and len(sys.argv) == 3:
        write(sys.argv[2], json.dumps(collect()))
    elif sys.argv[1:2] == ["report"] and len(sys.argv) >= 4:
        report(load(sys.argv[2]), load(sys.argv[3]), "--publish" in sys.argv[4:])
    else:
        sys.exit(__doc__)


main()

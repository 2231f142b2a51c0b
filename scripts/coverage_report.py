# SPDX-License-Identifier: MIT
"""Reads what gcov counted in the engine's objects: one row per source file and path. The kernels are headers that each path
compiles for its instruction set, and inlined templates within; a function here is what the compiler made one of: each
specialization of a kernel that is not inlined is one. Called by scripts/coverage.sh."""
import glob
import json
import os
import subprocess
import sys

BUILD = "build-coverage"
PATHS = ["scalar", "fma", "avx2", "avx512"]
DOC = "docs/speed.md"


class Count:
    """Of one source file as one object has it."""

    def __init__(self):
        self.lines, self.branches, self.functions = {}, {}, {}

    def add(self, file):
        for line in file["lines"]:
            number = line["line_number"]
            self.lines[number] = self.lines.get(number, 0) + line["count"]
            # Inlined copies of a line: a branch counts as taken when any copy took it.
            for i, b in enumerate(line.get("branches", [])):
                if not b.get("throw"):
                    key = (number, i % 2)
                    self.branches[key] = self.branches.get(key, 0) + b["count"]
        for f in file["functions"]:
            key = (f["start_line"], f["name"])
            self.functions[key] = self.functions.get(key, 0) + f["execution_count"]


def reached(counts):
    return sum(1 for c in counts.values() if c), len(counts)


def counted(path):
    """{source file: Count} of the object of one path, or of all others."""
    wanted = f"path_{path}.o.gcda" if path else None
    found = {}
    for data in glob.glob(f"{BUILD}/obj/engine/*.gcda"):
        name = os.path.basename(data)
        if (name != wanted) if path else name.startswith("path_"):
            continue
        out = subprocess.run(["gcov", "-b", "-c", "--json-format", "--stdout", data], stdout=subprocess.PIPE, check=True).stdout
        for file in json.loads(out)["files"]:
            source = os.path.relpath(file["file"])
            if source.startswith("engine/"):
                found.setdefault(source, Count()).add(file)
    return found


def cell(count):
    """lines / branches / functions, in per cent but for the functions."""
    if not count:
        return ""
    text = []
    for counts in (count.lines, count.branches):
        hit, all_of_them = reached(counts)
        text.append(f"{100 * hit / all_of_them:.0f}" if all_of_them else "-")
    hit, all_of_them = reached(count.functions)
    return f"{text[0]} / {text[1]} / {hit} of {all_of_them}"


def table(by_path, others):
    lines = ["| file | " + " | ".join(PATHS) + " |", "|" + "---|" * (len(PATHS) + 1)]
    for source in sorted({s for counts in by_path.values() for s in counts}):
        lines.append(f"| {source} | " + " | ".join(cell(by_path[p].get(source)) for p in PATHS) + " |")
    lines += ["", "| file that all paths share | lines % / branches % / functions |", "|---|---|"]
    lines += [f"| {s} | {cell(c)} |" for s, c in sorted(others.items()) if s.endswith(".c")]
    return lines


def ranges(numbers):
    """1,2,3,7 -> 1-3,7."""
    text, numbers = [], sorted(numbers)
    for i, n in enumerate(numbers):
        if i and n == numbers[i - 1] + 1:
            text[-1][1] = n
        else:
            text.append([n, n])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in text)


def unreached(by_path, others):
    """Text: what no test reached, per path; and, first, what no path reached at all."""
    lines = ["Lines that no path reached:"]
    sources = sorted({s for counts in by_path.values() for s in counts})
    for source in sources:
        total = {}
        for counts in by_path.values():
            for n, c in (counts[source].lines if source in counts else {}).items():
                total[n] = total.get(n, 0) + c
        missed = [n for n, c in total.items() if not c]
        if missed:
            lines.append(f"  {source}: {ranges(missed)}")
    for path, counts in [*by_path.items(), ("shared", others)]:
        lines.append(f"{path}:")
        for source, count in sorted(counts.items()):
            missed = [n for n, c in count.lines.items() if not c]
            functions = sorted(f"{name} (line {line})" for (line, name), c in count.functions.items() if not c)
            if missed or functions:
                lines.append(f"  {source}: lines {ranges(missed) or 'all reached'}" + (f"; functions {', '.join(functions)}" if functions else ""))
    return lines


def write(path, lines):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    os.rename(path + ".tmp", path)


def main():
    tests = sys.argv[-1]
    by_path = {p: counted(p) for p in PATHS}
    others = counted(None)
    if not any(by_path.values()):
        sys.exit("coverage_report.py: no counts below build-coverage/")
    streams = os.environ.get("MICA_STREAMS", "10000")
    lines = [f"Reached by {tests} ({streams} streams): lines % / branches % / functions, a function being one specialization of a kernel:", "",
             *table(by_path, others)]
    write(f"{BUILD}/coverage.md", lines)
    write(f"{BUILD}/unreached.txt", unreached(by_path, others))
    print("\n".join(lines))
    if "--publish" in sys.argv:
        sys.path.insert(0, "bench")
        import publish
        with open(DOC, encoding="utf-8") as f:
            text = publish.replaced(f.read(), "coverage", lines, DOC)
        write(DOC, text.rstrip("\n").split("\n"))


main()

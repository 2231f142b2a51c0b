#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Backend tests from text: cases.py FILE.cases FOLDER. Only the standard library.

A file holds many models in the notation of tests/golden/onnxtext.py, each behind a line "case NAME". Inputs have their
data behind " = ", so have outputs: what the model must give. FOLDER/NAME becomes a test as `mica onnx-test` takes it.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden"))
import onnxtext  # noqa: E402


def cases_of(path):
    """(name, lines) of each case."""
    found = []
    with open(path) as f:
        for line in f:
            if line.startswith("case "):
                found.append((line.split()[1], []))
            elif found:
                found[-1][1].append(line)
    return found


def outer(lines):
    """The lines of the model itself, not of its subgraphs and functions."""
    depth = 0
    for line in lines:
        word = line.split()[0] if line.split() else ""
        depth += word in ("graph", "function")
        if not depth:
            yield line
        depth -= word == "end"


def ports_of(lines, what):
    """(name, type, dims, data) of the inputs or outputs of the model itself."""
    for line in outer(lines):
        m = onnxtext.DECLARED.match(re.sub(r"(^|\s)#.*", "", line).strip())
        if m and m.group(1) == what:
            yield m.group(2), m.group(3), m.group(4), m.group(5)


def write(folder, lines):
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    with open(os.path.join(folder, "model.onnx"), "wb") as f:
        f.write(onnxtext.model(lines))
    for what in "input", "output":
        for i, (name, kind, dims, how) in enumerate(ports_of(lines, what)):
            with open(os.path.join(data, "%s_%d.pb" % (what, i)), "wb") as f:
                f.write(onnxtext.tensor(name, kind, onnxtext.dims_of(dims), how))


def main():
    for name, lines in cases_of(sys.argv[1]):
        write(os.path.join(sys.argv[2], name), lines)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes an ONNX file from a few lines of text: onnxtext.py FILE.in OUT.onnx. Only the standard library.

    # comment, also behind "options:" (which run.sh reads)
    opset 13
    input x f32[1,3,n,8]
    const w f32[4,3,3,3] = ramp            ramp: -1..1; fill V; values V V ..
    param k i64[2] = values 1 2            an initializer that is listed among the inputs as well
    y, z = Op(x, w, -) kernel=3,3 alpha=0.5 mode="linear" one=[3] type=f32:0.5 @name
    output y
"""
import re
import struct
import sys

TYPES = {"f32": (1, "f"), "u8": (2, "B"), "i8": (3, "b"), "i32": (6, "i"), "i64": (7, "q"), "bool": (9, "B"),
         "f16": (10, "e"), "f64": (11, "d"), "e4m3": (17, "B"), "e5m2": (19, "B")}


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def num(field, value):
    return varint(field << 3) + varint(value)


def blob(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def f32(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def dims_of(text):
    return [d.strip() for d in text.split(",") if d.strip()]


def value_info(name, kind, dims):
    shape = b"".join(blob(1, num(1, int(d)) if d.lstrip("-").isdigit() else blob(2, d)) for d in dims)
    return blob(1, name) + blob(2, blob(1, num(1, TYPES[kind][0]) + blob(2, shape)))


def tensor(name, kind, dims, how):
    code, fmt = TYPES[kind]
    n = 1
    for d in dims:
        n *= int(d)
    word, *rest = how.split()
    if word == "ramp":
        data = [(2 * i + 1) / n - 1 for i in range(n)]
    elif word == "fill":
        data = [float(rest[0])] * n
    else:
        data = [float(v) for v in rest]
    if fmt not in "fed":
        data = [int(v) for v in data]
    raw = struct.pack("<%d%s" % (len(data), fmt), *data)
    return b"".join(num(1, int(d)) for d in dims) + num(2, code) + blob(8, name) + blob(9, raw)


def attribute(key, text):
    out = blob(1, key)
    if text.startswith('"'):
        return out + blob(4, text.strip('"')) + num(20, 3)
    typed = re.match(r"(\w+):(.*)", text)
    if typed:
        return out + blob(5, tensor("", typed.group(1), ["1"], "values " + typed.group(2))) + num(20, 4)
    values = text.strip("[]").split(",")
    many = len(values) > 1 or text.startswith("[")
    if any("." in v or "e" in v for v in values):
        return out + (b"".join(f32(7, float(v)) for v in values) + num(20, 6) if many else f32(2, float(values[0])) + num(20, 1))
    return out + (b"".join(num(8, int(v)) for v in values) + num(20, 7) if many else num(3, int(values[0])) + num(20, 2))


def node(line):
    outs, op, ins, rest = re.match(r"(.*?)\s*=\s*(\w+)\((.*?)\)\s*(.*)", line).groups()
    names = [s.strip() for s in ins.split(",") if s.strip()]
    out = b"".join(blob(1, "" if s == "-" else s) for s in names)
    out += b"".join(blob(2, "" if s.strip() == "-" else s.strip()) for s in outs.split(","))
    name = re.search(r"@(\S+)", rest)
    if name:
        out += blob(3, name.group(1))
    out += blob(4, op)
    for key, value in re.findall(r'(\w+)=("[^"]*"|\S+)', rest):
        out += blob(5, attribute(key, value))
    return out


def main():
    nodes, inputs, outputs, consts, opset = b"", b"", b"", b"", 13
    for line in open(sys.argv[1]):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        declared = re.match(r"(input|const|param)\s+(\S+)\s+(\w+)\[(.*?)\](?:\s*=\s*(.*))?$", line)
        if not line or line.startswith("options:"):
            continue
        if line.startswith("opset"):
            opset = int(line.split()[1])
        elif line.startswith("output"):
            outputs += b"".join(blob(12, blob(1, name)) for name in line.split()[1:])
        elif declared:
            what, name, kind, dims, how = declared.groups()
            if what != "const":
                inputs += blob(11, value_info(name, kind, dims_of(dims)))
            if what != "input":
                consts += blob(5, tensor(name, kind, dims_of(dims), how))
        else:
            nodes += blob(1, node(line))
    graph = nodes + blob(2, "g") + consts + inputs + outputs
    with open(sys.argv[2], "wb") as f:
        f.write(num(1, 8) + blob(7, graph) + blob(8, blob(1, "") + num(2, opset)))


main()

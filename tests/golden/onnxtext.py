#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes an ONNX file from a few lines of text: onnxtext.py FILE.in OUT.onnx. Only the standard library.

    # comment, also behind "options:" (which run.sh reads)
    opset 13                               opset com.microsoft 1: of another domain
    input x f32[1,3,n,8]                   no [..]: rank unknown; what follows " = " are data of a test (tests/onnx/cases.py)
    const w f32[4,3,3,3] = ramp            ramp: -1..1; fill V; values V V ..; noise SEED [LOW HIGH]
    param k i64[2] = values 1 2            an initializer that is listed among the inputs as well
    y, z = Op(x, w, -) kernel=3,3 alpha=0.5 mode="linear" one=[3] type=f32:0.5 body=graph:NAME alpha=ref:beta @name
    q = com.microsoft.Op(x)
    output y                               with a type: output y f32[1,2]
    graph NAME .. end                      a subgraph: input, const, nodes, output as above; may nest
    function my.domain.Name 18 .. end      "input a", "output y", "attribute alpha" and nodes; 18: its opset
"""
import re
import struct
import sys

TYPES = {"f32": (1, "f"), "u8": (2, "B"), "i8": (3, "b"), "u16": (4, "H"), "i16": (5, "h"), "i32": (6, "i"), "i64": (7, "q"), "bool": (9, "B"),
         "f16": (10, "e"), "f64": (11, "d"), "u32": (12, "I"), "u64": (13, "Q"), "bf16": (16, "H"), "e4m3": (17, "B"), "e4m3fnuz": (18, "B"),
         "e5m2": (19, "B"), "e5m2fnuz": (20, "B"), "u4": (21, "B"), "i4": (22, "b"), "e2m1": (23, "B"), "e8m0": (24, "B"), "u2": (25, "B"), "i2": (26, "b"),
         "str": (8, "s")}


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
    shape = b"" if dims is None else blob(2, b"".join(blob(1, num(1, int(d)) if d.lstrip("-").isdigit() else blob(2, d)) for d in dims))
    return blob(1, name) + (blob(2, blob(1, num(1, TYPES[kind][0]) + shape)) if kind else b"")


def noise(seed, n, low=-1.0, high=1.0):
    """The same numbers everywhere: a linear congruential generator's upper bits."""
    state, out = int(seed) * 2654435761 + 12345, []
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        out.append(low + (high - low) * ((state >> 40) / (1 << 24)))
    return out


def numbers(kind, n, how):
    word, *rest = how.split()
    if word == "ramp":
        data = [(2 * i + 1) / n - 1 for i in range(n)]
    elif word == "fill":
        data = [float(rest[0])] * n
    elif word == "noise":
        data = noise(rest[0], n, *[float(v) for v in rest[1:3]])
    else:
        data = [float(v) for v in rest] if TYPES[kind][1] in "fed" else [int(v) if v.lstrip("-").isdigit() else float(v) for v in rest]
    if len(data) != n:
        sys.exit("%d values where %d are needed: %s" % (len(data), n, how[:60]))
    return data if TYPES[kind][1] in "fed" or kind == "bf16" else [int(v // 1) for v in data]


def half_of(v):
    """bfloat16 of v, rounded to nearest even."""
    bits = struct.unpack("<I", struct.pack("<f", v))[0]
    return bits >> 16 if v != v else (bits + 0x7fff + (bits >> 16 & 1)) >> 16


def tensor(name, kind, dims, how):
    code, fmt = TYPES[kind]
    n = 1
    for d in dims:
        n *= int(d)
    head = b"".join(num(1, int(d)) for d in dims) + num(2, code) + blob(8, name)
    if kind == "str":
        return head + b"".join(blob(6, word) for word in how.split()[1:])
    data = numbers(kind, n, how)
    if kind == "bf16":
        data = [half_of(v) for v in data]
    if kind in ("i2", "u2"):
        data = [sum((v & 3) << 2 * k for k, v in enumerate(data[i:i + 4])) for i in range(0, n, 4)]
        fmt = "B"
    if kind in ("i4", "u4", "e2m1"):
        data = [(data[i] & 15) | (data[i + 1] & 15 if i + 1 < n else 0) << 4 for i in range(0, n, 2)]
        fmt = "B"
    return head + blob(9, struct.pack("<%d%s" % (len(data), fmt), *data))


def attribute(key, text, graphs):
    out = blob(1, key)
    if text.startswith('"'):
        return out + blob(4, text.strip('"')) + num(20, 3)
    if text.startswith("graph:"):
        return out + blob(6, graphs[text[6:]]) + num(20, 5)
    if text.startswith("ref:"):
        return out + blob(21, text[4:]) + num(20, 1)
    typed = re.match(r"(\w+):(.*)", text)
    if typed:
        return out + blob(5, tensor("", typed.group(1), ["1"], "values " + typed.group(2))) + num(20, 4)
    values = text.strip("[]").split(",")
    many = len(values) > 1 or text.startswith("[")
    if any("." in v or "e" in v for v in values):
        return out + (b"".join(f32(7, float(v)) for v in values) + num(20, 6) if many else f32(2, float(values[0])) + num(20, 1))
    return out + (b"".join(num(8, int(v)) for v in values if v) + num(20, 7) if many else num(3, int(values[0])) + num(20, 2))


def node(line, graphs):
    outs, op, ins, rest = re.match(r"(.*?)\s*=\s*([\w.:]+)\((.*?)\)\s*(.*)", line).groups()
    names = [s.strip() for s in ins.split(",") if s.strip()]
    out = b"".join(blob(1, "" if s == "-" else s) for s in names)
    out += b"".join(blob(2, "" if s.strip() == "-" else s.strip()) for s in outs.split(","))
    name = re.search(r"@(\S+)", rest)
    if name:
        out += blob(3, name.group(1))
    out += blob(4, op.rpartition(".")[2])
    for key, value in re.findall(r'(\w+)=("[^"]*"|\S+)', rest):
        out += blob(5, attribute(key, value, graphs))
    domain = op.rpartition(".")[0]
    return out + (blob(7, domain) if domain else b"")


DECLARED = re.compile(r"(input|const|param|output)\s+(\S+)(?:\s+(%s)(?:\[(.*?)\])?)?(?:\s*=\s*(.*))?$" % "|".join(TYPES))


class Section:
    """A graph or function under construction, and the subgraphs declared in it."""

    def __init__(self, name, graphs, function=""):
        self.name, self.graphs, self.function = name, dict(graphs), function
        self.nodes, self.ports, self.consts, self.signature = b"", b"", b"", b""

    def take(self, line):
        declared = DECLARED.match(line)
        if line.startswith("output") and (not declared or self.function):
            for name in line.split()[1:]:
                self.ports += blob(12, value_info(name, None, None))
                self.signature += blob(5, name)
        elif line.startswith("attribute "):
            self.signature += blob(6, line.split()[1])
        elif declared:
            what, name, kind, dims, how = declared.groups()
            dims = None if dims is None else dims_of(dims)
            self.signature += blob(4, name)
            if what != "const":
                self.ports += blob(12 if what == "output" else 11, value_info(name, kind, dims))
            if what in ("const", "param"):
                self.consts += blob(5, tensor(name, kind, dims, how))
        else:
            self.nodes += blob(7 if self.function else 1, node(line, self.graphs))

    def packed(self):
        if not self.function:
            return self.nodes + blob(2, self.name) + self.consts + self.ports
        domain, _, name = self.name.rpartition(".")
        opset = blob(9, blob(1, "") + num(2, int(self.function))) + blob(9, blob(1, domain) + num(2, 1))
        return blob(1, name) + self.signature + self.nodes + opset + blob(10, domain)


def model(lines):
    stack, functions, opsets = [Section("g", {})], b"", {"": 13}
    for line in lines:
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        word = line.split()[0] if line else ""
        if word == "opset":
            opsets[line.split()[1] if len(line.split()) > 2 else ""] = int(line.split()[-1])
        elif word == "graph":
            stack.append(Section(line.split()[1], stack[-1].graphs))
        elif word == "function":
            stack.append(Section(line.split()[1], {}, line.split()[2]))
        elif word == "end":
            done = stack.pop()
            if done.function:
                functions += blob(25, done.packed())
                opsets.setdefault(done.name.rpartition(".")[0], 1)
            else:
                stack[-1].graphs[done.name] = done.packed()
        elif word and word != "options:":
            stack[-1].take(line)
    sets = b"".join(blob(8, blob(1, d) + num(2, v)) for d, v in opsets.items())
    return num(1, 8) + blob(7, stack[0].packed()) + sets + functions


def main():
    with open(sys.argv[1]) as f:
        data = model(f)
    with open(sys.argv[2], "wb") as f:
        f.write(data)


if __name__ == "__main__":
    main()

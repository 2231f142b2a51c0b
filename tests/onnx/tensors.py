# SPDX-License-Identifier: MIT
"""A small ONNX backend test, written without the onnx package: y = x + x.   tensors.py FOLDER right|wrong"""
import struct
import sys


def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def block(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name, values):
    raw = struct.pack('<%df' % len(values), *values)
    return number(1, len(values)) + number(2, 1) + block(8, name) + block(9, raw)


def port(name, n):
    shape = block(1, number(1, n))
    return block(1, name) + block(2, block(1, number(1, 1) + block(2, shape)))


folder, kind = sys.argv[1:]
node = block(1, 'x') + block(1, 'x') + block(2, 'y') + block(4, 'Add')
graph = block(1, node) + block(2, 'g') + block(11, port('x', 3)) + block(12, port('y', 3))
with open(folder + '/model.onnx', 'wb') as f:
    f.write(number(1, 8) + block(7, graph) + block(8, block(1, '') + number(2, 13)))
with open(folder + '/test_data_set_0/input_0.pb', 'wb') as f:
    f.write(tensor('x', [1, -2, 3]))
with open(folder + '/test_data_set_0/output_0.pb', 'wb') as f:
    f.write(tensor('y', [2, -4, 6 if kind == 'right' else 6.5]))

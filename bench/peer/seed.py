# SPDX-License-Identifier: MIT
"""The light_*.onnx models carry no weights, only ConstantOfShape nodes: every weight of a layer is one number. Such layers
compress (MICA keeps equal weights once) and quantize without error, so neither speed nor accuracy would mean anything.
seeded() gives them pseudo-random weights of realistic size, the same in every run, and operators of today: opset 13, Add for
a Sum of two (which the peer quantizes and fuses; it leaves Sum in float)."""
import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper


def values(name, shape, readers):
    """What the tensor is for decides its size: activations keep their magnitude through a residual network."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    op, slot = readers[name]
    if op in ("Conv", "Gemm") and slot == 1:
        gain = 1 if op == "Conv" else 0.15      # else the softmax of the logits is one, and hides every error
        return rng.standard_normal(shape) * gain * np.sqrt(2 / np.prod(shape[1:]))
    if op == "BatchNormalization" and slot == 1:
        return rng.uniform(0.2, 0.6, shape) if "branch2c" in name else rng.uniform(0.6, 1.0, shape)
    if op == "BatchNormalization" and slot == 4:
        return rng.uniform(0.8, 1.2, shape)
    return rng.standard_normal(shape) * 0.1


def seeded(model):
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers = {name: (n.op_type, i) for n in graph.node for i, name in enumerate(n.input)}
    nodes = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            array = values(node.output[0], [int(d) for d in shapes[node.input[0]]], readers)
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
            continue
        if node.op_type == "Sum" and len(node.input) == 2:
            node.op_type = "Add"
        nodes.append(node)
    read = {name for n in nodes for name in n.input}
    kept = [t for t in graph.initializer if t.name in read]
    constant = {t.name for t in kept}
    inputs = [i for i in graph.input if i.name not in constant and i.name in read]
    for field, content in ((graph.node, nodes), (graph.initializer, kept), (graph.input, inputs)):
        del field[:]
        field.extend(content)
    model.ir_version = 7
    model.opset_import[0].version = 13
    onnx.checker.check_model(model)
    return model


def write(source, target):
    onnx.save(seeded(onnx.load(source)), target)

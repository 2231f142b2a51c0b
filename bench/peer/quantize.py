# SPDX-License-Identifier: MIT
"""Static INT8 models in QDQ form for the peer, as ONNX Runtime's own quantizer makes them with per-channel weights:
ranges from MinMax over calibration samples, asymmetric activations per tensor (u8 or s8), symmetric s8 weights per output
channel, i32 bias in units of input scale x weight scale, ReLU and Clip swallowed by the saturation of the layer before them.

The model must be the one that ONNX Runtime wrote at its basic optimization level, its quantizer's recommended preparation:
batch normalizations are folded then. Use: ranges_model(), run it on the samples, ranges(), then quantized()."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13  # the first one with DequantizeLinear per channel
# What the quantizer takes by default, of the operators that our models have. Float in, float out of all others.
WITH_WEIGHTS = {"Conv", "Gemm", "MatMul"}
REMOVABLE = {"Relu", "Clip"}
SAME_SCALE = {"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Resize", "Split"}
ORDINARY = {"Add", "Mul", "Sigmoid", "LeakyRelu", "GlobalAveragePool", "AveragePool", "Concat", "Softmax"}
LIMITS = {"u8": (0, 255), "s8": (-128, 127)}


def attribute(node, name, default):
    for a in node.attribute:
        if a.name == name:
            return helper.get_attribute_value(a)
    return default


def load(path):
    """The model with every value's name; the operator set raised to OPSET where the operators allow that."""
    model = onnx.load(path)
    for o in model.opset_import:
        if o.domain in ("", "ai.onnx"):
            o.version = max(o.version, OPSET)
    return model


def activations(graph):
    """Names of the f32 tensors that quantized operators read or write."""
    constant = {t.name for t in graph.initializer}
    names = []
    for node in graph.node:
        if node.op_type in SAME_SCALE | {"Clip"}:
            data = [node.input[0], *node.output]
        elif node.op_type in WITH_WEIGHTS | REMOVABLE | ORDINARY:
            data = [*node.input, *node.output]
        else:
            continue
        names += [n for n in data if n and n not in constant and n not in names]
    return names


def ranges_model(model):
    """The model with two outputs for each activation in place of its own: the least and the greatest value."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.output[:]
    for i, name in enumerate(activations(model.graph)):
        for op in ("ReduceMin", "ReduceMax"):
            out.graph.node.append(helper.make_node(op, [name], [f"range_{i}_{op}"], keepdims=0))
            out.graph.output.append(helper.make_tensor_value_info(f"range_{i}_{op}", TensorProto.FLOAT, []))
    return out


def ranges(model, values):
    """{activation: (least, greatest)} of what the ranges model wrote: f32, one row of outputs per sample."""
    names = activations(model.graph)
    rows = values.reshape(-1, len(names), 2)
    return {n: (rows[:, i, 0].min(), rows[:, i, 1].max()) for i, n in enumerate(names)}


class Quantizer:
    """One QDQ model. kind is u8 or s8, the type of the activations."""

    def __init__(self, model, found, kind):
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.kind = kind
        self.ranges = dict(found)
        self.constant = {t.name: t for t in self.graph.initializer}
        self.scale = {}     # activation -> name of the activation whose scale and zero point it has
        self.params = {}    # activation -> (scale, zero)
        self.done = {}      # constant -> name of its dequantized value
        self.dq = []        # nodes that give dequantized constants

    def add_constant(self, name, array):
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def quantize(self, name, like=None):
        if name and name not in self.constant:
            self.scale.setdefault(name, like and self.scale.get(like, like) or name)

    def parameters(self, name):
        """Scale and zero point of an activation; zero is always exactly representable."""
        least, greatest = LIMITS[self.kind]
        low, high = self.ranges[self.scale[name]]
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = np.float32((high - low) / (greatest - least)) or np.float32(1)
        return scale, int(np.clip(np.rint(least - low / scale), least, greatest))

    def weight(self, name, axis):
        """s8 weights, symmetric per channel; returns their scales."""
        w = numpy_helper.to_array(self.constant[name])
        other = tuple(i for i in range(w.ndim) if i != axis)
        scale = (np.abs(w).max(axis=other) / 127).astype(np.float32)
        scale[scale == 0] = 1
        shape = [-1 if i == axis else 1 for i in range(w.ndim)]
        q = np.clip(np.rint(w / scale.reshape(shape)), -127, 127).astype(np.int8)
        return self.dequantized(name, q, scale, axis)

    def dequantized(self, name, q, scale, axis):
        if name not in self.done:
            self.done[name] = name + "_dq"
            inputs = [self.add_constant(name + "_q", q), self.add_constant(name + "_scale", scale),
                      self.add_constant(name + "_zero", np.zeros(scale.shape, q.dtype))]
            self.dq.append(helper.make_node("DequantizeLinear", inputs, [name + "_dq"], name=name + "_dq", axis=axis))
        return scale

    def with_weights(self, node):
        """Conv, Gemm, MatMul with a constant right side; the bias follows when the input's scale is known."""
        self.quantize(node.input[0])
        self.quantize(node.output[0])
        if node.input[1] not in self.constant:
            self.quantize(node.input[1])
            return
        w = self.constant[node.input[1]]
        axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else len(w.dims) - 1
        self.weight(node.input[1], axis)

    def bias(self, node):
        if node.op_type not in WITH_WEIGHTS or len(node.input) < 3 or not node.input[2]:
            return
        weight_scale = next(numpy_helper.to_array(t) for t in self.graph.initializer if t.name == node.input[1] + "_scale")
        scale = (weight_scale * self.parameters(node.input[0])[0]).astype(np.float32)
        b = numpy_helper.to_array(self.constant[node.input[2]])
        q = np.clip(np.rint(b / scale), -2 ** 31, 2 ** 31 - 1).astype(np.int32)
        self.dequantized(node.input[2], q, scale, 0)

    def swallow(self, node, readers, outputs):
        """A ReLU or Clip that alone reads its producer's output: the producer writes its output instead."""
        source = node.input[0]
        producer = next((n for n in self.graph.node if source in n.output), None)
        if source not in self.scale or self.scale[source] != source:
            return False
        if producer is None or readers[source] != 1 or source in outputs:
            return False
        producer.output[list(producer.output).index(source)] = node.output[0]
        del self.scale[source]
        return True

    def visit(self, node, readers, outputs):
        """Marks what is to be quantized; False when the node is to be dropped."""
        if node.op_type in WITH_WEIGHTS:
            self.with_weights(node)
        elif node.op_type in REMOVABLE and node.input[0] in self.scale:
            dropped = self.swallow(node, readers, outputs)
            if not dropped:
                self.quantize(node.input[0])
            self.quantize(node.output[0])
            return not dropped
        elif node.op_type in SAME_SCALE:
            if node.input[0] not in self.scale:
                return True
            for o in node.output:
                self.quantize(o, node.input[0])
        elif node.op_type in ORDINARY:
            for name in (*node.input, *node.output):
                if name in self.constant:
                    raise ValueError(f"node '{node.name}' ({node.op_type}) has a constant operand: the quantizer has no rule for it")
                self.quantize(name)
        return True

    def pair(self, name, out_name):
        """QuantizeLinear and DequantizeLinear of an activation; returns the nodes."""
        scale, zero = self.parameters(name)
        s = self.add_constant(name + "_scale", np.array(scale, np.float32))
        z = self.add_constant(name + "_zero", np.array(zero, np.uint8 if self.kind == "u8" else np.int8))
        return [helper.make_node("QuantizeLinear", [name, s, z], [name + "_q"], name=name + "_quantize"),
                helper.make_node("DequantizeLinear", [name + "_q", s, z], [out_name], name=name + "_dequantize")]

    def connect(self, nodes):
        """All readers of a quantized value read its dequantized form; a model output keeps its name."""
        outputs = {o.name for o in self.graph.output}
        result = list(self.dq)
        for i in self.graph.input:
            if i.name in self.scale:
                result += self.pair(i.name, i.name + "_dq")
        for node in nodes:
            for k, name in enumerate(node.input):
                if name in self.done:
                    node.input[k] = self.done[name]
                elif name in self.scale:
                    node.input[k] = name + "_dq"
            made = []
            for k, name in enumerate(node.output):
                if name not in self.scale:
                    continue
                if name in outputs:
                    node.output[k] = name + "_float"
                    self.scale[name + "_float"] = self.scale[name]
                    made += self.pair(name + "_float", name)
                    made.append(helper.make_node("Identity", [name], [name + "_dq"]))
                else:
                    made += self.pair(name, name + "_dq")
            result += [node, *made]
        return result

    def run(self):
        outputs = {o.name for o in self.graph.output}
        readers = {}
        for node in self.graph.node:
            for name in node.input:
                readers[name] = readers.get(name, 0) + 1
        nodes = [n for n in self.graph.node if self.visit(n, readers, outputs)]
        for node in nodes:
            self.bias(node)
        nodes = self.connect(nodes)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.value_info[:]
        read = {name for node in nodes for name in node.input} | outputs
        kept = [t for t in self.graph.initializer if t.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        return self.model


def quantized(model, found, kind):
    """The QDQ model with activations of kind u8 or s8."""
    return Quantizer(model, found, kind).run()

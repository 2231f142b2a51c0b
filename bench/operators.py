#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Idioms of exporters, by ONNX Runtime and by MICA in f32: bench/operators.py [--keep=DIR] [--only=WORD] [--list].

Small models with seeded random weights that look like what PyTorch, tf2onnx, Paddle and Ultralytics export. Needs
python3-onnx and the peer of bench/peer.sh; not part of make check. Each result must agree within 1e-4 relative.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MICA = os.environ.get("MICA", os.path.join(TOP, "build/mica"))


class Net:
    """A graph under construction: op() adds a node and gives its result's name, w() an initializer."""

    def __init__(self, opset=17, seed=1):
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes, self.inits, self.ins, self.outs, self.n = [], [], [], [], 0

    def name(self, hint="t"):
        self.n += 1
        return f"{hint}_{self.n}"

    def input(self, *shape, low=-1.0, high=1.0, ints=False):
        name = self.name("input")
        data = self.rng.integers(int(low), int(high), shape) if ints else self.rng.uniform(low, high, shape)
        self.ins.append((name, list(shape), data.astype(np.float32)))
        return name

    def const(self, value, dtype=np.float32):
        name = self.name("const")
        self.inits.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def i64(self, *values):
        return self.const(values, np.int64)

    def w(self, *shape, scale=None, positive=False):
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        v = self.rng.standard_normal(shape) * (scale if scale is not None else (1.0 / max(fan, 1)) ** 0.5)
        return self.const(np.abs(v) + 0.5 if positive else v)

    def op(self, kind, *ins, outs=1, domain="", **attrs):
        names = [self.name(kind.lower()) for _ in range(outs)]
        self.nodes.append(helper.make_node(kind, list(ins), names, domain=domain, **attrs))
        return names[0] if outs == 1 else names

    def out(self, *names, cast=False):
        for n in names:
            self.outs.append(self.op("Cast", n, to=T.FLOAT) if cast else n)

    def save(self, path):
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info(n, T.FLOAT, s) for n, s, _ in self.ins],
            [helper.make_tensor_value_info(n, T.FLOAT, None) for n in self.outs], self.inits)
        sets = [helper.make_opsetid("", self.opset)]
        sets += [helper.make_opsetid(d, 1) for d in sorted({n.domain for n in self.nodes if n.domain})]
        model = helper.make_model(graph, opset_imports=sets)
        model.ir_version = 8
        onnx.save(model, path)

    # ---- what many nets have ----
    def conv(self, x, cin, cout, k=3, stride=1, groups=1, act="Relu", bias=True, dil=1):
        p = dil * (k - 1) // 2
        ins = [x, self.w(cout, cin // groups, k, k)] + ([self.w(cout, scale=0.1)] if bias else [])
        x = self.op("Conv", *ins, kernel_shape=[k, k], strides=[stride] * 2, pads=[p] * 4, group=groups,
                    dilations=[dil] * 2)
        if act == "SiLU":
            return self.op("Mul", x, self.op("Sigmoid", x))
        return self.op(act, x) if act else x

    def linear(self, x, cin, cout):
        return self.op("Add", self.op("MatMul", x, self.w(cin, cout)), self.w(cout, scale=0.1))

    def layernorm(self, x, c, eps=1e-5):
        d = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1], keepdims=1))
        v = self.op("ReduceMean", self.op("Pow", d, self.const(2.0)), axes=[-1], keepdims=1)
        d = self.op("Div", d, self.op("Sqrt", self.op("Add", v, self.const(eps))))
        return self.op("Add", self.op("Mul", d, self.w(c, positive=True)), self.w(c))

    def gelu(self, x):
        e = self.op("Erf", self.op("Div", x, self.const(1.4142135)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", e, self.const(1.0))), self.const(0.5))


IDIOMS = {}


def idiom(f):
    IDIOMS[f.__name__] = f
    return f


@idiom
def shape_chain():
    """view(x.size(0), -1) and view(B, C, -1) as PyTorch writes them."""
    n = Net(13)
    x = n.conv(n.input(1, 3, 8, 8), 3, 8)
    s = n.op("Shape", x)
    b = n.op("Unsqueeze", n.op("Gather", s, n.const(0, np.int64), axis=0), n.i64(0))
    h = n.op("Gather", s, n.const(2, np.int64), axis=0)
    w = n.op("Gather", s, n.const(3, np.int64), axis=0)
    hw = n.op("Unsqueeze", n.op("Mul", h, w), n.i64(0))
    y = n.op("Reshape", x, n.op("Concat", b, n.i64(2, 4), hw, axis=0))
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1, 3]), n.op("Concat", b, n.i64(-1), axis=0))
    n.out(n.op("Gemm", y, n.w(10, 512), n.w(10), transB=1))
    return n


@idiom
def upsample_by_shape():
    """interpolate(size=other.shape[-2:]): sizes from Shape, Slice, Concat."""
    n = Net(13)
    x = n.input(1, 4, 9, 7)
    low = n.conv(x, 4, 6, stride=2)
    want = n.op("Slice", n.op("Shape", x), n.i64(2), n.i64(4), n.i64(0))
    have = n.op("Slice", n.op("Shape", low), n.i64(0), n.i64(2), n.i64(0))
    up = n.op("Resize", low, "", "", n.op("Concat", have, want, axis=0), mode="linear",
              coordinate_transformation_mode="align_corners")
    n.out(n.op("Concat", up, x, axis=1))
    return n


@idiom
def bicubic():
    n = Net(13)
    x = n.input(1, 2, 7, 9)
    n.out(n.op("Resize", x, "", n.const([1, 1, 2, 2]), mode="cubic", cubic_coeff_a=-0.75,
               coordinate_transformation_mode="half_pixel"),
          n.op("Resize", x, "", "", n.i64(1, 2, 4, 5), mode="cubic", coordinate_transformation_mode="align_corners"))
    return n


@idiom
def antialias():
    n = Net(18)
    x = n.input(1, 3, 16, 12)
    n.out(n.op("Resize", x, "", "", n.i64(1, 3, 5, 7), mode="linear", antialias=1, exclude_outside=1),
          n.op("Resize", x, "", "", n.i64(1, 3, 8, 6), mode="cubic", antialias=1, exclude_outside=1))
    return n


@idiom
def yolov8_head():
    """DFL: softmax over 16 bins and a 1x1 convolution, anchors as constants, boxes and scores joined."""
    n = Net(17)
    x = n.input(1, 8, 8, 8)
    parts = []
    for stride in (1, 2):
        f = n.conv(x, 8, 16, stride=stride, act="SiLU")
        y = n.op("Concat", n.conv(f, 16, 64, act="SiLU"), n.conv(f, 16, 5, act=""), axis=1)
        parts.append(n.op("Reshape", y, n.i64(1, 69, -1)))
    y = n.op("Concat", *parts, axis=2)
    box, cls = n.op("Split", y, n.i64(64, 5), outs=2, axis=1)
    d = n.op("Transpose", n.op("Reshape", box, n.i64(1, 4, 16, 80)), perm=[0, 2, 1, 3])
    d = n.op("Softmax", d, axis=1)
    d = n.op("Conv", d, n.const(np.arange(16).reshape(1, 16, 1, 1)))
    d = n.op("Reshape", d, n.i64(1, 4, 80))
    anchors, strides = n.w(1, 2, 80), n.const(np.repeat([8.0, 16.0], [64, 16]).reshape(1, 80))
    lt = n.op("Slice", d, n.i64(0), n.i64(2), n.i64(1))
    rb = n.op("Slice", d, n.i64(2), n.i64(4), n.i64(1))
    a, b = n.op("Sub", anchors, lt), n.op("Add", anchors, rb)
    c, wh = n.op("Div", n.op("Add", a, b), n.const(2.0)), n.op("Sub", b, a)
    box = n.op("Mul", n.op("Concat", c, wh, axis=1), strides)
    n.out(n.op("Concat", box, n.op("Sigmoid", cls), axis=1))
    return n


@idiom
def yolov5_head():
    """[b,a,c,h,w] to [b,a,h,w,c], sigmoid, xy and wh by Split, grids as constants."""
    n = Net(12)
    x = n.input(1, 8, 6, 6)
    y = n.op("Reshape", n.conv(x, 8, 21, k=1, act=""), n.i64(1, 3, 7, 6, 6))
    y = n.op("Sigmoid", n.op("Transpose", y, perm=[0, 1, 3, 4, 2]))
    xy, wh, conf = n.op("Split", y, outs=3, axis=4, split=[2, 2, 3])
    xy = n.op("Mul", n.op("Add", n.op("Mul", xy, n.const(2.0)), n.w(1, 3, 6, 6, 2)), n.const(8.0))
    wh = n.op("Mul", n.op("Pow", n.op("Mul", wh, n.const(2.0)), n.const(2.0)), n.w(1, 3, 1, 1, 2, positive=True))
    n.out(n.op("Reshape", n.op("Concat", xy, wh, conf, axis=4), n.i64(1, -1, 7)))
    return n


@idiom
def focus():
    """YOLOv5's first layer: four strided slices side by side."""
    n = Net(11)
    x, parts = n.input(1, 3, 8, 8), []
    for h in (0, 1):
        for w in (0, 1):
            y = n.op("Slice", x, n.i64(h), n.i64(2**31 - 1), n.i64(2), n.i64(2))
            parts.append(n.op("Slice", y, n.i64(w), n.i64(9223372036854775807), n.i64(3), n.i64(2)))
    n.out(n.conv(n.op("Concat", *parts, axis=1), 12, 8, act="SiLU"))
    return n


def attention(n, x, tokens, dim, heads, bias=None):
    q = n.op("Reshape", n.linear(x, dim, 3 * dim), n.i64(1, tokens, 3, heads, dim // heads))
    q = n.op("Transpose", q, perm=[2, 0, 3, 1, 4])
    q, k, v = n.op("Split", q, outs=3, axis=0)
    q, k, v = (n.op("Squeeze", t, n.i64(0)) for t in (q, k, v))
    s = n.op("Mul", n.op("MatMul", q, n.op("Transpose", k, perm=[0, 1, 3, 2])), n.const((dim // heads) ** -0.5))
    s = n.op("Add", s, bias) if bias else s
    y = n.op("Transpose", n.op("MatMul", n.op("Softmax", s, axis=-1), v), perm=[0, 2, 1, 3])
    return n.linear(n.op("Reshape", y, n.i64(1, tokens, dim)), dim, dim)


@idiom
def vit_block():
    """Patches, class token by Expand and Concat, position embedding, attention, MLP."""
    n = Net(14)
    x = n.op("Conv", n.input(1, 3, 16, 16), n.w(32, 3, 4, 4), n.w(32), strides=[4, 4])
    x = n.op("Transpose", n.op("Reshape", x, n.i64(0, 32, -1)), perm=[0, 2, 1])
    cls = n.op("Expand", n.w(1, 1, 32), n.i64(1, 1, 1))
    x = n.op("Add", n.op("Concat", cls, x, axis=1), n.w(1, 17, 32))
    x = n.op("Add", x, attention(n, n.layernorm(x, 32), 17, 32, 4))
    h = n.linear(n.gelu(n.linear(n.layernorm(x, 32), 32, 64)), 64, 32)
    x = n.layernorm(n.op("Add", x, h), 32)
    n.out(n.op("Gemm", n.op("Gather", x, n.const(0, np.int64), axis=1), n.w(10, 32), n.w(10), transB=1))
    return n


@idiom
def swin_block():
    """Windows by reshapes of rank 6, roll by Slice and Concat, relative position bias, mask, roll back."""
    n = Net(13)
    x = n.input(1, 8, 8, 16)

    def roll(x, by):
        for axis in (1, 2):
            head = n.op("Slice", x, n.i64(0), n.i64(by), n.i64(axis))
            tail = n.op("Slice", x, n.i64(by), n.i64(9223372036854775807), n.i64(axis))
            x = n.op("Concat", tail, head, axis=axis)
        return x

    y = roll(n.layernorm(x, 16), 2)
    y = n.op("Transpose", n.op("Reshape", y, n.i64(1, 2, 4, 2, 4, 16)), perm=[0, 1, 3, 2, 4, 5])
    y = n.op("Reshape", y, n.i64(4, 16, 16))
    qkv = n.op("Transpose", n.op("Reshape", n.linear(y, 16, 48), n.i64(4, 16, 3, 2, 8)), perm=[2, 0, 3, 1, 4])
    q, k, v = (n.op("Gather", qkv, n.const(i, np.int64), axis=0) for i in range(3))
    s = n.op("MatMul", n.op("Mul", q, n.const(8**-0.5)), n.op("Transpose", k, perm=[0, 1, 3, 2]))
    s = n.op("Add", s, n.w(1, 2, 16, 16))
    s = n.op("Add", n.op("Reshape", s, n.i64(1, 4, 2, 16, 16)),
             n.op("Unsqueeze", n.op("Unsqueeze", n.w(4, 16, 16), n.i64(1)), n.i64(0)))
    s = n.op("Softmax", n.op("Reshape", s, n.i64(-1, 2, 16, 16)), axis=-1)
    y = n.op("Reshape", n.op("Transpose", n.op("MatMul", s, v), perm=[0, 2, 1, 3]), n.i64(4, 16, 16))
    y = n.op("Reshape", n.linear(y, 16, 16), n.i64(1, 2, 2, 4, 4, 16))
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), n.i64(1, 8, 8, 16))
    n.out(n.op("Add", x, roll(y, 6)))
    return n


@idiom
def convnext_block():
    n = Net(17)
    x = n.input(1, 16, 8, 8)
    y = n.conv(x, 16, 16, k=7, groups=16, act="")
    y = n.op("Transpose", y, perm=[0, 2, 3, 1])
    y = n.op("LayerNormalization", y, n.w(16, positive=True), n.w(16), axis=-1, epsilon=1e-6)
    y = n.linear(n.gelu(n.linear(y, 16, 64)), 64, 16)
    y = n.op("Transpose", n.op("Mul", y, n.w(16)), perm=[0, 3, 1, 2])
    n.out(n.op("Add", x, y))
    return n


@idiom
def convnext_channels_first():
    """LayerNorm over channels of NCHW, as the permuted-free variant exports it."""
    n = Net(13)
    x = n.input(1, 12, 6, 6)
    d = n.op("Sub", x, n.op("ReduceMean", x, axes=[1]))
    v = n.op("ReduceMean", n.op("Pow", d, n.const(2.0)), axes=[1])
    d = n.op("Div", d, n.op("Sqrt", n.op("Add", v, n.const(1e-6))))
    n.out(n.op("Add", n.op("Mul", d, n.w(12, 1, 1)), n.w(12, 1, 1)))
    return n


@idiom
def crnn():
    """Convolutions, columns as a sequence, two bidirectional LSTMs, log softmax."""
    n = Net(14)
    x = n.conv(n.input(1, 1, 8, 24), 1, 8)
    x = n.op("MaxPool", x, kernel_shape=[8, 2], strides=[8, 2])
    x = n.op("Transpose", n.op("Squeeze", x, n.i64(2)), perm=[2, 0, 1])
    c = 8
    for _ in range(2):
        y, _h, _c = n.op("LSTM", x, n.w(2, 64, c, scale=0.3), n.w(2, 64, 16, scale=0.3), n.w(2, 128, scale=0.1), "",
                         n.const(np.zeros((2, 1, 16))), n.const(np.zeros((2, 1, 16))), outs=3,
                         direction="bidirectional", hidden_size=16)
        x = n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1, 3]), n.i64(0, 0, -1))
        c = 32
    n.out(n.op("LogSoftmax", n.linear(x, 32, 11), axis=2))
    return n


@idiom
def lstm_all():
    """Peepholes, a clip, lengths, initial states, reverse; everything that the operator has."""
    n = Net(14)
    x = n.input(5, 3, 4)
    lens = n.const([5, 2, 4], np.int32)
    w = [n.w(1, 24, 4, scale=0.7), n.w(1, 24, 6, scale=0.7), n.w(1, 48, scale=0.3), lens, n.w(1, 3, 6), n.w(1, 3, 6),
         n.w(1, 18, scale=0.3)]
    n.out(*n.op("LSTM", x, *w, outs=3, hidden_size=6, direction="reverse"))
    n.out(*n.op("LSTM", x, *w[:3], "", *w[4:], outs=3, hidden_size=6, clip=0.3))
    n.out(*n.op("LSTM", x, *w[:2], outs=3, hidden_size=6, input_forget=1,
                activations=["HardSigmoid", "Softsign", "Tanh"], activation_alpha=[0.3], activation_beta=[0.4]))
    return n


@idiom
def gru_all():
    n = Net(14)
    x = n.input(6, 2, 4)
    lens = n.const([6, 3], np.int32)
    w = [n.w(2, 15, 4, scale=0.7), n.w(2, 15, 5, scale=0.7), n.w(2, 30, scale=0.3)]
    for lbr in (0, 1):
        n.out(*n.op("GRU", x, *w, lens, n.w(2, 2, 5), outs=2, hidden_size=5, direction="bidirectional",
                    linear_before_reset=lbr))
    one = [n.w(1, 15, 4), n.w(1, 15, 5)]
    n.out(*n.op("GRU", x, *one, outs=2, hidden_size=5, clip=0.5))
    n.out(*n.op("RNN", x, n.w(1, 5, 4), n.w(1, 5, 5), n.w(1, 10), lens, outs=2, hidden_size=5, direction="reverse",
                activations=["Relu"]))
    return n


@idiom
def se_block():
    """EfficientNet: squeeze by GlobalAveragePool, excite by 1x1 convolutions and a sigmoid."""
    n = Net(11)
    x = n.conv(n.input(1, 4, 8, 8), 4, 16, act="SiLU")
    s = n.op("GlobalAveragePool", x)
    s = n.conv(s, 16, 4, k=1, act="SiLU")
    s = n.op("Sigmoid", n.conv(s, 4, 16, k=1, act=""))
    n.out(n.conv(n.op("Mul", s, x), 16, 8, k=1, act=""))
    return n


@idiom
def mobilenetv3():
    """Hard swish as Add, Clip, Div, Mul and hard sigmoid in the squeeze."""
    n = Net(11)
    x = n.conv(n.input(1, 3, 10, 10), 3, 16, stride=2, act="")
    h = n.op("Div", n.op("Clip", n.op("Add", x, n.const(3.0)), n.const(0.0), n.const(6.0)), n.const(6.0))
    x = n.op("Mul", x, h)
    s = n.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = n.conv(n.conv(s, 16, 8, k=1), 8, 16, k=1, act="HardSigmoid")
    n.out(n.op("HardSigmoid", n.op("Mul", x, s), alpha=1 / 6, beta=0.5))
    return n


@idiom
def shufflenet():
    n = Net(11)
    x = n.conv(n.input(1, 4, 6, 6), 4, 8)
    a, b = n.op("Split", x, outs=2, axis=1)
    b = n.conv(n.conv(b, 4, 4, k=1), 4, 4, groups=4)
    y = n.op("Reshape", n.op("Concat", a, b, axis=1), n.i64(1, 2, 4, 6, 6))
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1, 3, 4]), n.i64(1, -1, 6, 6))
    n.out(n.conv(y, 8, 4, groups=2))
    return n


@idiom
def densenet():
    n = Net(9)
    x = n.conv(n.input(1, 3, 8, 8), 3, 8)
    for i in range(3):
        c = 8 + 4 * i
        y = n.op("BatchNormalization", x, n.w(c, positive=True), n.w(c), n.w(c), n.w(c, positive=True))
        y = n.conv(n.op("Relu", y), c, 4, act="", bias=False)
        x = n.op("Concat", x, y, axis=1)
    n.out(n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1))
    return n


@idiom
def rmsnorm_rotary():
    """RMS norm and rotary embeddings, interleaved by halves, as decoder exports have them."""
    n = Net(17)
    x = n.input(1, 6, 32)
    v = n.op("ReduceMean", n.op("Pow", x, n.const(2.0)), axes=[-1], keepdims=1)
    r = n.op("Reciprocal", n.op("Sqrt", n.op("Add", v, n.const(1e-6))))
    y = n.op("Mul", n.op("Mul", x, r), n.w(32))
    q = n.op("Transpose", n.op("Reshape", n.linear(y, 32, 32), n.i64(1, 6, 4, 8)), perm=[0, 2, 1, 3])
    half = n.op("Slice", q, n.i64(0), n.i64(4), n.i64(3))
    rest = n.op("Slice", q, n.i64(4), n.i64(9223372036854775807), n.i64(3))
    rot = n.op("Concat", n.op("Neg", rest), half, axis=-1)
    pos = n.op("Range", n.const(0.0), n.const(6.0), n.const(1.0))
    ang = n.op("MatMul", n.op("Unsqueeze", pos, n.i64(1)), n.w(1, 4, scale=1.0))
    ang = n.op("Concat", ang, ang, axis=-1)
    q = n.op("Add", n.op("Mul", q, n.op("Cos", ang)), n.op("Mul", rot, n.op("Sin", ang)))
    mask = n.op("Trilu", n.op("ConstantOfShape", n.i64(6, 6), value=numpy_helper.from_array(
        np.array([-1e9], np.float32))), n.const(1, np.int64), upper=1)
    s = n.op("Add", n.op("MatMul", q, n.op("Transpose", q, perm=[0, 1, 3, 2])), mask)
    n.out(n.op("MatMul", n.op("Softmax", s, axis=-1), q))
    return n


@idiom
def einsums():
    n = Net(13)
    a, b, c = n.input(2, 3, 4), n.input(2, 4, 5), n.input(2, 3, 4, 4)
    eq = lambda e, *x: n.out(n.op("Einsum", *x, equation=e))
    eq("bij,bjk->bik", a, b)
    eq("bij,jk->bik", a, n.w(4, 5))
    eq("bij,bjk->", a, b)
    eq("bij->jib", a)
    eq("...ij,...jk", a, b)
    eq("abii->abi", c)
    eq("abii->ab", c)
    eq("bhid,bhjd->bhij", c, c)
    eq("bij,bik->bijk", a, n.w(2, 3, 6))
    eq("i,j->ij", n.w(3), n.op("Reshape", b, n.i64(-1)))
    eq("bij,bjk,bkl->bil", a, b, n.w(2, 5, 3))
    eq("nchw,oc->nohw", c, n.w(7, 3))
    return n


@idiom
def ssd_priors():
    """Prior boxes from Range, Expand and Concat over shapes; everything folds."""
    n = Net(11)
    x = n.conv(n.input(1, 3, 8, 8), 3, 8, stride=2)
    s = n.op("Shape", x)
    h = n.op("Cast", n.op("Gather", s, n.const(2, np.int64)), to=T.FLOAT)
    r = n.op("Div", n.op("Add", n.op("Range", n.const(0.0), h, n.const(1.0)), n.const(0.5)), h)
    ys = n.op("Expand", n.op("Unsqueeze", r, axes=[1]), n.i64(4, 4))
    xs = n.op("Expand", n.op("Unsqueeze", r, axes=[0]), n.i64(4, 4))
    g = n.op("Concat", n.op("Unsqueeze", xs, axes=[2]), n.op("Unsqueeze", ys, axes=[2]), axis=2)
    g = n.op("Reshape", g, n.i64(1, 16, 2))
    loc = n.op("Transpose", n.conv(x, 8, 4, act=""), perm=[0, 2, 3, 1])
    loc = n.op("Reshape", loc, n.i64(1, -1, 4))
    c = n.op("Add", n.op("Mul", n.op("Slice", loc, n.i64(0), n.i64(2), n.i64(2)), n.const(0.1)), g)
    w = n.op("Exp", n.op("Mul", n.op("Slice", loc, n.i64(2), n.i64(4), n.i64(2)), n.const(0.2)))
    n.out(n.op("Concat", c, w, axis=2))
    return n


@idiom
def instance_and_group_norm():
    n = Net(13)
    x = n.input(2, 6, 5, 5)
    y = n.op("InstanceNormalization", n.op("Reshape", x, n.i64(0, 3, -1)), n.const([1.0] * 3), n.const([0.0] * 3))
    y = n.op("Reshape", y, n.op("Shape", x))
    n.out(n.op("Add", n.op("Mul", y, n.w(6, 1, 1)), n.w(6, 1, 1)),
          n.op("InstanceNormalization", x, n.w(6), n.w(6), epsilon=1e-3))
    return n


@idiom
def tf_nhwc():
    """tf2onnx: NHWC in, transposes around convolutions, asymmetric SAME padding, flatten in NHWC order."""
    n = Net(13)
    x = n.op("Transpose", n.input(1, 9, 9, 3), perm=[0, 3, 1, 2])
    x = n.op("Conv", n.op("Sub", n.op("Mul", x, n.const(2.0)), n.const(1.0)), n.w(8, 3, 3, 3), n.w(8), strides=[2, 2],
             auto_pad="SAME_UPPER")
    x = n.op("Clip", x, n.const(0.0), n.const(6.0))
    x = n.op("Conv", x, n.w(8, 1, 3, 3), pads=[0, 0, 1, 1], strides=[2, 2], group=8)
    x = n.op("Transpose", x, perm=[0, 2, 3, 1])
    x = n.op("Reshape", x, n.i64(-1, 32))
    n.out(n.op("Softmax", n.op("Add", n.op("MatMul", x, n.w(32, 10)), n.w(10)), axis=1))
    return n


@idiom
def unet():
    n = Net(11)
    x = n.input(1, 3, 16, 16)
    a = n.conv(x, 3, 8)
    b = n.conv(n.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 8, 16)
    up = n.op("ConvTranspose", b, n.w(16, 8, 2, 2), n.w(8), strides=[2, 2], kernel_shape=[2, 2])
    y = n.op("Pad", n.op("Concat", up, a, axis=1), n.i64(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    y = n.op("Conv", y, n.w(4, 16, 3, 3))
    n.out(n.op("ArgMax", y, axis=1, keepdims=0), cast=True)
    n.out(y)
    return n


@idiom
def volumes():
    n = Net(13)
    x = n.input(1, 4, 6, 7, 5)
    y = n.op("Relu", n.op("Conv", x, n.w(6, 2, 3, 2, 3), n.w(6), group=2, strides=[2, 1, 1], pads=[1, 0, 1, 1, 1, 1],
                          dilations=[1, 2, 1]))
    n.out(y, n.op("MaxPool", x, kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[0, 1, 0, 1, 1, 1]),
          n.op("AveragePool", x, kernel_shape=[3, 2, 2], strides=[1, 2, 2], pads=[1, 0, 1, 1, 0, 0]),
          n.op("AveragePool", x, kernel_shape=[3, 3, 3], strides=[2, 2, 2], pads=[1, 1, 1, 1, 1, 1], count_include_pad=1,
               ceil_mode=0),
          n.op("ConvTranspose", x, n.w(4, 3, 3, 2, 3), n.w(3), strides=[2, 2, 1], pads=[1, 0, 1, 0, 1, 1],
               output_padding=[1, 0, 0]),
          n.op("GlobalAveragePool", x), n.op("Resize", x, "", n.const([1, 1, 2, 2, 2]), mode="nearest"),
          n.op("Resize", x, "", n.const([1, 1, 2, 1.5, 2]), mode="linear"))
    return n


@idiom
def sequences_1d():
    n = Net(13)
    x = n.input(2, 4, 20)
    y = n.op("Conv", x, n.w(6, 4, 5), n.w(6), strides=[2], pads=[2, 2], dilations=[1])
    y = n.op("BatchNormalization", y, n.w(6, positive=True), n.w(6), n.w(6), n.w(6, positive=True))
    n.out(n.op("MaxPool", y, kernel_shape=[3], strides=[2]),
          n.op("ConvTranspose", y, n.w(6, 3, 4), strides=[2], pads=[1, 1]),
          n.op("AveragePool", y, kernel_shape=[2], ceil_mode=1, strides=[3]),
          n.op("LpPool", x, kernel_shape=[3], strides=[2], p=3), n.op("GlobalLpPool", x, p=2),
          n.op("Resize", x, "", n.const([1, 1, 1.5]), mode="linear", coordinate_transformation_mode="asymmetric"))
    return n


@idiom
def functions():
    n = Net(17)
    x, p = n.input(3, 7, low=-4, high=4), n.input(3, 7, low=0.01, high=0.99)
    for f in ("Abs", "Neg", "Exp", "Erf", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh",
              "Atan", "Asinh", "Sigmoid", "Softplus", "Softsign", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "HardSwish",
              "ThresholdedRelu", "Shrink", "Celu", "Relu"):
        n.out(n.op(f, x))
    for f in ("Asin", "Acos", "Atanh", "Log", "Sqrt", "Reciprocal"):
        n.out(n.op(f, p))
    n.out(n.op("Acosh", n.op("Add", p, n.const(1.0))), n.op("CumSum", x, n.const(1, np.int64), reverse=1),
          n.op("Mod", x, p, fmod=1), n.op("Pow", p, x), n.op("Hardmax", x), n.op("LpNormalization", x, axis=0, p=1),
          n.op("MeanVarianceNormalization", n.op("Reshape", x, n.i64(1, 3, 7, 1))), n.op("LogSoftmax", x, axis=0))
    return n


@idiom
def comparisons():
    n = Net(16)
    x, y = n.input(3, 7, low=-3, high=3, ints=True), n.input(3, 7, low=-3, high=3, ints=True)
    for f in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        n.out(n.op(f, x, y), cast=True)
    a, b = n.op("Greater", x, n.const(0.0)), n.op("Cast", y, to=T.BOOL)
    for f in ("And", "Or", "Xor"):
        n.out(n.op(f, a, b), cast=True)
    n.out(n.op("Not", a), cast=True)
    n.out(n.op("Where", a, x, y), n.op("Max", x, y, n.const(0.5)), n.op("Min", x, y), n.op("Sum", x, y, x),
          n.op("Mean", x, y, n.const([1.0] * 7)), n.op("PRelu", x, n.w(7)), n.op("Clip", x, "", n.const(1.0)))
    n.out(n.op("ArgMin", x, axis=1, select_last_index=1), n.op("ArgMax", x, axis=0, keepdims=0), cast=True)
    return n


@idiom
def integers():
    """Run-time integers: casts, division towards zero, both remainders, one-hot, positions."""
    n = Net(16)
    x, y = n.input(4, 6, low=-50, high=50, ints=True), n.input(4, 6, low=1, high=9, ints=True)
    a, b = n.op("Cast", x, to=T.INT64), n.op("Cast", y, to=T.INT64)
    for f in ("Add", "Sub", "Mul", "Div"):
        n.out(n.op(f, a, b), cast=True)
    n.out(n.op("Mod", a, b), n.op("Mod", a, b, fmod=1), n.op("Mod", a, n.op("Neg", b)),
          n.op("Neg", a), n.op("Abs", a), n.op("Sign", a), n.op("ReduceSum", a, n.i64(1)), n.op("ReduceMax", a, axes=[0]),
          n.op("CumSum", a, n.const(0, np.int64), exclusive=1), n.op("Max", a, b), cast=True)
    u = n.op("Cast", y, to=T.UINT8)
    n.out(n.op("Mul", u, n.const(100, np.uint8)), n.op("Sub", u, n.const(5, np.uint8)), cast=True)
    n.out(n.op("OneHot", b, n.const(9, np.int64), n.const([0.0, 1.0])),
          n.op("OneHot", n.op("Sub", b, n.const(9, np.int64)), n.const(9, np.int64), n.const([-1.0, 2.0]), axis=0))
    return n


@idiom
def reductions():
    n = Net(13)
    x = n.input(2, 3, 4, 5, low=0.1, high=2)
    for f in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
              "ReduceLogSum", "ReduceLogSumExp"):
        n.out(n.op(f, x, axes=[1, 3], keepdims=0), n.op(f, x, axes=[-2]), n.op(f, x))
    n.out(n.op("ReduceSum", x, n.i64(0, 2), keepdims=0), n.op("ReduceSum", x, noop_with_empty_axes=1))
    return n


@idiom
def moves():
    n = Net(18)
    x = n.input(2, 6, 4, 5)
    n.out(n.op("Pad", x, n.i64(0, 0, 1, 2, 0, 0, 2, 1), mode="edge"),
          n.op("Pad", x, n.i64(0, 0, 1, 2, 0, 0, 2, 1), n.const(1.5), mode="constant"),
          n.op("Pad", x, n.i64(0, 0, -1, 2, 0, 0, 2, -1), mode="constant"),
          n.op("Pad", x, n.i64(3, 3), n.const(0.0), n.i64(3), mode="reflect"),
          n.op("Slice", x, n.i64(-1, 4), n.i64(-100, 0), n.i64(1, 3), n.i64(-2, -1)),
          n.op("Tile", x, n.i64(1, 2, 1, 3)), n.op("SpaceToDepth", n.op("Slice", x, n.i64(0), n.i64(4), n.i64(3)),
                                                   blocksize=2),
          n.op("Gather", x, n.const([[2, 0], [-1, 2]], np.int64), axis=1), n.op("Expand", x, n.i64(3, 1, 1, 1, 1)),
          n.op("Trilu", x, upper=0), n.op("Compress", x, n.const([0, 1, 1, 0, 1], np.bool_), axis=3),
          n.op("ReverseSequence", n.op("Reshape", x, n.i64(4, 6, 10)), n.i64(4, 1, 3, 2, 0, 4)))
    d = n.op("Reshape", x, n.i64(1, 12, 4, 5))
    n.out(*(n.op("DepthToSpace", d, blocksize=2, mode=m) for m in ("CRD", "DCR")))
    return n


@idiom
def dynamic_quantization():
    """What ONNX Runtime's dynamic quantizer makes of a linear layer."""
    n = Net(13)
    x = n.input(2, 5, 16)
    q, s, z = n.op("DynamicQuantizeLinear", x, outs=3)
    w = n.rng.integers(-127, 128, (16, 8))
    y = n.op("MatMulInteger", q, n.const(w, np.int8), z, n.const(0, np.int8))
    y = n.op("Mul", n.op("Cast", y, to=T.FLOAT), n.op("Mul", s, n.const(0.01)))
    n.out(n.op("Add", y, n.w(8)))
    return n


@idiom
def qoperator():
    """A model in QOperator format: codes from one QLinearConv to the next."""
    n = Net(13)
    x = n.input(1, 3, 8, 8)
    q = n.op("QuantizeLinear", x, n.const(0.0078), n.const(128, np.uint8))
    w = n.const(n.rng.integers(-127, 128, (8, 3, 3, 3)), np.int8)
    q = n.op("QLinearConv", q, n.const(0.0078), n.const(128, np.uint8), w, n.const(n.rng.uniform(0.002, 0.01, 8)),
             n.const([0] * 8, np.int8), n.const(0.02), n.const(0, np.uint8), n.const(n.rng.integers(-900, 900, 8), np.int32),
             pads=[1, 1, 1, 1])
    q = n.op("MaxPool", q, kernel_shape=[2, 2], strides=[2, 2])
    q = n.op("Reshape", q, n.i64(1, 128))
    w = n.const(n.rng.integers(100, 156, (128, 10)), np.uint8)
    q = n.op("QLinearMatMul", q, n.const(0.02), n.const(0, np.uint8), w, n.const(0.01), n.const(120, np.uint8),
             n.const(0.05), n.const(100, np.uint8))
    n.out(n.op("DequantizeLinear", q, n.const(0.05), n.const(100, np.uint8)))
    return n


@idiom
def fourier():
    n = Net(17)
    x = n.input(2, 32, 1)
    n.out(n.op("DFT", x, axis=1), n.op("DFT", x, axis=1, onesided=1), n.op("DFT", n.op("DFT", x, axis=1), axis=1, inverse=1))
    win = n.op("HannWindow", n.const(16, np.int64))
    n.out(n.op("STFT", x, n.const(4, np.int64), win, n.const(16, np.int64)))
    return n


@idiom
def opset7():
    """Attribute forms of the oldest opset that is supported."""
    n = Net(7)
    x = n.input(1, 4, 6, 6)
    n.out(n.op("Clip", x, min=-0.5, max=0.25), n.op("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
          n.op("Slice", x, axes=[1, 3], starts=[1, -4], ends=[3, 1000]), n.op("Squeeze", n.op("ReduceMean", x, axes=[2, 3]), axes=[2, 3]),
          n.op("Unsqueeze", x, axes=[0, 5]), n.op("Softmax", x, axis=2), n.op("LogSoftmax", x), n.op("Hardmax", x, axis=2),
          n.op("Dropout", x, ratio=0.5), n.op("Flatten", x, axis=2), n.op("ReduceSum", x, axes=[1]), n.op("Sum", x, x, x),
          n.op("Pad", x, pads=[0, 0, 1, 0, 0, 0, 0, 2], mode="edge"), n.op("Pad", x, pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5),
          n.op("BatchNormalization", x, n.w(4, positive=True), n.w(4), n.w(4), n.w(4, positive=True), epsilon=1e-3, momentum=0.9),
          n.op("PRelu", x, n.w(4, 1, 1)), n.op("Gemm", n.op("Reshape", x, n.i64(4, 36)), n.w(36, 5), n.w(5), alpha=0.5, beta=2.0),
          n.op("AveragePool", x, kernel_shape=[2, 2], auto_pad="SAME_LOWER", strides=[2, 2]), n.op("ArgMax", x, axis=1, keepdims=0), cast=True)
    a, b = n.op("Split", x, outs=2, axis=1, split=[1, 3])
    n.out(a, b, n.op("LRN", x, size=3, alpha=0.001, beta=0.75), n.op("MaxPool", x, kernel_shape=[3, 3], auto_pad="VALID"))
    return n


@idiom
def opset9_upsample():
    n = Net(9)
    x = n.input(1, 2, 5, 4)
    n.out(n.op("Upsample", x, n.const([1, 1, 2, 3]), mode="linear"), n.op("Upsample", x, n.const([1, 1, 2, 2])))
    return n


@idiom
def opset10():
    n = Net(10)
    x = n.input(1, 2, 5, 4)
    n.out(n.op("Resize", x, n.const([1, 1, 2, 3]), mode="linear"), n.op("Resize", x, n.const([1, 1, 0.6, 0.5])),
          n.op("Slice", x, n.i64(-1), n.i64(-9), n.i64(3), n.i64(-2)), n.op("MaxPool", x, kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2]),
          n.op("Mod", x, n.const(0.3), fmod=1), n.op("Dropout", x))
    return n


@idiom
def names_and_frozen_inputs():
    """Names with slashes, blanks and other alphabets, hundreds of characters long; an initializer listed as an input."""
    n = Net(13)
    x = n.input(1, 3, 6, 6)
    w = n.w(4, 3, 3, 3)
    y = n.op("Relu", n.op("Conv", x, w, pads=[1, 1, 1, 1]))
    odd = {y: "model/größe: 大/" + "x" * 300, w: "a b//c\u00e9"}
    for node in n.nodes:
        for names in (node.input, node.output):
            for i, v in enumerate(names):
                names[i] = odd.get(v, v)
    for t in n.inits:
        t.name = odd.get(t.name, t.name)
    n.out(n.op("Add", odd[y], n.const(1.0)))
    return n


@idiom
def long_lstm():
    """Hundred steps in both directions: what a text recognizer needs."""
    n = Net(14)
    x = n.input(100, 1, 48)
    y, _h, _c = n.op("LSTM", x, n.w(2, 256, 48, scale=0.2), n.w(2, 256, 64, scale=0.2), n.w(2, 512, scale=0.1), outs=3,
                     direction="bidirectional", hidden_size=64)
    n.out(y)
    return n


@idiom
def bert_layer():
    """Mask of run time made additive by Sub and Mul, heads by Reshape with 0 and -1, pooler with Tanh."""
    n = Net(11)
    x, mask = n.input(1, 7, 16), n.input(1, 7, low=0, high=2, ints=True)
    m = n.op("Unsqueeze", mask, axes=[1, 2])
    m = n.op("Mul", n.op("Sub", n.const(1.0), m), n.const(-10000.0))
    h = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        h.append(n.op("Transpose", n.op("Reshape", n.linear(x, 16, 16), n.i64(0, 0, 4, 4)), perm=perm))
    s = n.op("Softmax", n.op("Add", n.op("Div", n.op("MatMul", h[0], h[1]), n.const(2.0)), m), axis=3)
    y = n.op("Reshape", n.op("Transpose", n.op("MatMul", s, h[2]), perm=[0, 2, 1, 3]), n.i64(0, 0, 16))
    x = n.layernorm(n.op("Add", n.linear(y, 16, 16), x), 16, 1e-12)
    first = n.op("Gather", x, n.const(0, np.int64), axis=1)
    n.out(x, n.op("Tanh", n.op("Gemm", first, n.w(16, 16), n.w(16))))
    return n


@idiom
def paddle():
    """Paddle2ONNX: scale and bias around BatchNormalization, hard sigmoid with slope 0.2, shapes as int32 casts, Pow chains."""
    n = Net(11)
    x = n.input(1, 3, 12, 20)
    y = n.conv(x, 3, 8, stride=2, act="", bias=False)
    y = n.op("BatchNormalization", y, n.w(8, positive=True), n.w(8), n.w(8), n.w(8, positive=True))
    y = n.op("Mul", y, n.op("HardSigmoid", y, alpha=0.2, beta=0.5))
    s = n.op("Cast", n.op("Shape", y), to=T.INT32)
    hw = n.op("Cast", n.op("Slice", s, n.i64(2), n.i64(4), n.i64(0)), to=T.INT64)
    n1 = n.op("Cast", n.op("Slice", s, n.i64(0), n.i64(2), n.i64(0)), to=T.INT64)
    up = n.op("Resize", n.conv(y, 8, 8, stride=2), n.const([], np.float32), n.const([], np.float32), n.op("Concat", n1, hw, axis=0),
              mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    y = n.op("Add", y, up)
    y = n.op("ConvTranspose", y, n.w(8, 4, 2, 2), strides=[2, 2])
    n.out(n.op("Sigmoid", n.op("Add", y, n.w(1, 4, 1, 1))))
    return n


@idiom
def rnn_as_run_time_weights():
    """A product of two computed matrices with leading broadcast, a Gemm with transposes, and scalars everywhere."""
    n = Net(13)
    a, b = n.input(2, 1, 4, 6), n.input(3, 6, 5)
    y = n.op("MatMul", a, b)
    z = n.op("Gemm", n.op("Reshape", b, n.i64(6, 15)), n.op("Reshape", a, n.i64(6, 8)), n.w(1, 8), transA=1, alpha=0.3)
    n.out(y, z, n.op("Where", n.op("Greater", a, n.const(0.0)), a, n.const(-1.0)), n.op("MatMul", n.op("Reshape", a, n.i64(-1)), n.w(48)),
          n.op("MatMul", n.w(6, 6), n.op("Reshape", b, n.i64(6, 15))), n.op("MatMul", n.w(3, 5, 6), b))
    return n


@idiom
def qdq_forms():
    """Per-axis and u8 weights with odd zero points, activations by channel, a cast of codes, int16, an output of codes."""
    n = Net(13)
    x = n.input(1, 4, 5, 5)
    s, z = n.const(0.01), n.const(117, np.uint8)
    q = n.op("QuantizeLinear", x, s, z)
    d = n.op("DequantizeLinear", q, s, z)
    w = n.const(n.rng.integers(0, 256, (6, 4, 3, 3)), np.uint8)
    wd = n.op("DequantizeLinear", w, n.const(0.004), n.const(99, np.uint8))
    wp = n.op("DequantizeLinear", n.const(n.rng.integers(-127, 128, (6, 4, 1, 1)), np.int8), n.const(n.rng.uniform(0.001, 0.01, 6)),
              n.const([0] * 6, np.int8), axis=0)
    n.out(n.op("Conv", d, wd), n.op("Conv", d, wp), n.op("Add", d, n.op("Reshape", wp, n.i64(1, 24, 1, 1, 1))))
    c = n.op("QuantizeLinear", x, n.const([0.1, 0.2, 0.05, 0.4]), n.const([3, -4, 0, 9], np.int8), axis=1)
    n.out(n.op("DequantizeLinear", c, n.const([0.1, 0.2, 0.05, 0.4]), n.const([3, -4, 0, 9], np.int8), axis=1))
    n.out(n.op("Cast", q, to=T.FLOAT), n.op("DequantizeLinear", q, n.const(0.02), n.const(100, np.uint8)),
          n.op("MaxPool", n.op("DequantizeLinear", n.op("Transpose", q, perm=[0, 2, 3, 1]), s, z), kernel_shape=[2, 2]))
    n.out(q, cast=True)
    return n


def run(cmd):
    r = subprocess.run(cmd, capture_output=True, text=True)
    return r.returncode, (r.stderr or r.stdout).strip().split("\n")[-1]


def check(name, peer, work):
    n = IDIOMS[name]()
    path = os.path.join(work, name + ".onnx")
    n.save(path)
    with open(path + ".in", "wb") as f:
        for _, _, data in n.ins:
            f.write(data.tobytes())
    code, why = run([os.path.join(TOP, "build/bench/ort_run"), f"--lib={peer}", f"--input={path}.in",
                     f"--output={path}.ort", path])
    if code:
        return "peer refuses: " + why
    code, why = run([MICA, "compile", path, "-o", path + ".mica", "--format=f32"])
    if code:
        return "refused: " + why
    args = []
    for name_, _, data in n.ins:
        data.tofile(f"{path}.{name_}.bin")
        args.append(f"--input={name_}={path}.{name_}.bin")
    code, why = run([MICA, "run", path + ".mica", "--backend=cpu", f"--output={path}.d", *args])
    if code:
        return "run: " + why
    want, at = np.fromfile(path + ".ort", np.float32), 0
    for o in n.outs:
        got = np.load(f"{path}.d/{o}.npy").ravel()
        w = want[at:at + got.size]
        at += got.size
        bad = ~((np.abs(got - w) <= 1e-4 * np.abs(w) + 1e-5 * max(1.0, np.abs(w[np.isfinite(w)]).max(initial=0))) |
                (np.isnan(got) & np.isnan(w)) | (got == w))
        if w.size != got.size or bad.any():
            i = int(np.argmax(bad)) if w.size == got.size else 0
            return f"WRONG: {o}: {int(bad.sum())} of {got.size}, element {i} is {got[i]:g}, not {w[i] if w.size else 0:g}"
    return None if at == want.size else f"WRONG: {want.size} numbers, not {at}"


def main():
    opts = dict(a[2:].split("=", 1) if "=" in a else (a[2:], "") for a in sys.argv[1:])
    if "list" in opts:
        print("\n".join(IDIOMS))
        return 0
    peer = subprocess.run([os.path.join(TOP, "bench/peer.sh")], capture_output=True, text=True, check=True).stdout.strip()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        work = opts.get("keep", tmp)
        os.makedirs(work, exist_ok=True)
        for name in IDIOMS:
            if opts.get("only", "") not in name:
                continue
            why = check(name, peer, work)
            bad += why is not None
            print(f"{name}: {why or 'ok'}", flush=True)
    print(f"{bad} differ or are refused")
    return bad != 0


sys.exit(main())

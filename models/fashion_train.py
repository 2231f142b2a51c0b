#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train small Fashion-MNIST networks, simulate INT8/FP8 quantization, export ONNX.

  train.py train NAME [--epochs N]   train in FP32, write CKPT/NAME.pt
  train.py tune NAME                 2 more epochs from CKPT/NAME.pt without shifts (used for fashion_convvit)
  train.py export NAME               write OUT/NAME*.onnx (BatchNormalization kept, and folded)
  train.py simulate NAME             fake-quant top-1 table, write CKPT/NAME.sim.json
  train.py qat                       fake-quant fine-tune fashion_mobilenetv2, export OUT/fashion_mobilenetv2_qat.onnx
  train.py unequal                   derive CKPT/fashion_resnet_unequal{3,4}.pt from fashion_resnet (then export / simulate)
  train.py ref NAME                  torch logits of the first 32 test images (raw float32) in CKPT
  train.py idx                       write OUT/fashion_test_1000*.idx

NAME: fashion_mobilenetv2 | fashion_resnet | fashion_convvit | fashion_resnet_unequal{3,4} (derived)
Needs: torch 1.13, onnx 1.12, numpy; data: Debian package dataset-fashion-mnist (FASHION_DIR).
Run with OMP_NUM_THREADS=1 for a bit-reproducible run on one machine type (fixed seed, no data-loader workers).
"""
import argparse, copy, gzip, json, math, os, struct, time
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

DATA = os.environ.get("FASHION_DIR", "/usr/share/datasets/fashion-mnist")
OUT = os.environ.get("OUT_DIR", os.path.dirname(os.path.abspath(__file__)))
CKPT = os.environ.get("CKPT_DIR", os.path.join(OUT, "ckpt"))
SEED = 20240607
MEAN, STD = 0.2860, 0.3530          # of the 60,000 training images, x/255
CL = torch.channels_last


# ------------------------------------------------------------------ data
def read_idx(name):
    path = os.path.join(DATA, name)
    op = gzip.open if not os.path.exists(path) else open
    with op(path if op is open else path + ".gz", "rb") as f:
        b = f.read()
    nd = b[3]
    dims = struct.unpack(">%dI" % nd, b[4:4 + 4 * nd])
    return np.frombuffer(b, np.uint8, offset=4 + 4 * nd).reshape(dims)


def load(split):
    p = {"train": "train", "test": "t10k"}[split]
    x = torch.from_numpy(read_idx(p + "-images-idx3-ubyte").copy())
    y = torch.from_numpy(read_idx(p + "-labels-idx1-ubyte").astype(np.int64))
    return x, y


def norm(u8):                        # uint8 [N,28,28] -> float [N,1,28,28]
    return ((u8.float() / 255.0 - MEAN) / STD).unsqueeze(1)


def augment(padded, idx, pad, g):    # random shift by up to +-pad pixels, horizontal flip
    n = len(idx)
    oy = torch.randint(0, 2 * pad + 1, (n, 1), generator=g)
    ox = torch.randint(0, 2 * pad + 1, (n, 1), generator=g)
    flip = torch.rand(n, 1, generator=g) < 0.5
    r = torch.arange(28)[None]
    cols = ox + torch.where(flip, 27 - r, r)
    return padded[idx[:, None, None], (oy + r)[:, :, None], cols[:, None, :]]


# ------------------------------------------------------------------ networks
def cbr(ci, co, k, s=1, g=1, act=None):
    m = [nn.Conv2d(ci, co, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(co)]
    return nn.Sequential(*m, act) if act else nn.Sequential(*m)


class InvertedResidual(nn.Module):
    def __init__(self, ci, co, t, s):
        super().__init__()
        h = ci * t
        self.use_res = s == 1 and ci == co
        self.expand = cbr(ci, h, 1, act=nn.ReLU6())
        self.dw = cbr(h, h, 3, s, h, act=nn.ReLU6())
        self.project = cbr(h, co, 1)

    def forward(self, x):
        y = self.project(self.dw(self.expand(x)))
        return x + y if self.use_res else y


class MobileNetV2(nn.Module):
    CFG = [(3, 24, 1, 2), (4, 24, 1, 1), (6, 48, 3, 2), (6, 80, 3, 1)]   # t, c, n, s

    def __init__(self):
        super().__init__()
        self.stem = cbr(1, 16, 3, act=nn.ReLU6())
        blocks, ci = [], 16
        for t, c, n, s in self.CFG:
            for i in range(n):
                blocks.append(InvertedResidual(ci, c, t, s if i == 0 else 1))
                ci = c
        self.blocks = nn.Sequential(*blocks)
        self.head = cbr(ci, 256, 1, act=nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(256, 10)

    def forward(self, x):
        x = self.head(self.blocks(self.stem(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


class BasicBlock(nn.Module):
    def __init__(self, ci, co, s):
        super().__init__()
        self.c1 = cbr(ci, co, 3, s, act=nn.ReLU())
        self.c2 = cbr(co, co, 3)
        self.down = cbr(ci, co, 1, s) if s != 1 or ci != co else nn.Identity()

    def forward(self, x):
        return F.relu(self.down(x) + self.c2(self.c1(x)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = cbr(1, 16, 3, act=nn.ReLU())
        self.blocks = nn.Sequential(
            BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 32, 1),
            BasicBlock(32, 64, 2), BasicBlock(64, 64, 1), BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.h, self.s = heads, (d // heads) ** -0.5
        self.q, self.k, self.v, self.proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x):
        b, n, d = x.shape
        q = self.q(x).reshape(b, n, self.h, d // self.h).permute(0, 2, 1, 3)
        k = self.k(x).reshape(b, n, self.h, d // self.h).permute(0, 2, 3, 1)
        v = self.v(x).reshape(b, n, self.h, d // self.h).permute(0, 2, 1, 3)
        a = torch.softmax(torch.matmul(q * self.s, k), dim=-1)
        return self.proj(torch.matmul(a, v).permute(0, 2, 1, 3).reshape(b, n, d))


class Layer(nn.Module):
    def __init__(self, d, heads, ratio):
        super().__init__()
        self.n1, self.att = nn.LayerNorm(d), Attention(d, heads)
        self.n2, self.f1, self.f2 = nn.LayerNorm(d), nn.Linear(d, d * ratio), nn.Linear(d * ratio, d)

    def forward(self, x):
        x = x + self.att(self.n1(x))
        return x + self.f2(F.gelu(self.f1(self.n2(x))))


class ConvNeXtBlock(nn.Module):
    def __init__(self, d, ratio):
        super().__init__()
        self.dw, self.n = nn.Conv2d(d, d, 5, 1, 2, groups=d), nn.LayerNorm(d)
        self.f1, self.f2 = nn.Linear(d, d * ratio), nn.Linear(d * ratio, d)

    def forward(self, x):
        y = self.n(self.dw(x).permute(0, 2, 3, 1))
        return x + self.f2(F.gelu(self.f1(y))).permute(0, 3, 1, 2)


class ConvViT(nn.Module):
    """Conv stem, ConvNeXt blocks at 14x14, strided conv to 7x7 = 49 tokens, pre-norm transformer layers."""
    def __init__(self, c=48, d=96, convs=2, depth=3, heads=4):
        super().__init__()
        self.stem = nn.Conv2d(1, c, 4, 2, 1)
        self.convs = nn.Sequential(*[ConvNeXtBlock(c, 3) for _ in range(convs)])
        self.n1 = nn.LayerNorm(c)
        self.down = nn.Conv2d(c, d, 3, 2, 1)
        self.pos = nn.Conv2d(d, d, 3, 1, 1, groups=d)          # conditional position encoding
        self.layers = nn.Sequential(*[Layer(d, heads, 4) for _ in range(depth)])
        self.n2 = nn.LayerNorm(d)
        self.fc = nn.Linear(d, 10)

    def forward(self, x):
        x = self.convs(self.stem(x))
        x = self.down(self.n1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        x = x + self.pos(x)
        x = x.flatten(2).permute(0, 2, 1)
        return self.fc(self.n2(self.layers(x)).mean(1))


NETS = {"fashion_mobilenetv2": MobileNetV2, "fashion_resnet": ResNet, "fashion_convvit": ConvViT,
        "fashion_resnet_unequal3": ResNet, "fashion_resnet_unequal4": ResNet}
HYPER = {   # optimizer, peak learning rate, weight decay, epochs
    "fashion_mobilenetv2": ("sgd", 0.10, 1e-4, 7),
    "fashion_resnet": ("sgd", 0.10, 5e-4, 7),
    "fashion_convvit": ("adamw", 3e-3, 0.02, 6),
}


def build(name):
    torch.manual_seed(SEED)
    return NETS[name]()


# ------------------------------------------------------------------ train / test
@torch.no_grad()
def top1(model, x, y, bs=500):
    model.eval()
    ok = 0
    for i in range(0, len(x), bs):
        ok += (model(norm(x[i:i + bs]).contiguous(memory_format=CL)).argmax(1) == y[i:i + bs]).sum().item()
    return ok / len(x)


def train(name, epochs=None, bs=128, limit=None, tune=False):
    kind, lr, wd, ep = HYPER[name]
    ep = epochs or ep
    m = build(name).to(memory_format=CL)
    if tune:                         # second cycle from CKPT/NAME.pt at half the learning rate, flips but no shifts
        m.load_state_dict(torch.load(os.path.join(CKPT, name + ".pt")))
        lr = lr / 2
    x, y = load("train")
    tx, ty = load("test")
    pad = 0 if tune else 2
    xp = F.pad(x, (pad,) * 4)
    g = torch.Generator().manual_seed(SEED + (3 if tune else 0))
    decay = [p for p in m.parameters() if p.dim() > 1]
    nodecay = [p for p in m.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": wd}, {"params": nodecay, "weight_decay": 0.0}]
    opt = (torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True) if kind == "sgd"
           else torch.optim.AdamW(groups, lr=lr))
    steps = ep * (len(x) // bs)
    sch = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps, pct_start=0.2,
                                              div_factor=10, final_div_factor=1000)
    t0 = time.time()
    it = 0
    for e in range(ep):
        m.train()
        perm = torch.randperm(len(x), generator=g)
        tot = 0.0
        for i in range(0, len(x) - bs + 1, bs):
            idx = perm[i:i + bs]
            xb = norm(augment(xp, idx, pad, g)).contiguous(memory_format=CL)
            loss = F.cross_entropy(m(xb), y[idx], label_smoothing=0.05)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            if kind == "adamw":
                nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            opt.step()
            sch.step()
            tot += loss.item()
            it += 1
            if limit and it >= limit:
                print("%s: %.1f ms/step, %d steps/epoch" % (name, (time.time() - t0) / it * 1e3, len(x) // bs))
                return
        print("%s epoch %d/%d loss %.4f test %.4f  %.0fs" % (
            name, e + 1, ep, tot / (len(x) // bs), top1(m, tx, ty), time.time() - t0), flush=True)
    os.makedirs(CKPT, exist_ok=True)
    torch.save(m.state_dict(), os.path.join(CKPT, name + ".pt"))


# ------------------------------------------------------------------ quantization simulation
def trained(name):
    m = build(name)
    m.load_state_dict({k: v.contiguous() for k, v in torch.load(os.path.join(CKPT, name + ".pt")).items()})
    return m.eval()


def fold_bn(m):                      # every (Conv2d, BatchNorm2d) pair in a Sequential -> Conv2d with bias
    m = copy.deepcopy(m).eval()
    for s in [s for s in m.modules() if isinstance(s, nn.Sequential)]:
        for i in range(len(s) - 1):
            if isinstance(s[i], nn.Conv2d) and isinstance(s[i + 1], nn.BatchNorm2d):
                s[i] = nn.utils.fuse_conv_bn_eval(s[i], s[i + 1])
                s[i + 1] = nn.Identity()
    return m


def round_int8(x, amax):             # symmetric, scale = amax / 127
    s = (amax / 127.0).clamp_min(1e-12)
    return torch.clamp(torch.round(x / s), -128, 127) * s


def round_fp8(x, amax, mbits, emin, top):   # scaled so that amax maps to the format's largest value
    s = (amax / top).clamp_min(1e-30)
    v = torch.clamp(x / s, -top, top)
    e = torch.frexp(v)[1] - 1
    step = torch.ldexp(torch.ones_like(v), torch.clamp_min(e, emin) - mbits)
    return torch.round(v / step) * step * s


FORMATS = {
    "int8": round_int8,
    "e4m3": lambda x, a: round_fp8(x, a, 3, -6, 448.0),
    "e5m2": lambda x, a: round_fp8(x, a, 2, -14, 57344.0),
}


def layers(m):
    return [(n, l) for n, l in m.named_modules() if isinstance(l, (nn.Conv2d, nn.Linear))]


@torch.no_grad()
def calibrate(m, x, bs=128, pct=None):   # per-tensor amax (or |x| percentile) of every conv / linear input
    amax, hooks = {}, []
    def hook(n):
        def f(mod, inp):
            a = inp[0].abs()
            v = a.max() if pct is None else torch.from_numpy(np.asarray(np.percentile(a.numpy(), pct), np.float32))
            amax.setdefault(n, []).append(v)
        return f
    for n, l in layers(m):
        hooks.append(l.register_forward_pre_hook(hook(n)))
    for i in range(0, len(x), bs):
        m(norm(x[i:i + bs]).contiguous(memory_format=CL))
    for h in hooks:
        h.remove()
    return {n: (torch.stack(v).max() if pct is None else torch.stack(v).mean()) for n, v in amax.items()}


@torch.no_grad()
def fake_quant(m, fmt, per_channel, amax, weights=True, acts=True):
    m = copy.deepcopy(m).to(memory_format=CL)
    f = FORMATS[fmt]
    for n, l in layers(m):
        w = l.weight
        wa = w.abs().flatten(1).amax(1).reshape(-1, *[1] * (w.dim() - 1)) if per_channel else w.abs().max()
        if weights:
            w.copy_(f(w, wa))
        if acts:
            l.register_forward_pre_hook(lambda mod, inp, a=amax[n]: (f(inp[0], a),))
    return m


def simulate(name, ncal=512):
    m = fold_bn(trained(name)).to(memory_format=CL)
    cx, _ = load("train")
    x, y = load("test")
    amax = calibrate(m, cx[:ncal])
    res = {"params": sum(p.numel() for p in NETS[name]().parameters())}
    rows = [("FP32 (BN kept)", lambda: trained(name).to(memory_format=CL)),
            ("FP32 (BN folded)", lambda: m),
            ("INT8 per-tensor W, MAX", lambda: fake_quant(m, "int8", False, amax)),
            ("INT8 per-channel W, MAX", lambda: fake_quant(m, "int8", True, amax)),
            ("FP8 E4M3 per-tensor, MAX", lambda: fake_quant(m, "e4m3", False, amax)),
            ("FP8 E5M2 per-tensor, MAX", lambda: fake_quant(m, "e5m2", False, amax)),
            ("INT8 per-tensor W only", lambda: fake_quant(m, "int8", False, amax, acts=False)),
            ("INT8 activations only, MAX", lambda: fake_quant(m, "int8", False, amax, weights=False))]
    for k, f in rows:
        res[k] = top1(f(), x, y)
        print(name, k, "%.2f" % (100 * res[k]), flush=True)
    json.dump(res, open(os.path.join(CKPT, name + ".sim.json"), "w"), indent=1)


# ------------------------------------------------------------------ ONNX export
def export(name):
    from torch.onnx import TrainingMode
    m = trained(name)
    mk = dict(opset_version=13, input_names=["input"], output_names=["logits"])
    b1, b8 = torch.zeros(1, 1, 28, 28), torch.zeros(8, 1, 28, 28)
    keep = dict(training=TrainingMode.PRESERVE, do_constant_folding=False)
    fold = dict(training=TrainingMode.EVAL, do_constant_folding=True)
    torch.onnx.export(m, b1, os.path.join(OUT, name + ".onnx"), **mk, **keep)
    torch.onnx.export(m, b1, os.path.join(OUT, name + "_folded.onnx"), **mk, **fold)
    if name == "fashion_resnet":
        torch.onnx.export(m, b8, os.path.join(OUT, name + "_b8.onnx"), **mk, **keep)


# ------------------------------------------------------------------ QAT (MobileNetV2, BN folded)
class QAct(nn.Module):               # per-tensor symmetric int8, scale fixed after MAX calibration
    def __init__(self):
        super().__init__()
        self.register_buffer("amax", torch.zeros(()))
        self.calib = False

    @property
    def scale(self):
        return self.amax / 127.0

    def forward(self, x):
        if self.calib:
            self.amax = torch.maximum(self.amax, x.detach().abs().max())
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.scale, torch.zeros((), dtype=torch.int32), -128, 127)


def wscale(w):                       # per output channel
    return (w.detach().abs().flatten(1).amax(1) / 127.0).clamp_min(1e-8)


def fq_weight(w):
    s = wscale(w)
    return torch.fake_quantize_per_channel_affine(w, s, torch.zeros(len(s), dtype=torch.int32), 0, -128, 127)


class QConv(nn.Module):
    def __init__(self, seq, quant_input=True):
        super().__init__()
        c = seq[0]
        self.conv = c
        self.relu6 = any(isinstance(l, nn.ReLU6) for l in seq)
        self.q = QAct() if quant_input else None

    def forward(self, x):
        if self.q is not None:
            x = self.q(x)
        c = self.conv
        y = F.conv2d(x, fq_weight(c.weight), c.bias, c.stride, c.padding, c.dilation, c.groups)
        return F.relu6(y) if self.relu6 else y


class QInvertedResidual(nn.Module):  # the block input is quantized once and feeds both expand and the residual add
    def __init__(self, b):
        super().__init__()
        self.use_res = b.use_res
        self.q = QAct()
        self.expand, self.dw, self.project = QConv(b.expand, False), QConv(b.dw), QConv(b.project)

    def forward(self, x):
        x = self.q(x)
        y = self.project(self.dw(self.expand(x)))
        return x + y if self.use_res else y


class QMobileNetV2(nn.Module):
    def __init__(self, m):           # m: BN-folded MobileNetV2
        super().__init__()
        self.stem = QConv(m.stem)
        self.blocks = nn.Sequential(*[QInvertedResidual(b) for b in m.blocks])
        self.head = QConv(m.head)
        self.q = QAct()
        self.fc = m.fc

    def forward(self, x):
        x = self.head(self.blocks(self.stem(x)))
        x = self.q(x.mean((2, 3)))
        return F.linear(x, fq_weight(self.fc.weight), self.fc.bias)


def qat(bs=128, lr=0.004, ncal=1024, steps=None):
    x, y = load("train")
    tx, ty = load("test")
    m = QMobileNetV2(fold_bn(trained("fashion_mobilenetv2"))).to(memory_format=CL)
    acts = [a for a in m.modules() if isinstance(a, QAct)]
    for a in acts:
        a.calib = True
    with torch.no_grad():
        for i in range(0, ncal, bs):
            m(norm(x[i:i + bs]).contiguous(memory_format=CL))
    for a in acts:
        a.calib = False
    res = {"PTQ per-channel, same Q/DQ placement": top1(m, tx, ty)}
    print("before QAT", res, flush=True)
    g = torch.Generator().manual_seed(SEED + 1)
    opt = torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=1e-5)
    perm = torch.randperm(len(x), generator=g)
    steps = steps or len(x) // bs
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    xp = F.pad(x, (2,) * 4)
    m.train()
    t0, tot = time.time(), 0.0
    for it in range(steps):
        idx = perm[it * bs:(it + 1) * bs]
        loss = F.cross_entropy(m(norm(augment(xp, idx, 2, g)).contiguous(memory_format=CL)), y[idx], label_smoothing=0.05)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        sch.step()
        tot += loss.item()
        if it % 50 == 49:
            print("qat step %d loss %.4f %.0fs" % (it + 1, tot / 50, time.time() - t0), flush=True)
            tot = 0.0
    res["QAT"] = top1(m, tx, ty)
    res["steps"] = steps
    print(res, flush=True)
    torch.save(m.state_dict(), os.path.join(CKPT, "fashion_mobilenetv2_qat.pt"))
    json.dump(res, open(os.path.join(CKPT, "fashion_mobilenetv2_qat.sim.json"), "w"), indent=1)
    qat_export()


def qat_model():
    m = QMobileNetV2(fold_bn(build("fashion_mobilenetv2")))
    m.load_state_dict({k: v.contiguous() for k, v in torch.load(os.path.join(CKPT, "fashion_mobilenetv2_qat.pt")).items()})
    return m.eval()


def qat_export():
    """Write the Q/DQ graph by hand: int8 weight initializers + DequantizeLinear(axis 0), float biases,
    per-tensor QuantizeLinear/DequantizeLinear on activations (zero point 0)."""
    import onnx
    from onnx import helper as h, numpy_helper as nh, TensorProto as TP
    m = qat_model()
    nodes, inits = [], [nh.from_array(np.zeros((), np.int8), "zp")]

    def init(name, a):
        inits.append(nh.from_array(np.ascontiguousarray(a), name))
        return name

    def node(op, ins, name, **kw):
        nodes.append(h.make_node(op, ins, [name + "_out"], name=name, **kw))
        return name + "_out"

    def qdq(x, q, name):
        s = init(name + "_scale", q.scale.numpy().astype(np.float32).reshape(()))
        return node("DequantizeLinear", [node("QuantizeLinear", [x, s, "zp"], name + "_q"), s, "zp"], name + "_dq")

    def weight(w, name):
        s = wscale(w)
        q = torch.clamp(torch.round(w.detach() / s.reshape(-1, *[1] * (w.dim() - 1))), -128, 127).to(torch.int8)
        return node("DequantizeLinear", [init(name + "_w_int8", q.numpy()), init(name + "_w_scale", s.numpy()),
                                         init(name + "_w_zp", np.zeros(len(s), np.int8))], name + "_w_dq", axis=0)

    def conv(x, c, name):
        if c.q is not None:
            x = qdq(x, c.q, name + "_in")
        k = c.conv
        y = node("Conv", [x, weight(k.weight, name), init(name + "_b", k.bias.detach().numpy())], name,
                 kernel_shape=list(k.kernel_size), strides=list(k.stride), dilations=[1, 1], group=k.groups,
                 pads=[k.padding[0], k.padding[1]] * 2)
        return node("Clip", [y, "clip_min", "clip_max"], name + "_relu6") if c.relu6 else y

    init("clip_min", np.zeros((), np.float32))
    init("clip_max", np.full((), 6, np.float32))
    x = conv("input", m.stem, "stem")
    for i, b in enumerate(m.blocks):
        n = "block%d" % i
        x = qdq(x, b.q, n + "_in")
        y = conv(conv(conv(x, b.expand, n + "_expand"), b.dw, n + "_dw"), b.project, n + "_project")
        x = node("Add", [x, y], n + "_add") if b.use_res else y
    x = conv(x, m.head, "head")
    x = node("Flatten", [node("GlobalAveragePool", [x], "gap")], "flatten", axis=1)
    x = qdq(x, m.q, "fc_in")
    nodes.append(h.make_node("Gemm", [x, weight(m.fc.weight, "fc"), init("fc_b", m.fc.bias.detach().numpy())],
                             ["logits"], name="fc", transB=1))
    g = h.make_graph(nodes, "fashion_mobilenetv2_qat",
                     [h.make_tensor_value_info("input", TP.FLOAT, [1, 1, 28, 28])],
                     [h.make_tensor_value_info("logits", TP.FLOAT, [1, 10])], inits)
    mod = h.make_model(g, opset_imports=[h.make_opsetid("", 13)], producer_name="train.py")
    mod.ir_version = 7
    mod = onnx.shape_inference.infer_shapes(mod)
    onnx.checker.check_model(mod, full_check=True)
    onnx.save(mod, os.path.join(OUT, "fashion_mobilenetv2_qat.onnx"))


def unequal(span):
    """fashion_resnet with the same function but uneven channel ranges: inside each block, channel c between the two 3x3
    convolutions is multiplied by 2^k (k uniform in -span..span) in the first BatchNorm and divided in the second
    convolution. ReLU commutes with a positive scale and powers of two are exact, so FP32 results do not change."""
    m = trained("fashion_resnet")
    g = torch.Generator().manual_seed(SEED + 2)
    with torch.no_grad():
        for b in m.blocks:
            bn, c2 = b.c1[1], b.c2[0]
            s = torch.ldexp(torch.ones(bn.num_features), torch.randint(-span, span + 1, (bn.num_features,), generator=g))
            bn.weight.mul_(s)
            bn.bias.mul_(s)
            c2.weight.div_(s.reshape(1, -1, 1, 1))
    torch.save(m.state_dict(), os.path.join(CKPT, "fashion_resnet_unequal%d.pt" % span))


# ------------------------------------------------------------------ small test file, reference logits
def write_idx(n=1000):
    x, y = load("test")
    xi = struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + x[:n].numpy().tobytes()
    yi = struct.pack(">4BI", 0, 0, 8, 1, n) + y[:n].numpy().astype(np.uint8).tobytes()
    for p, b in (("fashion_test_1000.idx", xi + yi), ("fashion_test_1000-images-idx3-ubyte", xi),
                 ("fashion_test_1000-labels-idx1-ubyte", yi)):
        with open(os.path.join(OUT, p), "wb") as f:
            f.write(b)


@torch.no_grad()
def reference(name, n=32):           # torch logits of the first n test images, float32 raw
    m = qat_model() if name.endswith("_qat") else trained(name)
    x, _ = load("test")
    m(norm(x[:n])).numpy().astype("<f4").tofile(os.path.join(CKPT, name + ".ref32.f32"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("cmd", choices=["train", "tune", "export", "simulate", "qat", "unequal", "idx", "ref"])
    ap.add_argument("name", nargs="?")
    ap.add_argument("--epochs", type=int)
    ap.add_argument("--limit", type=int, help="stop after this many steps (timing, smoke test)")
    a = ap.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    os.makedirs(CKPT, exist_ok=True)
    if a.cmd == "train":
        train(a.name, a.epochs, limit=a.limit)
    elif a.cmd == "tune":
        train(a.name, a.epochs or 2, limit=a.limit, tune=True)
    elif a.cmd == "export":
        export(a.name)
    elif a.cmd == "simulate":
        simulate(a.name)
    elif a.cmd == "qat":
        qat(steps=a.limit)
    elif a.cmd == "unequal":
        unequal(3)
        unequal(4)
    elif a.cmd == "idx":
        write_idx()
    else:
        reference(a.name)


if __name__ == "__main__":
    main()

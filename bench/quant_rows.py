# SPDX-License-Identifier: MIT
"""What bench/quant.py measures: the rows of docs/quantization.md's tables and the targets that they are held against. A file
bench/qtables/MODEL-*.qtable is a row of its model's photos: its lines '# row: NAME', '# options: OPTION...' (of `mica compile`) and,
perhaps, '# target: COSINE' say so."""
import glob
import re
from typing import NamedTuple, Optional

FASHION = ["fashion_mobilenetv2", "fashion_resnet", "fashion_resnet_unequal4"]
QAT = "fashion_mobilenetv2_qat"
PHOTOS = {
    "mobilenet_v2_224": ["--mul=0.00392156863"],
    "nanodet_g_416": ["--channels=bgr", "--mean=103.53, 116.28, 123.675", "--std=57.375, 57.12, 58.395"],
    "posenet_mbv1_385": ["--mul=0.00784313725", "--mean=1"],
}
NO_DEPTHWISE = {"fashion_resnet", "fashion_resnet_unequal4", "nanodet_g_416"}

I8, E4, E5, NONE = "--format=int8", "--format=e4m3", "--format=e5m2", "--method=none"
ASYM, TENSOR = "--activations=asymmetric", "--weights=per-tensor"
INT8_BEST, E4_BEST, E5_BEST = "INT8, zero points, cle, adaround", "E4M3, depthwise, center, adaround", "E5M2, depthwise, center, adaround"


class Row(NamedTuple):
    """search: options of `mica sensitivity`, whose qtable (and calibration table, if it was made without repairs) compile
    gets; the operators that it keeps in f32 are in `kept` then. left_out: photos are also measured one by one, each left
    out of the samples."""
    name: str
    options: list
    search: Optional[list] = None
    kept: str = "f32"
    left_out: bool = True
    models: Optional[list] = None   # only these
    instead: Optional[str] = None   # that model is measured

    def suits(self, model):
        """Without depthwise layers the repair of that name is none, and the row the same as one without it."""
        return model in (self.models or [model]) and not ("depthwise" in self.name and model in NO_DEPTHWISE)


def with_repair(*names):
    return "--repair=" + ",".join(names)


def each(name, options, repairs):
    return [Row(f"{name}, {r}", [*options, with_repair(r)], left_out=r != "adaround") for r in repairs]


def fp8_rows(name, fmt):
    """The same for e4m3 and e5m2. Without samples only those repairs are left that look at the weights alone."""
    return [
        Row(name, [fmt]),
        Row(f"{name}, no calibration", [fmt, NONE]),
        Row(f"{name}, no calibration, wmse", [fmt, NONE, with_repair("wmse")]),
        Row(f"{name}, no calibration, depthwise", [fmt, NONE, with_repair("depthwise")]),
        *each(name, [fmt], ("cle", "wmse", "depthwise", "center", "adaround", "bias")),
        Row(f"{name}, depthwise, adaround", [fmt, with_repair("depthwise", "adaround")], left_out=False),
        Row(f"{name}, center, adaround", [fmt, with_repair("center", "adaround")]),
        Row(f"{name}, depthwise, center, adaround", [fmt, with_repair("depthwise", "center", "adaround")]),
    ]


INT8_REPAIRS = ("cle", "wmse", "center", "adaround", "bias")
INT8_ROWS = [
    Row("INT8 per tensor", [I8, TENSOR]),
    *each("INT8 per tensor", [I8, TENSOR], INT8_REPAIRS),
    Row("INT8 per tensor, zero points, cle, adaround", [I8, TENSOR, ASYM, with_repair("cle", "adaround")]),
    Row("INT8", [I8]),
    Row("INT8, kl", [I8, "--method=kl"]),
    Row("INT8, pow2 scales", [I8, "--scales=pow2"]),
    Row("INT8, zero points", [I8, ASYM]),
    *each("INT8", [I8], INT8_REPAIRS),
    Row(INT8_BEST, [I8, ASYM, with_repair("cle", "adaround")]),
]
COMMON = [Row("FP32", ["--format=f32"]), Row("BF16", ["--format=bf16"]), *INT8_ROWS, *fp8_rows("E4M3", E4), *fp8_rows("E5M2", E5)]

TO_COSINE = ["--methods=max,kl,percentile", "--target-cos=0.999"]
TOP1_ROWS = [
    *COMMON,
    Row("INT8 per tensor, by search", [I8, TENSOR], search=[*TO_COSINE]),
    Row("INT8, by search", [I8], search=[*TO_COSINE]),
    Row("INT8, by search, kept in bf16", [I8], search=[*TO_COSINE], kept="bf16"),
    Row("INT8, by search, kept in e4m3", [I8], search=[*TO_COSINE], kept="e4m3"),
    Row("E4M3, by search", [E4], search=[*TO_COSINE]),
    Row("E5M2, by search", [E5], search=[*TO_COSINE]),
    Row("INT8, trained with Q/DQ nodes", [], models=FASHION[:1], instead=QAT),
]

FIVE = ["--max-float-layers=5", "--target-cos=0.99", "--over=worst", "--order=loss"]
SEARCHED = ["mobilenet_v2_224", "posenet_mbv1_385"]
PHOTO_ROWS = [
    *COMMON,
    Row("INT8 per tensor, by search", [I8, TENSOR], search=FIVE, models=SEARCHED),
    Row("INT8 per tensor, by search, zero points, cle, adaround", [I8, TENSOR, ASYM, with_repair("cle", "adaround")], search=FIVE, models=SEARCHED),
    Row("INT8, zero points, by search", [I8, ASYM], search=[*FIVE, "--methods=max,kl,percentile,mse"], models=SEARCHED),
    Row("E4M3, by search", [E4], search=FIVE, models=SEARCHED),
    Row("E4M3, depthwise, by search", [E4, with_repair("depthwise")], search=[*FIVE, with_repair("depthwise")], models=SEARCHED),
    Row("E4M3, depthwise, by search, center, adaround", [E4, with_repair("depthwise", "center", "adaround")],
        search=[*FIVE, with_repair("depthwise")], models=SEARCHED),
]

LAYER_FORMATS = ["e4m3", "int8", "e5m2"]
LAYER_ROWS = [Row("each layer alone", ["--formats=" + ",".join(LAYER_FORMATS)])]
MODELS = {"layers": SEARCHED, "top1": FASHION, "photos": list(PHOTOS)}    # cheap parts first


class Target(NamedTuple):
    """At least `least` (top-1 in percent, cosine of the worst output), or at most `below` less than the model in FP32."""
    what: str
    part: str
    rows: dict      # {model: row}
    least: Optional[float] = None
    below: Optional[float] = None


def of(row, models):
    return {m: row for m in models}


def best_of(plain, models):
    return {m: plain.replace("depthwise, ", "") if m in NO_DEPTHWISE else plain for m in models}


UNEQUAL = "fashion_resnet_unequal4"
TARGETS = [
    Target("INT8 with repairs: FP32 - 0.3", "top1", of(INT8_BEST, FASHION), below=0.3),
    Target("INT8, equalization alone: 92.8", "top1", of("INT8, cle", [UNEQUAL]), least=92.8),
    Target("INT8, the search alone: 92.8", "top1", of("INT8, by search", [UNEQUAL]), least=92.8),
    Target("E4M3 with repairs: FP32 - 0.4", "top1", best_of(E4_BEST, FASHION), below=0.4),
    Target("E4M3 without calibration: FP32 - 1.0", "top1", of("E4M3, no calibration", FASHION), below=1.0),
    Target("E5M2 with repairs: FP32 - 1.2", "top1", best_of(E5_BEST, FASHION), below=1.2),
    Target("Q/DQ model: ONNX Runtime's 92.84 - 0.1", "top1", of("INT8, trained with Q/DQ nodes", FASHION[:1]), least=92.74),
    Target("INT8 with repairs: cosine 0.99", "photos", of(INT8_BEST, PHOTOS), least=0.99),
    Target("E4M3 with repairs: cosine 0.995", "photos", best_of(E4_BEST, PHOTOS), least=0.995),
    Target("INT8 per tensor, at most 5 layers in f32: 0.99", "photos",
           of("INT8 per tensor, by search, zero points, cle, adaround", SEARCHED), least=0.99),
    Target("INT8, no repair, at most 5 layers in f32: 0.99", "photos", of("INT8, zero points, by search", SEARCHED), least=0.99),
]


def qtables(model):
    """[(row, target or None)] of the qtables for a model, by number: finer2 before finer12."""
    found = []
    for path in sorted(glob.glob(f"bench/qtables/{model}-*.qtable"), key=lambda p: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", p)]):
        with open(path, encoding="utf-8") as f:
            said = dict(re.findall(r"^# (row|options|target): (.*)$", f.read(), re.M))
        if not {"row", "options"} <= set(said):
            raise RuntimeError(f"{path}: '# row: NAME' and '# options: OPTION...' are missing")
        found.append((Row(said["row"], [*said["options"].split(), f"--qtable={path}"]), said.get("target")))
    return found


def rows_of(part, model):
    rows = {"layers": LAYER_ROWS, "top1": TOP1_ROWS}.get(part) or [*PHOTO_ROWS, *(row for row, _ in qtables(model))]
    return [r for r in rows if r.suits(model)]


def targets():
    """Layers that a qtable keeps finer are a repair, too, and the target says that there are some."""
    return TARGETS + [Target(f"E4M3 with repairs and a qtable: cosine {least}", "photos", {m: row.name}, least=float(least))
                      for m in PHOTOS for row, least in qtables(m) if least]

# SPDX-License-Identifier: MIT
"""The models that are measured: where they are, the inputs that calibrate both sides, and the files made of them: MICA's
.mica per format, the peer's INT8. All of it lives in build/bench/ and is made anew when something older than it changed."""
import gzip
import os
import subprocess
import sys

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper
    sys.path.insert(0, "bench/peer")
    import quantize
    import seed
    WHY_NOT = None
except ImportError as error:
    np = onnx = None
    WHY_NOT = f"{error.name} for Python is missing (apt-get install python3-onnx)"

BUILD = "build/bench"
FORMATS = ["e4m3", "e5m2", "int8", "bf16", "f32"]
KINDS = ["u8", "s8"]
PHOTOS = "models/photos"
IMAGENET = ["--mul=0.0039215686", "--mean=0.485,0.456,0.406", "--std=0.229,0.224,0.225"]
FASHION = ("/usr/share/datasets/fashion-mnist", "/usr/share/dataset-fashion-mnist", "/usr/share/fashion-mnist")

# name: the file below models/ or ../shared/models/; how a photo becomes its input, where no sidecar says so.
MODELS = {
    "light_resnet50": {"file": "light/light_resnet50.onnx", "photo": IMAGENET, "size": (3, 224, 224), "seeded": True},
    "nanodet_g_416": {"file": "nanodet_g_416.onnx", "photo": ["--sidecar=models/nanodet_g_416.sidecar"], "size": (3, 416, 416)},
    "fashion_resnet": {"file": "fashion_resnet.onnx"},
    "fashion_mobilenetv2": {"file": "fashion_mobilenetv2.onnx"},
    "mobilenet_v2_224": {"file": "mobilenet_v2_224.onnx", "photo": ["--mul=0.0039215686"], "size": (3, 224, 224)},
}


class Skip(Exception):
    """This cannot be measured here; the text says why and what helps."""


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def fresh(target, *sources):
    """The target is there and not older than its sources."""
    return os.path.exists(target) and all(os.path.getmtime(s) <= os.path.getmtime(target) for s in sources)


def made(target, sources, make):
    """target, by make(temporary name) when it is not fresh: an interrupted run leaves no half file under its name."""
    if not fresh(target, *sources):
        temp = f"{target}.tmp{os.getpid()}{os.path.splitext(target)[1]}"
        try:
            make(temp)
            os.rename(temp, target)
        finally:
            if os.path.exists(temp):
                os.unlink(temp)
    return target


def quiet(*command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        raise RuntimeError(f"{' '.join(command)}: {r.stderr.strip() or r.stdout.strip()}")
    return r.stdout


def fashion(name):
    for top in FASHION:
        path = f"{top}/{name}-ubyte.gz"
        if os.path.exists(path):
            return path
    raise Skip("Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist)")


def source(name):
    """The ONNX file that both sides get."""
    if name not in MODELS:
        raise Skip(f"there is no such model ({', '.join(MODELS)})")
    wanted = MODELS[name]["file"]
    found = next((f"{top}/{wanted}" for top in ("models", "../shared/models") if os.path.exists(f"{top}/{wanted}")), None)
    if not found:
        raise Skip(f"models/{wanted} is not here")
    if not MODELS[name].get("seeded"):
        return found
    if WHY_NOT:
        raise Skip(WHY_NOT)
    return made(f"{BUILD}/{name}.onnx", [found, "bench/peer/seed.py"], lambda temp: seed.write(found, temp))


def fashion_samples(temp, images, count):
    pixels = np.frombuffer(gzip.open(images).read(), np.uint8, offset=16)[:count * 784]
    ((pixels.astype(np.float32) / 255 - np.float32(0.2860)) / np.float32(0.3530)).tofile(temp)


def photo_samples(temp, options, size):
    """The photos as the model's input, by MICA's own preprocessing: a model that returns its input."""
    shape = [1, *size]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.save(model, temp + ".onnx")
    try:
        quiet("build/mica", "compile", temp + ".onnx", "-o", temp + ".mica", "--format=f32", "--decode=none", *options)
        with open(temp, "wb") as out:
            for photo in sorted(f for f in os.listdir(PHOTOS) if f.endswith(".jpg")):
                quiet("build/mica", "run", temp + ".mica", f"--input={PHOTOS}/{photo}", f"--output={temp}.out", "--backend=cpu")
                out.write(np.load(f"{temp}.out/y.npy").tobytes())
    finally:
        for path in (temp + ".onnx", temp + ".mica", temp + ".out/y.npy"):
            if os.path.exists(path):
                os.unlink(path)
        if os.path.exists(temp + ".out"):
            os.rmdir(temp + ".out")


def samples(name):
    """Calibration samples for both sides: raw f32, one after another."""
    if WHY_NOT:
        raise Skip(WHY_NOT)
    m = MODELS[name]
    if "photo" not in m:
        images = fashion("train-images-idx3")
        return made(f"{BUILD}/fashion.bin", [images], lambda temp: fashion_samples(temp, images, 512))
    return made(f"{BUILD}/{name}.bin", ["bench/catalog.py"], lambda temp: photo_samples(temp, m["photo"], m["size"]))


def compiled(name, fmt, cores=1):
    """MICA's file. Without samples it is calibrated on the photos themselves, which every model's preprocessing takes."""
    try:
        calib = samples(name)
    except Skip:
        calib = PHOTOS
    onnx_file = source(name)
    return made(f"{BUILD}/{name}-{fmt}-{cores}.mica", [onnx_file, "build/mica"], lambda temp: quiet(
        "build/mica", "compile", onnx_file, "-o", temp, f"--format={fmt}", f"--calib={calib}", f"--cores={cores}",
        *MODELS[name].get("photo", [])))


class Peer:
    """ONNX Runtime: the library's path; lib is None when there is none."""

    def __init__(self, lib):
        self.lib = lib

    def command(self, *arguments):
        if not self.lib:
            raise Skip("ONNX Runtime is not here (bench/peer.sh says why)")
        return [f"{BUILD}/ort_run", f"--lib={self.lib}", *arguments]

    def outputs(self, model, inputs):
        """All outputs for all samples of the file, as one f32 array."""
        temp = f"{BUILD}/outputs.tmp{os.getpid()}"
        try:
            quiet(*self.command(f"--input={inputs}", f"--output={temp}", model))
            return np.fromfile(temp, np.float32)
        finally:
            if os.path.exists(temp):
                os.unlink(temp)

    def int8(self, name, kind):
        """The static QDQ model with u8 or s8 activations."""
        self.command()
        onnx_file, data = source(name), samples(name)
        basic = made(f"{BUILD}/{name}-basic.onnx", [onnx_file, self.lib], lambda temp: quiet(
            *self.command("--basic", f"--optimized={temp}", onnx_file)))
        return made(f"{BUILD}/{name}-{kind}.onnx", [basic, data, "bench/peer/quantize.py"],
                    lambda temp: self.quantize(basic, data, kind, temp))

    def quantize(self, basic, data, kind, target):
        model = quantize.load(basic)
        try:
            onnx.save(quantize.ranges_model(model), target)
            found = quantize.ranges(model, self.outputs(target, data))
        finally:
            os.unlink(target)
        onnx.save(quantize.quantized(model, found, kind), target)

    def operators(self, model):
        """{operator: how often} of the graph that ONNX Runtime really runs."""
        temp = f"{BUILD}/optimized.tmp{os.getpid()}.onnx"
        try:
            quiet(*self.command(f"--optimized={temp}", model))
            ops = {}
            for node in onnx.load(temp).graph.node:
                ops[node.op_type] = ops.get(node.op_type, 0) + 1
            return ops
        finally:
            if os.path.exists(temp):
                os.unlink(temp)

# SPDX-License-Identifier: MIT
"""What quantization costs and what each repair returns: top-1 on all Fashion-MNIST test images, output cosines on photos, and
device cycles, as Markdown tables. Usage: bench/quant.py [top1|photos]... [--model=NAME]... [--row=NAME]... [--no-left-out] (default:
everything). Models that are not in models/ are looked for in ../shared/models and left out when they are not there. Photos are
measured twice: calibrated with all of them, and each one with a model that was calibrated and repaired with the others alone."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

MICA = os.environ.get("MICA", "build/mica")
THREADS = f"--threads={os.cpu_count()}"
FASHION = ["fashion_mobilenetv2", "fashion_resnet", "fashion_resnet_unequal4"]
IMAGES = "/usr/share/datasets/fashion-mnist"
PHOTOS = {
    "mobilenet_v2_224": ["--mul=0.00392156863"],
    "nanodet_g_416": ["--channels=bgr", "--mean=103.53, 116.28, 123.675", "--std=57.375, 57.12, 58.395"],
    "posenet_mbv1_385": ["--mul=0.00784313725", "--mean=1"],
    "blazeface_back_256": ["--mul=0.00784313725", "--mean=1", "--layout=nhwc"],
}
I8, E4, E5, NONE = "--format=int8", "--format=e4m3", "--format=e5m2", "--method=none"
ASYM, TENSOR = "--activations=asymmetric", "--weights=per-tensor"
ROWS = [
    ("FP32", ["--format=f32"]),
    ("INT8 per tensor", [I8, TENSOR]),
    ("INT8 per tensor, cle", [I8, TENSOR, "--repair=cle"]),
    ("INT8 per channel", [I8]),
    ("INT8, kl", [I8, "--method=kl"]),
    ("INT8, pow2 scales", [I8, "--scales=pow2"]),
    ("INT8, zero points", [I8, ASYM]),
    ("INT8, cle", [I8, "--repair=cle"]),
    ("INT8, wmse", [I8, "--repair=wmse"]),
    ("INT8, bias", [I8, "--repair=bias"]),
    ("INT8, adaround", [I8, "--repair=adaround"]),
    ("INT8, zero points, cle, adaround", [I8, ASYM, "--repair=cle,adaround"]),
    ("E4M3", [E4]),
    ("E4M3, no calibration", [E4, NONE]),
    ("E4M3, cle", [E4, "--repair=cle"]),
    ("E4M3, wmse", [E4, "--repair=wmse"]),
    ("E4M3, bias", [E4, "--repair=bias"]),
    ("E4M3, adaround", [E4, "--repair=adaround"]),
    ("E4M3, depthwise", [E4, "--repair=depthwise"]),
    ("E4M3, depthwise, adaround", [E4, "--repair=depthwise,adaround"]),
    ("E4M3, center", [E4, "--repair=center"]),
    ("E4M3, depthwise, center, adaround", [E4, "--repair=depthwise,center,adaround"]),
    ("E5M2", [E5]),
    ("E5M2, no calibration", [E5, NONE]),
    ("E5M2, bias", [E5, "--repair=bias"]),
    ("E5M2, adaround", [E5, "--repair=adaround"]),
    ("E5M2, depthwise, adaround", [E5, "--repair=depthwise,adaround"]),
    ("E5M2, center", [E5, "--repair=center"]),
    ("E5M2, depthwise, center, adaround", [E5, "--repair=depthwise,center,adaround"]),
]

CLE, WMSE, BIAS, ADA, DEPTH = (f"--repair={r}" for r in ("cle", "wmse", "bias", "adaround", "depthwise"))
# {model} in an option is the model's name; a row whose qtable is not there is left out for that model.
PHOTO_ROWS = [
    ("FP32", ["--format=f32"]),
    ("BF16", ["--format=bf16"]),
    ("INT8", [I8]),
    ("INT8, zero points", [I8, ASYM]),
    ("INT8, cle", [I8, CLE]),
    ("INT8, wmse", [I8, WMSE]),
    ("INT8, bias", [I8, BIAS]),
    ("INT8, adaround", [I8, ADA]),
    ("INT8, zero points, adaround", [I8, ASYM, ADA]),
    ("INT8, zero points, cle, adaround", [I8, ASYM, "--repair=cle,adaround"]),
    ("E4M3", [E4]),
    ("E4M3, no calibration", [E4, NONE]),
    ("E4M3, cle", [E4, CLE]),
    ("E4M3, wmse", [E4, WMSE]),
    ("E4M3, bias", [E4, BIAS]),
    ("E4M3, adaround", [E4, ADA]),
    ("E4M3, depthwise", [E4, DEPTH]),
    ("E4M3, depthwise, adaround", [E4, "--repair=depthwise,adaround"]),
    ("E5M2", [E5]),
    ("E5M2, no calibration", [E5, NONE]),
    ("E5M2, cle", [E5, CLE]),
    ("E5M2, wmse", [E5, WMSE]),
    ("E5M2, bias", [E5, BIAS]),
    ("E5M2, adaround", [E5, ADA]),
    ("E5M2, depthwise", [E5, DEPTH]),
    ("E5M2, depthwise, adaround", [E5, "--repair=depthwise,adaround"]),
]
OUTSIDE = "--no-left-out" not in sys.argv


def path_of(model):
    for folder in ("models", "../shared/models"):
        if os.path.exists(f"{folder}/{model}.onnx"):
            return f"{folder}/{model}.onnx"
    return None


def quiet(command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if r.returncode:
        sys.exit(f"{' '.join(command)}: exit code {r.returncode}\n{r.stderr}")
    return r.stdout


def compiled(model, options, extra, work):
    out, report = f"{work}/m.mica", f"{work}/r.json"
    calib = [] if NONE in options else [o for o in extra if o.startswith("--calib")]
    quiet([MICA, "compile", path_of(model), "-o", out, THREADS, f"--report={report}", *[o for o in extra if not o.startswith("--calib")],
           *calib, *options])
    with open(report, encoding="utf-8") as f:
        return out, json.load(f)["cycles"]


def top1(work, models):
    models = [m for m in models if path_of(m)]
    print("| top-1 % / device cycles | " + " | ".join(models) + " |\n|" + "---|" * (len(models) + 1))
    for name, options in ROWS:
        cells = []
        for m in models:
            extra = [f"--calib={IMAGES}/train-images-idx3-ubyte.gz:512", "--sidecar=models/fashion_resnet.sidecar"]
            out, cycles = compiled(m, options, extra, work)
            r = json.loads(quiet([MICA, "eval", out, f"--images={IMAGES}/t10k-images-idx3-ubyte.gz",
                                  f"--labels={IMAGES}/t10k-labels-idx1-ubyte.gz", "--backend=cpu", THREADS, "--json"]))
            cells.append(f"{100 * r['top1']:.2f} / {cycles}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def photo_outputs(mica, folder, photos):
    for photo in photos:
        out = f"{folder}/{os.path.basename(photo)[:-4]}"
        os.makedirs(out, exist_ok=True)
        quiet([MICA, "run", mica, f"--input={photo}", f"--output={out}", "--backend=cpu", THREADS])


def cosines(work, photos):
    """(cosine, output, photo) of every output for every photo."""
    found = []
    for photo in (os.path.basename(p)[:-4] for p in photos):
        r = subprocess.run([MICA, "diff", f"{work}/f32/{photo}", f"{work}/q/{photo}", "--min-cosine=-1", "--json"], stdout=subprocess.PIPE,
                           check=True)
        found += [(f["cosine"], f["name"][:-4], photo) for f in json.loads(r.stdout)["files"]]
    return found


def told(found):
    """Mean and worst, and whose the worst is."""
    worst = min(found)
    return f"{sum(c[0] for c in found) / len(found):.4f} | {worst[0]:.4f} | `{worst[1]}`, {worst[2]}"


def folder_of(work, name, photos):
    folder = f"{work}/{name}"
    os.makedirs(folder)
    for p in photos:
        os.symlink(os.path.abspath(p), f"{folder}/{os.path.basename(p)}")
    return folder


def left_out(work, options, model, photos):
    """Every photo through a model that was calibrated and repaired with the other ones."""
    found = []
    for i, photo in enumerate(photos):
        folder = f"{work}/without{i}"
        if not os.path.exists(folder):
            folder_of(work, f"without{i}", photos[:i] + photos[i + 1:])
        out, _ = compiled(model, options, [f"--calib={folder}", *PHOTOS[model]], work)
        photo_outputs(out, f"{work}/q", [photo])
        found += cosines(work, [photo])
    return found


def photo_row(work, model, name, options, photos):
    extra = ["--calib=" + os.path.dirname(photos[0]), *PHOTOS[model]]
    options = [o.replace("{model}", model) for o in options]
    if any(o.startswith("--qtable=") and not os.path.exists(o[9:]) for o in options):
        return
    start = time.monotonic()
    out, cycles = compiled(model, options, extra, work)
    seconds = time.monotonic() - start
    photo_outputs(out, f"{work}/f32" if name == "FP32" else f"{work}/q", photos)
    if name == "FP32":
        print(f"| {name} | 1 | 1 | | | | | {cycles} | |", flush=True)
        return
    inside = told(cosines(work, photos))
    outside = told(left_out(work, options, model, photos)) if OUTSIDE and NONE not in options else "| | "
    print(f"| {name} | {inside} | {outside} | {cycles} | {seconds:.0f} |", flush=True)


def photo_model(work, model, photos):
    print(f"\n| {model}, {len(photos)} photos | mean cosine | worst | whose | left out: mean | worst | whose | cycles | s |\n" + "|---" * 9 + "|")
    for name, options in PHOTO_ROWS:
        photo_row(work, model, name, options, photos)


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    only = [a[8:] for a in sys.argv[1:] if a.startswith("--model=")]
    rows = [a[6:] for a in sys.argv[1:] if a.startswith("--row=")]
    for table in (ROWS, PHOTO_ROWS):
        table[1:] = [r for r in table[1:] if not rows or r[0] in rows]
    parts = [a for a in sys.argv[1:] if not a.startswith("--")] or ["top1", "photos"]
    photos = max((sorted(glob.glob(f"{d}/*.jpg")) for d in ("models/photos", "../shared/models/photos")), key=len)
    if "top1" in parts:
        if not os.path.exists(f"{IMAGES}/t10k-images-idx3-ubyte.gz"):
            sys.exit("the Debian package dataset-fashion-mnist is not installed")
        with tempfile.TemporaryDirectory() as work:
            top1(work, [m for m in FASHION if not only or m in only])
    for model in PHOTOS if "photos" in parts else []:
        if path_of(model) and photos and (not only or model in only):
            with tempfile.TemporaryDirectory() as work:
                photo_model(work, model, photos)


main()

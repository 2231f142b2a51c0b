# SPDX-License-Identifier: MIT
"""Measuring for bench/quant.py: one row of one model at a time, by the `mica` command. Every function that is given `work` has
that folder for itself. Times are seconds of the processor, so that a busy machine does not show."""
import glob
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading

import quant_rows as rows

MICA = os.environ.get("MICA", "build/mica")
IMAGES = "/usr/share/datasets/fashion-mnist"
TRAIN, TEST, LABELS = (f"{IMAGES}/{n}-ubyte.gz" for n in ("train-images-idx3", "t10k-images-idx3", "t10k-labels-idx1"))
SIDECAR = "--sidecar=models/fashion_resnet.sidecar"
CALIBRATED, SEARCHED = 512, 64      # training images


of_thread = threading.local()


def used():
    """The processor's seconds of all commands of this thread so far."""
    return getattr(of_thread, "seconds", 0)


def text_of(file):
    file.seek(0)
    return file.read().decode(errors="replace")


class Command:
    """A finished command: what it printed (text) and told (said), and the processor's seconds that it took."""
    def __init__(self, *args):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(args, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.text, self.said = (text_of(f) for f in (out, err))
            self.seconds = usage.ru_utime + usage.ru_stime
            of_thread.seconds = used() + self.seconds
            if child.returncode:
                raise RuntimeError(f"{' '.join(args)}: exit code {child.returncode}\n{self.said}")


def path_of(model):
    for folder in ("models", "../shared/models"):
        if os.path.exists(f"{folder}/{model}.onnx"):
            return f"{folder}/{model}.onnx"
    return None


def photos():
    return max((sorted(glob.glob(f"{d}/*.jpg")) for d in ("models/photos", "../shared/models/photos")), key=len)


def calibration():
    return "--calib=" + os.path.dirname(photos()[0])


def digest(*parts):
    """Of texts; of files where a path is given as a tuple."""
    h = hashlib.sha256()
    for p in parts:
        if isinstance(p, tuple):
            with open(p[0], "rb") as f:
                p = hashlib.sha256(f.read()).hexdigest()
        h.update(p.encode() + b"\0")
    return h.hexdigest()[:16]


def libraries():
    return [digest((p,)) for p in sorted(glob.glob(os.path.dirname(MICA) + "/libmica.so.*"))]


def search(work, model, row, calib, extra):
    """Runs the search of a row; what compile is given for it, how many operators are kept, and seconds."""
    table = f"{work}/kept.qtable"
    options = [o for o in row.options if not o.startswith("--repair=")]
    done = Command(MICA, "sensitivity", path_of(model), "-o", table, calib, "--threads=1", "--json", "--ranking=/dev/null", *extra,
                   *[o.replace("--format=", "--formats=") for o in options], *row.search)
    if row.kept != "f32":
        with open(table, encoding="utf-8") as f:
            text = "".join(line if line.startswith("#") else line.replace(" f32\n", f" {row.kept}\n") for line in f)
        with open(table, "w", encoding="utf-8") as f:
            f.write(text)
    same = [o for o in row.options if o.startswith("--repair=")] == [o for o in row.search if o.startswith("--repair=")]
    return [f"--qtable={table}", *([f"--calib-table={table}.table"] if same else [])], json.loads(done.text)["kept"], done.seconds


def compiled(work, model, row, calib, extra, search_calib=None):
    """A model as the row wants it: {"mica", "cycles", "seconds"} "kept" behind a search, "harmful": repairs that compile undid."""
    found = {"mica": f"{work}/model.mica", "seconds": 0}
    options = list(row.options)
    if row.search is not None:
        more, found["kept"], found["seconds"] = search(work, model, row, search_calib or calib, extra)
        options += more
    repairs = any(o.startswith("--repair=") for o in options)
    if rows.NONE not in options and (repairs or not any(o.startswith("--calib-table=") for o in options)) and row.instead != rows.QAT:
        options.append(calib)
    done = Command(MICA, "compile", path_of(model), "-o", found["mica"], "--threads=1", f"--report={work}/report.json", *extra, *options)
    with open(f"{work}/report.json", encoding="utf-8") as f:
        found["cycles"] = json.load(f)["cycles"]
    harmful = re.findall(r"^mica: repair (\w+): .* does harm here", done.said, re.M)
    if harmful:
        found["harmful"] = harmful
    found["seconds"] += done.seconds
    return found


def top1(work, model, row):
    """Top-1 in percent of all test images, cycles and seconds of the compiler."""
    model = row.instead or model
    found = compiled(work, model, row, f"--calib={TRAIN}:{CALIBRATED}", [SIDECAR], f"--calib={TRAIN}:{SEARCHED}")
    done = Command(MICA, "eval", found.pop("mica"), f"--images={TEST}", f"--labels={LABELS}", "--backend=cpu", "--threads=1", "--json")
    return {**found, "top1": round(100 * json.loads(done.text)["top1"], 4)}


def outputs(mica, folder, pictures):
    for p in pictures:
        out = f"{folder}/{os.path.basename(p)[:-4]}"
        os.makedirs(out, exist_ok=True)
        Command(MICA, "run", mica, f"--input={p}", f"--output={out}", "--backend=cpu", "--threads=1")


def reference(work, model):
    """The model in f32 on every photo."""
    os.makedirs(work)
    outputs(compiled(work, model, rows.COMMON[0], calibration(), rows.PHOTOS[model])["mica"], work, photos())


def cosines(mica, work, pictures, f32):
    """(cosine, output, photo) of every output for every photo."""
    outputs(mica, f"{work}/q", pictures)
    found = []
    for photo in (os.path.basename(p)[:-4] for p in pictures):
        done = Command(MICA, "diff", f"{f32}/{photo}", f"{work}/q/{photo}", "--min-cosine=-1", "--json")
        found += [(f["cosine"], f["name"][:-4], photo) for f in json.loads(done.text)["files"]]
    return found


def told(found):
    """Mean and worst, and whose the worst is."""
    worst = min(found)
    return {"mean": round(sum(c[0] for c in found) / len(found), 6), "worst": round(worst[0], 6), "output": worst[1], "photo": worst[2]}


def left_out(work, model, row, f32):
    """Every photo through a model that was calibrated and repaired with the other ones."""
    found = []
    for i, photo in enumerate(photos()):
        folder = f"{work}/without{i}"
        os.makedirs(folder)
        for p in photos():
            if p != photo:
                os.symlink(os.path.abspath(p), f"{folder}/{os.path.basename(p)}")
        model_without = compiled(work, model, row, f"--calib={folder}", rows.PHOTOS[model])["mica"]
        found += cosines(model_without, work, [photo], f32)
    return told(found)


def photo_row(work, model, row, f32, without):
    """Over the photos that the samples were, and, `without`, over those that were none. f32: folder of the reference."""
    found = compiled(work, model, row, calibration(), rows.PHOTOS[model])
    found["inside"] = told(cosines(found.pop("mica"), work, photos(), f32))
    if without and row.left_out and rows.NONE not in row.options and row.name != "FP32":
        found["outside"] = left_out(work, model, row, f32)
    return found


def layers(work, model, row):
    """{"layers": {operator: {format: 1 - cosine}}}, each operator alone in that format; the log's columns are found by name."""
    log = f"{work}/log"
    done = Command(MICA, "sensitivity", path_of(model), "-o", f"{work}/q", calibration(), f"--log={log}", "--threads=1",
                   "--ranking=/dev/null", "--max-float-layers=0", *row.options, *rows.PHOTOS[model])
    found, columns = {}, []
    with open(log, encoding="utf-8") as f:
        for line in f:
            if line.startswith("# format "):
                columns = line[2:].split()
            elif not line.startswith("#"):
                fields = dict(zip(columns, line.rstrip("\n").split(" ", len(columns) - 1)))
                found.setdefault(fields["operator"], {})[fields["format"]] = float(f"{float(fields['loss']):.3g}")
    return {"layers": found, "seconds": done.seconds}

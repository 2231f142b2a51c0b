# SPDX-License-Identifier: MIT
"""That the contestants compute the same thing: top-1 of the classifiers on a labelled test set, cosine of all outputs for the
others. A peer that is fast because it computes nonsense would be no peer."""
import gzip
import json
import os
import shutil

import catalog
from catalog import Skip, np, quiet


def cosine(a, b):
    return float(a.astype(np.float64) @ b / (np.linalg.norm(a.astype(np.float64)) * np.linalg.norm(b.astype(np.float64)) or 1))


def mica_outputs(name, fmt, sample):
    folder = f"{catalog.BUILD}/outputs"
    shutil.rmtree(folder, ignore_errors=True)
    quiet("build/mica", "run", catalog.compiled(name, fmt), f"--input={sample}", f"--output={folder}", "--backend=cpu")
    order = [o["name"] for o in json.loads(quiet("build/mica", "info", catalog.compiled(name, fmt), "--json"))["outputs"]]
    files = {"".join(c if c.isalnum() or c in "_.-" else "_" for c in o): o for o in order}
    found = [np.load(f"{folder}/{f}.npy").astype(np.float32).ravel() for f in files]
    shutil.rmtree(folder)
    return np.concatenate(found)


def cosines(peer, name, kind):
    data = catalog.samples(name)
    reference = peer.outputs(catalog.source(name), data)
    count = np.fromfile(data, np.float32).size // int(np.prod(catalog.MODELS[name].get("size", (784,))))
    first = f"{catalog.BUILD}/first.tmp{os.getpid()}.bin"
    np.fromfile(data, np.float32)[:np.fromfile(data, np.float32).size // count].tofile(first)
    try:
        one = reference[:reference.size // count]
        row = {"ort_int8": cosine(peer.outputs(peer.int8(name, kind), first), one)}
        for fmt in catalog.FORMATS:
            row[fmt] = cosine(mica_outputs(name, fmt, first), one)
        return row
    finally:
        os.unlink(first)


def top1(peer, name, kind, formats):
    images, labels = catalog.fashion("t10k-images-idx3"), catalog.fashion("t10k-labels-idx1")
    row = {}
    for fmt in formats:
        row[fmt] = json.loads(quiet("build/mica", "eval", catalog.compiled(name, fmt), f"--images={images}", f"--labels={labels}",
                                    "--backend=cpu", "--threads=2", "--json"))["top1"]
    if peer.lib and not catalog.WHY_NOT:
        test = catalog.made(f"{catalog.BUILD}/fashion-test.bin", [images], lambda t: catalog.fashion_samples(t, images, 10000))
        right = np.frombuffer(gzip.open(labels).read(), np.uint8, offset=8)
        for side, model in (("ort_f32", catalog.source(name)), ("ort_int8", peer.int8(name, kind))):
            row[side] = float((peer.outputs(model, test).reshape(len(right), -1).argmax(1) == right).mean())
    return row


def measure(peer, settings):
    result = {"top1": {}, "cosine": {}}
    for name in catalog.MODELS:
        try:
            if name.startswith("fashion"):
                result["top1"][name] = top1(peer, name, "u8", catalog.FORMATS if not settings["quick"] else ["e4m3", "int8"])
            if peer.lib:
                result["cosine"][name] = cosines(peer, name, "u8")
        except Skip as why:
            catalog.note(f"accuracy of {name} skipped: {why}")
    return result

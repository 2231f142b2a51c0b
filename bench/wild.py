#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Anybody's ONNX files by ONNX Runtime and by MICA on the CPU backend: bench/wild.py [OPTION]... MODEL.onnx...

Each model gets seeded random inputs. f32 must agree with ONNX Runtime within 1e-4 of each output's range; e4m3 and int8 are
calibrated with the same inputs, and their worst output's cosine is printed. A refusal, a crash and a time-out are failures.
Needs python3-onnx and the peer of bench/peer.sh; not part of make check.

  --shape=NAME=D,D,..   an input's shape        --dim=NAME=N         a free dimension's length
  --const=NAME=V        an input that is given at compile time (a number, all elements)
  --range=NAME=LOW,HIGH an input's values       --formats=f32,e4m3,int8
  --timeout=SECONDS     for each step (300)     --keep=DIR           files stay there
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import mapping

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MICA = os.environ.get("MICA", os.path.join(TOP, "build/mica"))
IO = os.path.join(TOP, "build/bench/ort_io")
FLOOR = 1e-3  # an output that stays below, like a sigmoid's of a detector that found nothing, is compared as if it had this range
BUG = 12  # exit code of the mica command (docs/cli.md)
NUMPY = {k: v for k, v in mapping.TENSOR_TYPE_TO_NP_TYPE.items() if np.dtype(v).kind in "fiub"}


class Failure(Exception):
    pass


class Options:
    def __init__(self, argv):
        self.models = [a for a in argv if not a.startswith("--")]
        self.shape, self.dim, self.const, self.range = {}, {}, {}, {}
        self.formats, self.timeout, self.keep = "f32,e4m3,int8", "300", None
        for a in argv:
            if not a.startswith("--"):
                continue
            key, _, value = a[2:].partition("=")
            old = getattr(self, key, self)
            if old is self or key == "models":
                sys.exit(f"wild.py: {a} is not an option\n\n{__doc__}")
            if isinstance(old, dict):
                name, _, what = value.rpartition("=")
                old[name] = what
            else:
                setattr(self, key, value)
        self.timeout, self.formats = float(self.timeout), self.formats.split(",")


def picture(rng, shape):
    """Values in 0..1: smooth areas with some noise; white noise drives many networks into regions that nothing ever sees."""
    h, w = shape[2:]
    coarse = rng.random((*shape[:2], h // 32 + 2, w // 32 + 2))
    y, x = np.arange(h) / 32, np.arange(w) / 32
    yi, xi, fy, fx = y.astype(int), x.astype(int), (y % 1)[:, None], x % 1
    rows = [coarse[:, :, yi + k][:, :, :, xi] * (1 - fx) + coarse[:, :, yi + k][:, :, :, xi + 1] * fx for k in (0, 1)]
    return 0.9 * (rows[0] * (1 - fy) + rows[1] * fy) + 0.1 * rng.random(shape)


class Input:
    """One input of the model with a shape without holes and values."""

    def __init__(self, info, opts, rng):
        t = info.type.tensor_type
        self.name, self.type = info.name, t.elem_type
        if self.type not in NUMPY:
            raise Failure(f"input '{self.name}' is of ONNX type {self.type}, which has no values to make up")
        self.shape, self.free = self.lengths(t.shape.dim, opts)
        self.data = np.ascontiguousarray(self.values(opts, rng), NUMPY[self.type])

    def lengths(self, dims, opts):
        if self.name in opts.shape:
            return [int(d) for d in opts.shape[self.name].split(",")], True
        picture = len(dims) == 4
        usual = [1, 3, 224, 224] if picture else [1] + [16] * (len(dims) - 1)
        out = []
        for d, default in zip(dims, usual):
            out.append(d.dim_value if d.dim_value > 0 else int(opts.dim.get(d.dim_param, default)))
        return out, any(d.dim_value <= 0 for d in dims)

    def values(self, opts, rng):
        if self.name in opts.const:
            return np.full(self.shape, float(opts.const[self.name]))
        word = self.name.lower()
        if self.name in opts.range:
            low, high = (float(v) for v in opts.range[self.name].split(","))
        elif self.type == onnx.TensorProto.BOOL or "mask" in word:
            low, high = (1, 2) if "mask" in word else (0, 2)
        else:
            low, high = (-1, 1) if np.dtype(NUMPY[self.type]).kind == "f" else (0, 1 if "type" in word else 100)
        if np.dtype(NUMPY[self.type]).kind == "f":
            return low + (high - low) * (picture(rng, self.shape) if len(self.shape) == 4 else rng.random(self.shape))
        return rng.integers(int(low), max(int(high), int(low) + 1), self.shape)


def step(cmd, timeout):
    """Runs a program: its output, seconds of CPU time and largest memory in bytes. What it says on stderr is the failure's reason."""
    begin = time.monotonic()
    with subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        late = threading.Timer(timeout, p.kill)
        late.start()
        texts = {}
        readers = [threading.Thread(target=lambda k=k, f=f: texts.update({k: f.read()}))
                   for k, f in (("out", p.stdout), ("err", p.stderr))]
        for r in readers:
            r.start()
        for r in readers:
            r.join()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        late.cancel()
    seconds = time.monotonic() - begin
    if p.returncode == -9 and seconds >= timeout:
        raise Failure(f"no end after {timeout:g} s")
    if p.returncode:
        lines = [l for l in (texts["err"] or texts["out"]).strip().split("\n") if not l.startswith("warning")] or [""]
        raise Failure(("CRASH " if p.returncode < 0 or p.returncode >= BUG else "") + lines[-1][:400])
    return texts["out"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def reference(model, inputs, work, peer, timeout):
    rows = []
    for k, i in enumerate(inputs):
        i.data.tofile(f"{work}/in{k}.raw")
        rows.append(f"{i.name}\t{i.type}\t{','.join(map(str, i.shape))}\t{work}/in{k}.raw\n")
    with open(f"{work}/list", "w", encoding="utf-8") as f:
        f.writelines(rows)
    try:
        text, _, _ = step([IO, peer, model, f"{work}/list", work], timeout)
    except Failure as e:
        raise Failure(f"the peer refuses: {e}") from None
    outs = []
    for line in text.strip("\n").split("\n"):
        name, kind, dims, path = line.split("\t")
        if int(kind) in NUMPY:
            outs.append((name, np.fromfile(path, NUMPY[int(kind)]).reshape([int(d) for d in dims.split(",") if d])))
    return outs


def plain(name):
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)


class Trial:
    def __init__(self, model, opts, work, peer):
        self.model, self.opts, self.work, self.peer = model, opts, work, peer
        proto = onnx.load(model, load_external_data=False)
        known = {t.name for t in proto.graph.initializer}
        rng = np.random.default_rng(7)
        self.inputs = [Input(i, opts, rng) for i in proto.graph.input if i.name not in known]
        self.runtime = [i for i in self.inputs if i.name not in opts.const]
        self.nodes, self.size = len(proto.graph.node), os.path.getsize(model)
        self.seconds = self.rss = 0.0

    def arguments(self):
        args = []
        for i in self.inputs:
            if i.name in self.opts.const:
                args.append(f"--const={i.name}={self.opts.const[i.name]}")
            if i.free:
                args.append(f"--shape={i.name}={','.join(map(str, i.shape))}")
        return args

    def calibration(self):
        if len(self.runtime) == 1:
            path = f"{self.work}/calib.npy"
            np.save(path, self.runtime[0].data.astype(np.float32))
            return path
        for i in self.runtime:
            os.makedirs(f"{self.work}/calib/{plain(i.name)}", exist_ok=True)
            np.save(f"{self.work}/calib/{plain(i.name)}/0.npy", i.data.astype(np.float32))
        return f"{self.work}/calib"

    def mica(self, fmt, outs):
        """Compiles and runs in a format: the outputs in ONNX Runtime's order."""
        out, self.seconds = f"{self.work}/{fmt}.mica", 0.0
        args = [] if fmt == "f32" else [f"--calib={self.calibration()}"]
        _, self.seconds, self.rss = step([MICA, "compile", self.model, "-o", out, f"--format={fmt}", *args, *self.arguments()],
                                         self.opts.timeout)
        feeds = []
        for k, i in enumerate(self.runtime):
            i.data.astype(np.float32).tofile(f"{self.work}/run{k}.bin")
            feeds.append(f"--input={i.name}={self.work}/run{k}.bin")
        try:
            text, _, _ = step([MICA, "run", out, "--backend=cpu", f"--output={self.work}/{fmt}", "--json", *feeds], self.opts.timeout)
        except Failure as e:
            raise Failure(f"run: {e}") from None
        files = {o["name"]: o["file"] for o in json.loads(text)["outputs"]}
        return [np.load(files[name]) for name, _ in outs]


def distance(got, want, name):
    """The largest difference as a part of the output's range; not-a-numbers and infinities must be the same."""
    got, want = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    if got.size != want.size:
        raise Failure(f"WRONG: {name} has {got.size} elements, not {want.size}")
    same = np.isfinite(want)
    if not np.array_equal(np.isfinite(got), same) or not np.array_equal(got[~same], want[~same], equal_nan=True):
        raise Failure(f"WRONG: {name} has infinities or NaNs in other places")
    if not same.any():
        return 0.0
    return float(np.abs(got[same] - want[same]).max() / max(np.abs(want[same]).max(), FLOOR))


def cosine(got, want):
    if np.abs(want).max(initial=0) < FLOOR:
        return 1.0  # nothing but rounding
    a, b = (np.nan_to_num(v.astype(np.float64).ravel(), posinf=0, neginf=0) for v in (got, want))
    if a.size != b.size:
        return float("nan")
    n = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / n) if n else float(not a.any() and not b.any())


def judge(trial, fmt, outs):
    got = trial.mica(fmt, outs)
    if fmt != "f32":
        worst = min((cosine(g, w) for g, (_, w) in zip(got, outs) if w.size), default=1.0)
        return f"{worst:.4f}", not np.isnan(worst)
    errors = [(distance(g, w, name), name) for g, (name, w) in zip(got, outs)]
    worst, name = max(errors, default=(0.0, ""))
    return f"{worst:.1e}" + (f" WRONG at {name}" if worst > 1e-4 else ""), worst <= 1e-4


def attempt(model, opts, work, peer):
    """A line of the table, and whether everything went well."""
    cells, good = [], True
    trial = Trial(model, opts, work, peer)
    outs = reference(model, trial.inputs, work, peer, opts.timeout)
    for fmt in opts.formats:
        try:
            text, fine = judge(trial, fmt, outs)
        except Failure as e:
            text, fine = str(e), False
        cells.append(f"{fmt} {text}" + (f" ({trial.seconds:.1f} s, {trial.rss / 1e6:.0f} MB)" if trial.seconds else ""))
        good &= fine
        if fmt == "f32" and not fine and "WRONG" not in text:
            break
    return f"{trial.nodes} nodes, {trial.size / 1e6:.1f} MB: " + "; ".join(cells), good


def main():
    opts = Options(sys.argv[1:])
    if not opts.models:
        sys.exit(__doc__)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    peer = subprocess.run([os.path.join(TOP, "bench/peer.sh")], capture_output=True, text=True, check=True).stdout.strip()
    bad = 0
    for model in opts.models:
        name = os.path.basename(model).removesuffix(".onnx")
        with tempfile.TemporaryDirectory() as tmp:
            work = os.path.join(opts.keep, name) if opts.keep else tmp
            os.makedirs(work, exist_ok=True)
            try:
                text, good = attempt(model, opts, work, peer)
            except Failure as e:
                text, good = str(e), False
        bad += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {text}", flush=True)
    print(f"{len(opts.models) - bad} passed, {bad} failed")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())

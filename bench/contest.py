# SPDX-License-Identifier: MIT
"""Whole models, MICA against the peer. Every contestant is a process that stays loaded; they take turns in short slices, so
that what the machine does to one it does to its neighbours, and a ratio is taken between slices of one round."""
import json
import math
import select
import statistics
import subprocess
import time

import catalog
from catalog import Skip, note

THREADS = (1, 2)


class Contestant:
    """One process that answers bench_serve.h's commands."""

    def __init__(self, side, threads, command):
        self.side, self.threads, self.command = side, threads, command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line, limit=120):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = select.select([self.process.stdout], [], [], limit)[0] and self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"{' '.join(self.command)}: no answer to '{line}'")
        return json.loads(answer)

    def close(self, at_once):
        if at_once:
            self.process.kill()
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Contest:
    """Contestants that are loaded together; a context, so that none survives an error or Ctrl-C."""

    def __init__(self):
        self.members = []

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        for m in self.members:
            m.close(error is not None)

    def add(self, side, threads, command):
        self.members.append(Contestant(side, threads, command))

    def rounds(self, count, seconds):
        """{(side, threads): a slice per round}; every other round runs backwards."""
        slices = {(m.side, m.threads): [] for m in self.members}
        for r in range(count):
            for m in self.members[::-1 if r % 2 else 1]:
                time.sleep(0.003)       # the peer's threads spin for a while after a run
                slices[m.side, m.threads].append(m.ask(f"run {seconds}"))
        return slices

    def memory(self):
        return {(m.side, m.threads): m.ask("rss") for m in self.members}


def mica_command(threads, *arguments):
    return [f"{catalog.BUILD}/mica_run", f"--threads={threads}", *arguments]


def faster_int8(peer, name, seconds):
    """The faster of the peer's two INT8 models on one thread, and what both took (best of five slices in turn)."""
    with Contest() as contest:
        for kind in catalog.KINDS:
            contest.add(kind, 1, peer.command("--serve", peer.int8(name, kind)))
        best = {side: min(s["min_ms"] for s in slices) for (side, _), slices in contest.rounds(5, seconds).items()}
    kind = min(best, key=best.get)
    return kind, {"kind": kind, "ms": best, "operators": peer.operators(peer.int8(name, kind))}


def add_all(contest, peer, name, kind):
    first = []
    try:
        first = [f"--input={catalog.samples(name)}"]
    except Skip:
        pass
    for t in THREADS:
        contest.add("control", t, [f"{catalog.BUILD}/engine_bench", "--control", f"--threads={t}"])
        if peer.lib:
            contest.add("ort_f32", t, peer.command(f"--threads={t}", *first, "--serve", catalog.source(name)))
        for fmt in catalog.FORMATS:
            contest.add(fmt, t, mica_command(t, *first, catalog.compiled(name, fmt)))
            if fmt == "int8" and kind:
                contest.add("ort_int8", t, peer.command(f"--threads={t}", *first, "--serve", peer.int8(name, kind)))


def spread(values):
    """Median and quartiles."""
    if len(values) < 2:
        return [values[0]] * 3
    q = statistics.quantiles(values, n=4, method="inclusive")
    return [q[1], q[0], q[2]]


def paired(slices, over, under):
    """Ratio of times, per round, of two sides' best runs."""
    return spread([a["min_ms"] / b["min_ms"] for a, b in zip(slices[over], slices[under])])


def summary(slices, memory, empty):
    """One entry per contestant; the control, a fixed piece of arithmetic, tells what the machine gave to two threads."""
    result = []
    for (side, threads), s in slices.items():
        entry = {"side": side, "threads": threads, "best_ms": min(x["min_ms"] for x in s),
                 "median_ms": statistics.median(x["median_ms"] for x in s), "runs": sum(x["runs"] for x in s),
                 "slices_min_ms": [x["min_ms"] for x in s],
                 "processors_had": statistics.median(x["cpu_ms"] / x["mean_ms"] for x in s),
                 "peak_kb": memory[side, threads]["peak_kb"],
                 "peak_over_empty_kb": memory[side, threads]["peak_kb"] - empty["ort" if side.startswith("ort") else "mica"]}
        for peer in ("ort_f32", "ort_int8"):
            if (peer, threads) in slices and side in catalog.FORMATS:
                entry["ratio_" + peer] = paired(slices, (peer, threads), (side, threads))
        if threads > 1:
            entry["scaling"] = paired(slices, (side, 1), (side, threads))
        result.append(entry)
    return result


def empty_processes(peer):
    """Peak memory of each side's process with nothing loaded."""
    empty = {}
    with Contest() as contest:
        contest.add("mica", 1, mica_command(1))
        if peer.lib:
            contest.add("ort", 1, peer.command("--serve"))
        for (side, _), m in contest.memory().items():
            empty[side] = m["peak_kb"]
    return empty


SIZES = {"f32": 4, "i32": 4, "bf16": 2}


def tensors(info):
    """Bytes of the model's inputs and outputs, as sessions hold them."""
    return sum(math.prod(t["shape"]) * SIZES.get(t["dtype"], 1) for t in info["inputs"] + info["outputs"])


def plan(name):
    """What the compiled models say that they need, in bytes."""
    sizes = {}
    for fmt in catalog.FORMATS:
        info = json.loads(catalog.quiet("build/mica", "info", catalog.compiled(name, fmt), "--json"))
        sizes[fmt] = {k: info[k] for k in ("weights_bytes", "arena_bytes", "lmem_bytes", "commands_bytes", "macs")}
        sizes[fmt]["tensor_bytes"] = tensors(info)
    return sizes


def measure(peer, settings):
    empty = empty_processes(peer)
    result = {"empty_kb": empty, "models": []}
    for name in settings.get("only", catalog.MODELS):
        try:
            catalog.source(name)
        except Skip as why:
            note(f"{name} skipped: {why}")
            continue
        kind, duel = None, None
        try:
            kind, duel = faster_int8(peer, name, settings["slice_s"])
        except Skip as why:
            note(f"{name}: no INT8 peer: {why}")
        note(f"{name}: {settings['rounds']} rounds" + (f", the peer's INT8 has {kind} activations" if kind else ""))
        with Contest() as contest:
            add_all(contest, peer, name, kind)
            slices = contest.rounds(settings["rounds"], settings["slice_s"])
            memory = contest.memory()
        result["models"].append({"model": name, "settings": settings, "peer_int8": duel, "plan": plan(name), "sides": summary(slices, memory, empty)})
    return result

# SPDX-License-Identifier: MIT
"""Figures of bench/quant.py row by row: {part: {model: {row: figures}}} in build/bench/quant.json and, published, in
bench/results/quant.json. A row is known by what it depends on, so that an interrupted run goes on where it was."""
import datetime
import functools
import json
import os
import subprocess

import quant_measure as measure
import quant_rows as rows

STORE, PUBLISHED = "build/bench/quant.json", "bench/results/quant.json"


def write(path, text):
    """The whole file or the one before it, never a half."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temp = f"{path}.tmp{os.getpid()}"
    with open(temp, "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(temp, path)


def told(row):
    """A row's options as text, also those of its search."""
    return " ".join(row.options) + (f" | {' '.join(row.search)} {row.kept}" if row.search is not None else "")


def load(path):
    """What a file holds of the rows that there are today, with today's options."""
    try:
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
    except (OSError, ValueError):
        return {}
    found = {}
    for part, models in rows.MODELS.items():
        for m in models:
            old = result.get(part, {}).get(m, {})
            kept = {r.name: old[r.name] for r in rows.rows_of(part, m) if r.name in old and old[r.name]["options"] == told(r)}
            if kept:
                found.setdefault(part, {})[m] = kept
    return found


def save(path, result):
    write(path, json.dumps(result, indent=1) + "\n")


def put(result, part, model, row, figures):
    result.setdefault(part, {}).setdefault(model, {})[row.name] = figures


def merged(old, new):
    """New rows replace old ones, one by one; parts and models are in their order."""
    return {p: {m: {**old.get(p, {}).get(m, {}), **new.get(p, {}).get(m, {})} for m in models if m in old.get(p, {}) or m in new.get(p, {})}
            for p, models in rows.MODELS.items() if p in old or p in new}


@functools.lru_cache(maxsize=None)
def of_file(path):
    return measure.digest((path,))


@functools.lru_cache(maxsize=None)
def program():
    """Of what compiles and computes: rows of another build are measured again."""
    return measure.digest(of_file(measure.MICA), *measure.libraries())


def key(part, model, row, left_out):
    """Changes with everything that the row's figures depend on; Debian's data sets do not change."""
    files = [measure.path_of(row.instead or model)] + [o[9:] for o in row.options if o.startswith("--qtable=")]
    files += measure.photos() if part != "top1" else []
    return measure.digest(program(), told(row), str(row.left_out and left_out), *[of_file(f) for f in files])


@functools.lru_cache(maxsize=None)
def stamp():
    git = subprocess.run(["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "commit": git.stdout.strip()}

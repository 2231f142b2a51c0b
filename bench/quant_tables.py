# SPDX-License-Identifier: MIT
"""Markdown of what bench/quant.py measured. `result` is {part: {model: {row: figures}}}; nothing is computed here but whether
targets are met."""
import math

import quant_rows as rows
import tables

BY = "bench/quant.sh"
PAGE = "docs/quantization.md"
WORST_LAYERS = 10


def figure(result, target, model):
    """What a target looks at, what it must be, and the row; None where it was not measured."""
    of_model = result.get(target.part, {}).get(model, {})
    row, f32 = of_model.get(target.rows[model]), of_model.get("FP32")
    if not row or (target.below is not None and not f32):
        return None
    value = row["top1"] if target.part == "top1" else row["inside"]["worst"]
    return value, target.least if target.least is not None else f32["top1"] - target.below, row


def shown(target, value):
    return f"{value:.2f}" if target.part == "top1" else cosine(value)


def verdicts(result):
    """(target, model, row's figures, value, least, met) of all targets that were measured."""
    found = []
    for t in rows.targets():
        for m in t.rows:
            f = figure(result, t, m)
            if f:
                found.append((t, m, f[2], f[0], f[1], f[0] >= f[1] - 1e-9))
    return found


def met(yes):
    return "met" if yes else "**not met**"


def met_by(told, least):
    """By the worst output of all photos, which is what counts; if not, perhaps by their mean."""
    return met(told["worst"] >= least) + (" (the mean is)" if told["mean"] >= least > told["worst"] else "")


def summary(result):
    """One line, for the end of a run."""
    found = verdicts(result)
    missed = [f"{t.what} ({m}: {shown(t, v)})" for t, m, _, v, _, yes in found if not yes]
    count = sum(len(t.rows) for t in rows.targets())
    text = f"targets: {len(found) - len(missed)} of {count} met"
    if count > len(found):
        text += f", {count - len(found)} not measured"
    return text + (": " + "; ".join(missed) if missed else "")


def outside(row, least):
    if "outside" not in row:
        return "-"
    o = row["outside"]
    return f"{pair(o)} {met_by(o, least)}"


def targets(result):
    lines = []
    for t, m, row, value, least, yes in verdicts(result):
        photo = t.part == "photos"
        lines.append([t.what, m, t.rows[m] + remarks(row), pair(row["inside"]) if photo else f"{value:.2f}", shown(t, least),
                      met_by(row["inside"], least) if photo else met(yes), outside(row, least)])
    return tables.table(["target", "model", "row", "top-1, or mean / worst cosine", "at least", "", "each photo left out"], lines)


def needs(result, part, model, name):
    """What the row's targets say of it."""
    said = [met(yes) for t, m, _, _, _, yes in verdicts(result) if t.part == part and m == model and t.rows[m] == name]
    return " " + ", ".join(sorted(set(said))) if said else ""


def names(part, models):
    found = {}
    for m in models:
        found.update({r.name: None for r in rows.rows_of(part, m)})
    return list(found)


def remarks(row):
    """How many layers a search kept, which repairs the compiler did not keep."""
    kept = f"{row['kept']} layer{'s' if row['kept'] != 1 else ''}" if "kept" in row else ""
    undone = " and ".join(row.get("harmful", [])) + " undone" if "harmful" in row else ""
    said = ", ".join(s for s in (kept, undone) if s)
    return f" ({said})" if said else ""


def top1(result):
    measured = result["top1"]
    lines = []
    for name in names("top1", measured):
        line = [name]
        for m in measured:
            row = measured[m].get(name)
            line.append(f"{row['top1']:.2f} / {row['cycles']}{remarks(row)}{needs(result, 'top1', m, name)}" if row else "-")
        if set(line[1:]) != {"-"}:
            lines.append(line)
    return tables.table(["top-1 % / device cycles", *measured], lines)


def cosine(value):
    """Rounded down: 0.99497 does not reach 0.995, and only what is equal is 1."""
    return f"{math.floor(value * 1e4 + 1e-6) / 1e4:.4f}"


def pair(told):
    return f"{cosine(told['mean'])} / {cosine(told['worst'])}" if told else "-"


def short(part, row):
    """A row's figures for the progress."""
    if part == "layers":
        return f"{len(row['layers'])} layers"
    text = f"{row['top1']:.2f} %" if part == "top1" else f"{pair(row['inside'])}, left out {pair(row.get('outside'))}"
    return text + f", {row['cycles']} cycles" + (f", {row['kept']} layers kept" if "kept" in row else "")


def photo_line(result, model, name, row):
    told = row["inside"]
    whose = f"`{told['output']}`, {told['photo']}" if told["worst"] < 1 else ""
    return [name + remarks(row), pair(told) + needs(result, "photos", model, name), whose, pair(row.get("outside")), row["cycles"], f"{row['seconds']:.1f}"]


def photos(result):
    lines = []
    for m, of_model in result["photos"].items():
        found = [photo_line(result, m, n, of_model[n]) for n in names("photos", [m]) if n in of_model]
        lines += tables.table([m, "mean / worst", "whose", "each photo left out", "cycles", "s"], found)
    return lines


def losses(name, found):
    """A line of the layers' table: the largest loss of some operators in every format; none where a format changes nothing."""
    cells = [[loss[f] for loss in found if f in loss] for f in rows.LAYER_FORMATS]
    return [name, *[f"{max(c):.2g}" if c else "-" for c in cells]]


def layers(result):
    lines = []
    for m, of_model in result["layers"].items():
        for row in of_model.values():
            order = sorted(row["layers"].items(), key=lambda item: -item[1].get("e4m3", 0))
            found = [losses(f"`{o}`", [loss]) for o, loss in order[:WORST_LAYERS]]
            rest = [loss for _, loss in order[WORST_LAYERS:]]
            found += [losses(f"each of the other {len(rest)}: at most", rest)] if rest else []
            lines += tables.table([m, *rows.LAYER_FORMATS], found)
    return lines


def where(result):
    """When and of what builds."""
    found = [r for models in result.values() for of_model in models.values() for r in of_model.values()]
    commits, dates = ({r[key]: None for r in found} for key in ("commit", "date"))
    return (f"{len(found)} rows, measured {' to '.join(sorted({min(dates), max(dates)}))} at commit {', '.join(commits)}; "
            f"{sum(r['took'] for r in found) / 60:.1f} minutes of the processor.")


def sections(result):
    """{marker: lines} of the page."""
    found = {"quant-targets": [where(result), "", *targets(result)]} if result else {}
    for part, show in (("top1", top1), ("photos", photos), ("layers", layers)):
        if result.get(part):
            found[f"quant-{part}"] = show(result)
    return found

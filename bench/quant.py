# SPDX-License-Identifier: MIT
"""What quantization costs and what each repair returns: top-1 on all Fashion-MNIST test images, output cosines on photos, the loss
of single layers, and device cycles, beside the targets. Usage: bench/quant.sh --help"""
import concurrent.futures
import os
import resource
import signal
import sys
import tempfile
import time

import publish
import quant_measure as measure
import quant_rows as rows
import quant_store as store
import quant_tables as tables

JOB_MB = 1500       # more than any row needs
USAGE = """usage: bench/quant.sh [layers|top1|photos]... [OPTION]...

Measures rows of docs/quantization.md (default: all that this build has not measured yet) and prints them beside the targets.
  --model=NAME, --row=NAME   only these; may be repeated. FP32, which others are compared with, always
  --no-left-out              photos: not each one left out as well
  --again                    also rows that this build has measured
  --jobs=N                   rows side by side (default: one for each processor, as far as memory allows)
  --publish                  then write docs/quantization.md and bench/results/; alone: what was measured before
  --check                    does docs/quantization.md say what bench/results/ says? Exit code 1 if not
  --list                     names of the rows"""


class Options:
    FLAGS = ("--no-left-out", "--again", "--publish", "--check", "--list")

    def __init__(self, args):
        self.parts, self.models, self.names, self.flags, self.jobs = [], [], [], set(), None
        for a in args:
            self.take(a, *a.partition("=")[::2])
        if not self.parts and (self.models or self.names or "--publish" not in self.flags):
            self.parts = list(rows.MODELS)

    def take(self, a, name, value):
        if a == "--help":
            print(USAGE)
            sys.exit(0)
        if a in rows.MODELS:
            self.parts.append(a)
        elif name == "--model" and any(value in models for models in rows.MODELS.values()):
            self.models.append(value)
        elif name == "--row" and value in all_names():
            self.names.append(value)
        elif name == "--jobs" and value.isdigit() and int(value):
            self.jobs = int(value)
        elif a in self.FLAGS:
            self.flags.add(a)
        else:
            sys.exit(f"bench/quant.sh: '{a}' is no part, option, model or row (--list names the rows)\n{USAGE}")

    def wants(self, model, row):
        return (not self.models or model in self.models) and (not self.names or row.name in self.names or row.name == "FP32")


def all_names():
    return list({r.name: 0 for part, models in rows.MODELS.items() for m in models for r in rows.rows_of(part, m)})


class Job:
    """A row of a model that is to be measured."""
    def __init__(self, part, model, row, left_out):
        self.part, self.model, self.row, self.left_out = part, model, row, left_out
        self.key = store.key(part, model, row, left_out)

    def run(self, references):
        with tempfile.TemporaryDirectory() as work:
            before = measure.used()
            if self.part == "photos":
                found = measure.photo_row(work, self.model, self.row, f"{references}/{self.model}", self.left_out)
            else:
                found = getattr(measure, self.part)(work, self.model, self.row)
            found["seconds"] = round(found["seconds"], 2)
            return {"options": store.told(self.row), "key": self.key, **store.stamp(), "took": round(measure.used() - before, 2), **found}


def jobs_of(options, result):
    """Rows that are wanted, can be measured and were not measured by this build; long ones of a part first."""
    found = []
    for part in rows.MODELS:
        for m in rows.MODELS[part] if part in options.parts else []:
            if not measure.path_of(m) or (part != "top1" and not measure.photos()):
                print(f"bench/quant.sh: {part} of {m} left out: its model or photos are not here", file=sys.stderr)
                continue
            todo = [Job(part, m, r, "--no-left-out" not in options.flags) for r in rows.rows_of(part, m) if options.wants(m, r)]
            found += [j for j in todo if "--again" in options.flags or result.get(part, {}).get(m, {}).get(j.row.name, {}).get("key") != j.key]
    order = list(rows.MODELS)
    return sorted(found, key=lambda j: (order.index(j.part), not any("adaround" in o for o in j.row.options)))


def workers(options):
    """As many as the machine has processors, and no more than its free memory bears."""
    with open("/proc/meminfo", encoding="ascii") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable:")) // 1024
    return options.jobs or max(1, min(os.cpu_count(), free // JOB_MB))


def say(job, figures, done, count):
    text = tables.short(job.part, figures)
    print(f"[{done}/{count}] {job.model}, {job.row.name}: {text}; {figures['took']:.1f} s", file=sys.stderr, flush=True)


def measured(options, result):
    """Measures, keeping every row as soon as it is there; True if all went well."""
    jobs, good = jobs_of(options, result), True
    with tempfile.TemporaryDirectory() as references, concurrent.futures.ThreadPoolExecutor(workers(options)) as pool:
        for m in dict.fromkeys(j.model for j in jobs if j.part == "photos"):
            measure.reference(f"{references}/{m}", m)
        waiting = {pool.submit(j.run, references): j for j in jobs}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
                job = waiting[future]
                if future.exception():
                    print(f"bench/quant.sh: {job.model}, {job.row.name}: {future.exception()}", file=sys.stderr)
                    good = False
                    continue
                store.put(result, job.part, job.model, job.row, future.result())
                store.save(store.STORE, result)
                say(job, future.result(), done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return good


def page(result):
    with open(tables.PAGE, encoding="utf-8") as f:
        text = f.read()
    for name, lines in tables.sections(result).items():
        text = publish.replaced(text, name, lines, tables.PAGE, tables.BY)
    return text


def check():
    result = store.load(store.PUBLISHED)
    if not result:
        sys.exit(f"bench/quant.sh: {store.PUBLISHED} is missing: nothing has been published")
    with open(tables.PAGE, encoding="utf-8") as f:
        same = f.read() == page(result)
    sys.exit(0 if same else f"bench/quant.sh: {tables.PAGE} is not as bench/results/ has it (bench/quant.sh --publish writes it)")


def published(result):
    """Rows that were not measured here stay as they were published."""
    result = store.merged(store.load(store.PUBLISHED), result)
    store.write(tables.PAGE, page(result))
    store.save(store.PUBLISHED, result)


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options, start = Options(sys.argv[1:]), time.monotonic()
    if "--check" in options.flags:
        check()
    if "--list" in options.flags:
        print("\n".join(all_names()))
        return
    result, good = store.load(store.STORE), True
    try:
        good = measured(options, result)
        if "--publish" in options.flags:
            published(result)
    except KeyboardInterrupt:
        sys.exit(f"bench/quant.sh: interrupted; the rows that were finished are in {store.STORE}")
    except (RuntimeError, OSError) as error:
        sys.exit(f"bench/quant.sh: {error}")
    chosen = {p: {m: r for m, r in models.items() if not options.models or m in options.models}
              for p, models in store.merged({}, result).items() if p in (options.parts or rows.MODELS)}
    print("\n".join(line for part in tables.sections(chosen).values() for line in part))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"{time.monotonic() - start:.0f} s by the clock, largest process {peak} MB\n{tables.summary(chosen)}")
    sys.exit(0 if good else 1)


main()

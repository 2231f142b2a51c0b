# SPDX-License-Identifier: MIT
"""The emulated device in its guest: empty jobs, and the models' deterministic cycles."""
import json
import subprocess

import catalog
from catalog import Skip, note

NULL_JOBS = [(submit, depth) for submit in ("uring", "ioctl") for depth in (1, 32)]


def guest(command):
    script = f"{catalog.BUILD}/device.sh"
    with open(script, "w", encoding="ascii") as f:
        f.write(command + "\n")
    r = subprocess.run(["scripts/guest-run.sh", "--share", ".", "--timeout", "300", "--", "sh", script],
                       stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(x) for x in r.stdout.splitlines() if x.startswith("{")]


def measure(_peer, settings):
    models = []
    for name in ("nanodet_g_416", "fashion_resnet", "fashion_mobilenetv2"):
        try:
            models += [(name, cores, catalog.compiled(name, "e4m3", cores)) for cores in (1, 2)]
        except Skip as why:
            note(f"device: {name} skipped: {why}")
    subprocess.run(["make", "-s", "device"], check=True)
    # One line per object, whatever the command prints.
    line = " --json 2>/dev/null | tr -d '\\n'; echo"
    out = guest("\n".join([f"mica bench --null-jobs --submit={s} --depth={d} --seconds={settings['device_s']}{line}" for s, d in NULL_JOBS] +
                          [f"mica bench {f} --backend=device --seconds={settings['device_s']}{line}" for _, _, f in models]))
    if len(out) != len(NULL_JOBS) + len(models):
        raise RuntimeError(f"the guest answered {len(out)} of {len(NULL_JOBS) + len(models)} commands")
    return {"null_jobs": out[:len(NULL_JOBS)],
            "models": [{"name": n, "cores": c, **r} for (n, c, _), r in zip(models, out[len(NULL_JOBS):])]}

# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on the lab: tasks a host, seconds for the first run and for an unchanged rerun, and where the time goes.

    tools/run python tests/benchmarks/bench_site.py [variant]

Starts a lab of its own (prefix bench) and takes it down. Prints a table and writes build/bench_site.json.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def play(*arguments):
    """Run ansible-playbook; its wall and CPU seconds (controller and lab hosts' share apart), and the task durations."""
    with tempfile.NamedTemporaryFile() as record:
        env = dict(
            os.environ,
            ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests" / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="record",
            RECORD_FILE=record.name,
        )
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "-e", "lab_prefix=bench", *arguments],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(done.stdout)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"wall": wall, "cpu": cpu, **json.loads(Path(record.name).read_text())}


def forget_bytecode():
    """A user's host compiles each module at every call (docs/lab.md)."""
    command = ["ansible", "-e", "lab_prefix=bench", "-m", "raw", "-a", "rm -r /var/cache/vtep-fabric-bytecode", "lab"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def show(title, run, most):
    ran = [task for task in run["tasks"] if task["hosts"]]
    modules = [task for task in ran if task["action"].startswith("vtep.fabric.")]
    changed = sum(host["changed"] for task in ran for host in task["hosts"].values())
    print(
        f"{title}: {run['wall']:.1f} s wall, {run['cpu']:.1f} s CPU, {len(ran)} tasks, {len(modules)} of them modules, changed {changed}"
    )
    for task in sorted(ran, key=lambda task: -task["seconds"])[:most]:
        print(f"    {task['seconds']:6.2f} s  {len(task['hosts'])} hosts  {task['name']}")


def main():
    variant = sys.argv[1] if len(sys.argv) > 1 else "unicast-static-l2"
    report = {"variant": variant}
    try:
        report["lab up"] = play("playbooks/lab_up.yml")
        forget_bytecode()
        report["first run"] = play("site.yml", "-e", f"variant={variant}")
        report["unchanged rerun"] = play("site.yml", "-e", f"variant={variant}")
        report["check mode"] = play("site.yml", "-e", f"variant={variant}", "--check", "--diff")
    finally:
        play("playbooks/lab_down.yml")
    for title in ("lab up", "first run", "unchanged rerun", "check mode"):
        show(f"{variant}, {title}", report[title], 6)
    path = ROOT / "build" / "bench_site.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2))
    rerun = report["unchanged rerun"]["wall"]
    print(
        f"budget: unchanged rerun over three VTEPs {rerun:.1f} s of at most 12 s: {'met' if rerun <= 12 else 'MISSED'}"
    )


main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fdb module costs against `bridge`, as ratios of CPU seconds (user and system) taken in the same run.

Everything happens in a network namespace of its own. The runs of a round follow one another, so that whatever else
the machine does falls on all of them; medians of the rounds count. "core" is what the module does besides being
started by Ansible: reading the file, parsing, validating, reading the kernel, planning, writing and reading back, in
a Python process of its own; "process" adds Python's start and all imports. `bridge` is counted as a whole process.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEV = "vxlan100"
VTEPS = 1000
BUDGETS = [  # (rows, what, against, at most)
    (10_000, "apply", "bridge -batch", 1.0),
    (100_000, "apply", "bridge -batch", 0.65),
    (100_000, "unchanged", "bridge fdb show", 0.4),
    (100_000, "dump", "bridge fdb show", 1.2),
]
PEAK = 64  # MB, with 100,000 rows
PLAYBOOK = 0.6  # seconds over a trivial task


def rows(count):
    return [
        f"50:54:{i >> 24:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x} dst 2001:db8:{i % VTEPS + 1:x}::1"
        for i in range(count)
    ]


def core(path, purge, expected):
    """Run the module's core in this process; print its CPU seconds."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import FdbResource
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge

    before = time.process_time()
    core = FdbResource()
    params = {"dev": [DEV], "entries": None, "table": None, "src": path, "state": "present", "purge": purge, "anew": []}
    outcome = converge(core, params, False)
    core.close()
    print(time.process_time() - before)
    if outcome.result["rows"][expected] != len(rows_of(path)):
        sys.exit(f"not what was to be measured: {outcome.result}")


def rows_of(path):
    return Path(path).read_text().splitlines()


def measured(*command):
    """(standard output, CPU seconds, peak memory in MB) of a process."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        out = process.stdout.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return out, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def round_of(folder, count):
    """One round: {what: CPU seconds}, and peak memory in MB."""
    python = (sys.executable, "-s", __file__, "--core", str(folder / "table"))
    took, peak = {}, {}

    def ours(what, purge, expected):
        out, took[f"{what} process"], peak[what] = measured(*python, purge, expected)
        took[what] = float(out)

    fresh()
    _out, took["bridge -batch"], peak["bridge -batch"] = measured("bridge", "-batch", str(folder / "batch"))
    fresh()
    ours("apply", "none", "added")
    ours("unchanged", "none", "unchanged")
    out, took["bridge fdb show"], peak["bridge fdb show"] = measured("bridge", "fdb", "show", "dev", DEV)
    if len(out.splitlines()) != count:
        sys.exit(f"{len(out.splitlines())} rows instead of {count}")
    ours("dump", "owned", "unchanged")
    return took, peak


def private_network():
    """Put this process into a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        sys.exit(f"no private network namespace: {os.strerror(ctypes.get_errno())}; run as root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def fresh():
    """An empty table."""
    subprocess.run(["ip", "link", "del", DEV], check=False, capture_output=True)
    add = f"ip link add {DEV} type vxlan id 100 dstport 4789 local 2001:db8:ffff::1 nolearning"
    subprocess.run(add.split(), check=True)


def playbooks(folder, rounds):
    """What a task with 100,000 unchanged rows takes over a trivial one: {form: (seconds of wall time, of CPU)}.

    The least of the rounds counts, since what disturbs a run can only lengthen it.
    """
    table = f"{{{{ lookup('ansible.builtin.file', '{folder}/table') }}}}"
    tasks = {
        "trivial": "ansible.builtin.ping: {}",
        "src": f"vtep.fabric.fdb: {{dev: {DEV}, src: '{folder}/table'}}",
        "table": f'vtep.fabric.fdb: {{dev: {DEV}, table: "{table}"}}',
    }
    for name, task in tasks.items():
        play = f"- hosts: localhost\n  gather_facts: false\n  connection: local\n  tasks:\n    - {task}\n"
        (folder / f"{name}.yml").write_text(play)
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
    took = {name: [] for name in tasks}
    for _turn in range(rounds):
        for name in tasks:
            command = [
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                "localhost,",
                folder / f"{name}.yml",
            ]
            start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
            wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            took[name].append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
            if done.returncode or "changed=0" not in done.stdout:
                sys.exit(done.stdout + done.stderr)
    least = {name: [min(column) for column in zip(*runs)] for name, runs in took.items()}
    return {name: [ours - trivial for ours, trivial in zip(least[name], least["trivial"])] for name in ("src", "table")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--no-playbook", action="store_true", help="leave the playbook runs out")
    options = parser.parse_args()
    if options.core:
        return core(*options.core)
    private_network()
    report = {"sizes": {}, "budgets": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            table = rows(count)
            (folder / "table").write_text("\n".join(table) + "\n")
            (folder / "batch").write_text("".join(f"fdb add {row} dev {DEV}\n" for row in table))
            done = [round_of(folder, count) for _turn in range(3 if count > 50_000 else 7)]
            took = {what: statistics.median(once[what] for once, _peak in done) for what in done[0][0]}
            peak = {what: max(once[what] for _took, once in done) for what in done[0][1]}
            report["sizes"][count] = {"cpu_seconds": took, "peak_mb": peak}
            show(count, took, peak)
        for count, what, against, most in BUDGETS:
            if count in options.sizes:
                took = report["sizes"][count]["cpu_seconds"]
                judge(report, f"{what} {count} rows / {against}", took[what] / took[against], most)
        if 100_000 in options.sizes:
            peak = report["sizes"][100_000]["peak_mb"]
            judge(
                report, "peak memory with 100000 rows, MB", max(peak[w] for w in ("apply", "unchanged", "dump")), PEAK
            )
            if not options.no_playbook:
                for form, (extra, cpu) in playbooks(folder, 5).items():
                    print(f"     the same in CPU s: {cpu:.2f}")
                    judge(
                        report,
                        f"playbook task, 100000 unchanged rows from {form}, s over a trivial task",
                        extra,
                        PLAYBOOK,
                    )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if all(budget["held"] for budget in report["budgets"]) else 1)


def show(count, took, peak):
    print(f"\n{count} rows {'CPU s':>26} {'/ -batch':>9} {'/ show':>7} {'core only':>10} {'peak MB':>8}")
    for what in ("bridge -batch", "apply", "bridge fdb show", "unchanged", "dump"):
        whole = took.get(f"{what} process", took[what])
        ratios = f"{took[what] / took['bridge -batch']:9.2f} {took[what] / took['bridge fdb show']:7.2f}"
        inner = f"{took[what]:10.3f}" if f"{what} process" in took else " " * 10
        print(f"  {what:<30} {whole:8.3f} {ratios} {inner} {peak[what]:8.0f}", flush=True)


def judge(report, what, value, most):
    held = value <= most
    report["budgets"].append({"what": what, "value": round(value, 3), "at_most": most, "held": held})
    print(f"{'ok  ' if held else 'OVER'} {what}: {value:.2f} (at most {most})", flush=True)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fdb module costs against `bridge`, as ratios of CPU seconds (user and system) taken in the same run.

Everything happens in a network namespace of its own. The runs of a round follow one another, so that whatever else
the machine does falls on all of them; medians of the rounds count. "core" is what the module does besides being
started by Ansible: reading the file, parsing, validating, reading the kernel, planning, writing and reading back, in
a Python process of its own; "process" adds Python's start and all imports. `bridge` is counted as a whole process.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Report, measured, parser, private_network

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
    words = parser(__doc__, [1_000, 10_000, 100_000], core=3)
    words.add_argument("--no-playbook", action="store_true", help="leave the playbook runs out")
    options = words.parse_args()
    if options.core:
        return core(*options.core)
    private_network()
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            table = rows(count)
            (folder / "table").write_text("\n".join(table) + "\n")
            (folder / "batch").write_text("".join(f"fdb add {row} dev {DEV}\n" for row in table))
            done = [round_of(folder, count) for _turn in range(3 if count > 50_000 else 7)]
            took = {what: statistics.median(once[what] for once, _peak in done) for what in done[0][0]}
            peak = {what: max(once[what] for _took, once in done) for what in done[0][1]}
            report.add(count, took, peak, "bridge -batch", "bridge fdb show")
        report.judge_ratios(BUDGETS)
        if 100_000 in options.sizes:
            peak = report.told["sizes"][100_000]["peak_mb"]
            report.judge("peak memory with 100000 rows, MB", max(peak[w] for w in ("apply", "unchanged", "dump")), PEAK)
            if not options.no_playbook:
                for form, (extra, cpu) in playbooks(folder, 5).items():
                    print(f"     the same in CPU s: {cpu:.2f}")
                    report.judge(
                        f"playbook task, 100000 unchanged rows from {form}, s over a trivial task",
                        extra,
                        PLAYBOOK,
                    )
    sys.exit(report.end(options.json))


if __name__ == "__main__":
    main()

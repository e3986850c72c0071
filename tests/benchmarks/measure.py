# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of tables share: measuring a process, a network namespace, and the report with its budgets."""

import argparse
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def parser(description, sizes, core):
    """Of the command line. core: how many values --core takes, by which a benchmark calls itself."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--core", nargs=core, help=argparse.SUPPRESS)
    made.add_argument("--json", type=Path, help="write the figures here as well")
    made.add_argument("--sizes", type=int, nargs="+", default=sizes)
    return made


def measured(*command):
    """(standard output, CPU seconds, peak memory in MB) of a process."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        out = process.stdout.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return out, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def private_network():
    """Put this process into a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        sys.exit(f"no private network namespace: {os.strerror(ctypes.get_errno())}; run as root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Report:
    """Figures by size, and the budgets that were held or not."""

    def __init__(self):
        self.told = {"sizes": {}, "budgets": []}

    def add(self, count, took, peak, batch, show):
        """The figures of a size, which are printed beside those of iproute2's ways to write and to show the rows."""
        self.told["sizes"][count] = {"cpu_seconds": took, "peak_mb": peak}
        print(f"\n{count} rows {'CPU s':>26} {'/ -batch':>9} {'/ show':>7} {'core only':>10} {'peak MB':>8}")
        for what, most in peak.items():
            whole = took.get(f"{what} process", took[what])
            ratios = f"{took[what] / took[batch]:9.2f} {took[what] / took[show]:7.2f}"
            inner = f"{took[what]:10.3f}" if f"{what} process" in took else " " * 10
            print(f"  {what:<30} {whole:8.3f} {ratios} {inner} {most:8.0f}", flush=True)

    def judge(self, what, value, most):
        held = value <= most
        self.told["budgets"].append({"what": what, "value": round(value, 3), "at_most": most, "held": held})
        print(f"{'ok  ' if held else 'OVER'} {what}: {value:.2f} (at most {most})", flush=True)

    def judge_ratios(self, budgets, rows="rows"):
        """budgets: (rows, what, against, at most), as far as the size was measured."""
        for count, what, against, most in budgets:
            if count in self.told["sizes"]:
                took = self.told["sizes"][count]["cpu_seconds"]
                self.judge(f"{what} {count} {rows} / {against}", took[what] / took[against], most)

    def end(self, path):
        """Write the figures where that is wanted. The exit status: 0 if every budget was held."""
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.told, indent=2) + "\n")
        return 0 if all(budget["held"] for budget in self.told["budgets"]) else 1

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the route module costs against `ip`, as ratios of CPU seconds (user and system) taken in the same run.

Everything happens in a network namespace of its own; the routes are those of IPv6 endpoints behind 1000 VTEPs, each with
a VXLAN encapsulation. The runs of a round follow one another, so that whatever else the machine does falls on all of
them; medians of the rounds count. "core" is what the module does besides being started by Ansible: reading the file,
parsing, validating, reading the kernel, planning, writing and reading back. `ip` is counted as a whole process.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Report, measured, parser, private_network

VTEPS = 1000
BUDGETS = [  # (rows, what, against, at most)
    (10_000, "apply", "ip -batch", 1.3),
    (100_000, "apply", "ip -batch", 0.8),
    (100_000, "unchanged", "ip -batch", 0.5),
    (100_000, "dump", "ip -batch", 0.5),
    (100_000, "purge", "ip -batch", 0.8),
]
PEAK = 128  # MB, with 100,000 rows
SECONDS = 5  # of wall time, for 100,000 rows


def rows(count):
    return [
        f"2001:db8:ff:{i >> 16:x}::{i & 0xFFFF:x}/128 encap ip6 id 100 src 2001:db8:1::1 "
        f"dst 2001:db8:{i % VTEPS + 2:x}::1 hoplimit 5 dev vxlan100"
        for i in range(count)
    ]


def core(path, purge, expected, count):
    """Run the module's core in this process; print its seconds of CPU and wall time."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.route import RouteResource
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge

    cpu, wall = time.process_time(), time.monotonic()
    resource = RouteResource()
    params = {"entries": None, "table": None, "src": path, "state": "present", "purge": purge, "anew": []}
    outcome = converge(resource, params, False)
    resource.close()
    print(time.process_time() - cpu, time.monotonic() - wall)
    if outcome.result["rows"][expected] != int(count):
        sys.exit(f"not what was to be measured: {outcome.result}")


def round_of(folder, count):
    """One round: {what: CPU seconds}, {what: peak memory in MB}, {what: seconds of wall time}."""
    took, peak, wall = {}, {}, {}

    def ours(what, table, purge, expected):
        python = (sys.executable, "-s", __file__, "--core", str(folder / table), purge, expected, str(count))
        out, took[f"{what} process"], peak[what] = measured(*python)
        took[what], wall[what] = map(float, out.split())

    fresh()
    _out, took["ip -batch"], peak["ip -batch"] = measured("ip", "-6", "-batch", str(folder / "batch"))
    fresh()
    ours("apply", "table", "none", "added")
    ours("unchanged", "table", "none", "unchanged")
    out, took["ip route show"], peak["ip route show"] = measured("ip", "-6", "route", "show", "dev", "vxlan100")
    if len(out.splitlines()) < count:
        sys.exit(f"{len(out.splitlines())} routes instead of {count}")
    ours("dump", "table", "owned", "unchanged")
    ours("purge", "none", "owned", "removed")
    return took, peak, wall


def fresh():
    """No routes."""
    subprocess.run(["ip", "link", "del", "vxlan100"], check=False, capture_output=True)
    subprocess.run(["ip", "link", "add", "vxlan100", "type", "vxlan", "external", "dstport", "4789"], check=True)
    subprocess.run(["ip", "link", "set", "vxlan100", "up"], check=True)


def main():
    options = parser(__doc__, [10_000, 100_000], core=4).parse_args()
    if options.core:
        return core(*options.core)
    private_network()
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            table = rows(count)
            (folder / "table").write_text("\n".join(table) + "\n")
            (folder / "batch").write_text("".join(f"route add {row} proto 118\n" for row in table))
            (folder / "none").write_text("")
            done = [round_of(folder, count) for _turn in range(3 if count > 50_000 else 7)]
            took, peak, wall = (
                {what: pick(once[part][what] for once in done) for what in done[0][part]}
                for part, pick in enumerate((statistics.median, max, statistics.median))
            )
            report.told["sizes"][count] = {"cpu_seconds": took, "peak_mb": peak, "wall_seconds": wall}
            show(count, took, peak, wall)
        report.judge_ratios(BUDGETS, "routes")
        if 100_000 in options.sizes:
            figures = report.told["sizes"][100_000]
            most = max(figures["peak_mb"][what] for what in figures["wall_seconds"])
            report.judge("peak memory with 100000 routes, MB", most, PEAK)
            report.judge("100000 routes, s of wall time", max(figures["wall_seconds"].values()), SECONDS)
    sys.exit(report.end(options.json))


def show(count, took, peak, wall):
    print(
        f"\n{count} routes {'CPU s':>24} {'/ -batch':>9} {'/ show':>7} {'core only':>10} {'wall s':>7} {'peak MB':>8}"
    )
    for what in ("ip -batch", "apply", "ip route show", "unchanged", "dump", "purge"):
        whole = took.get(f"{what} process", took[what])
        ratios = f"{took[what] / took['ip -batch']:9.2f} {took[what] / took['ip route show']:7.2f}"
        inner = f"{took[what]:10.3f} {wall[what]:7.3f}" if what in wall else " " * 18
        print(f"  {what:<30} {whole:8.3f} {ratios} {inner} {peak[what]:8.0f}", flush=True)


if __name__ == "__main__":
    main()

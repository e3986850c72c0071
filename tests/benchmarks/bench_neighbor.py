# SPDX-License-Identifier: GPL-3.0-or-later
"""What the neighbor module costs against `ip`, measured as bench_fdb.py does: ratios of CPU seconds taken in the same run."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Report, measured, parser, private_network

DEV = "vxlan100"
BUDGETS = [  # (rows, what, against, at most)
    (100_000, "apply", "ip -batch", 0.7),
    (100_000, "unchanged", "ip neigh show", 0.4),
]
PEAK = 96  # MB, with 100,000 rows


def rows(count):
    return [
        f"2001:db8:ff:{i >> 16:x}::{i & 65535:x} dev {DEV} "
        f"lladdr 50:54:{i >> 24:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x} nud permanent"
        for i in range(1, count + 1)
    ]


def core(path, purge, expected):
    """Run the module's core in this process; print its CPU seconds."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.neighbor import NeighborResource
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
    from ansible_collections.vtep.fabric.plugins.module_utils._daemons import last_run

    last_run.DIRECTORY = Path(path).parent / "last-run"
    before = time.process_time()
    core = NeighborResource()
    params = {"dev": [DEV], "entries": None, "table": None, "src": path, "state": "present", "purge": purge, "anew": []}
    outcome = converge(core, params, False)
    core.close()
    print(time.process_time() - before)
    if outcome.result["rows"][expected] != len(Path(path).read_text().splitlines()):
        sys.exit(f"not what was to be measured: {outcome.result}")


def round_of(folder, count):
    """One round: {what: CPU seconds}, and peak memory in MB. "unchanged, first" is without a record of the last run."""
    records = folder / "last-run"
    python = (sys.executable, "-s", __file__, "--core", str(folder / "table"))
    took, peak = {}, {}

    def ours(what, purge, expected):
        out, took[f"{what} process"], peak[what] = measured(*python, purge, expected)
        took[what] = float(out)

    fresh()
    _out, took["ip -batch"], peak["ip -batch"] = measured("ip", "-batch", str(folder / "batch"))
    fresh()
    ours("apply", "none", "added")
    ours("unchanged", "none", "unchanged")
    for record in records.glob("*"):
        record.unlink()
    ours("unchanged, first", "none", "unchanged")
    out, took["ip neigh show"], peak["ip neigh show"] = measured("ip", "neigh", "show", "dev", DEV)
    if len(out.splitlines()) != count:
        sys.exit(f"{len(out.splitlines())} rows instead of {count}")
    return took, peak


def fresh():
    """An empty table."""
    subprocess.run(["ip", "link", "del", DEV], check=False, capture_output=True)
    for words in (f"add {DEV} type vxlan id 100 dstport 4789 local 2001:db8:ffff::1", f"set {DEV} up"):
        subprocess.run(["ip", "link", *words.split()], check=True)


def main():
    options = parser(__doc__, [1_000, 10_000, 100_000], core=3).parse_args()
    if options.core:
        return core(*options.core)
    private_network()
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            table = rows(count)
            (folder / "table").write_text("\n".join(table) + "\n")
            (folder / "batch").write_text("".join(f"neigh add {row} protocol 118\n" for row in table))
            done = [round_of(folder, count) for _turn in range(5)]
            took = {what: statistics.median(once[what] for once, _peak in done) for what in done[0][0]}
            peak = {what: max(once[what] for _took, once in done) for what in done[0][1]}
            report.add(count, took, peak, "ip -batch", "ip neigh show")
        report.judge_ratios(BUDGETS)
        if 100_000 in options.sizes:
            peak = report.told["sizes"][100_000]["peak_mb"]
            report.judge("peak memory with 100000 rows, MB", max(peak["apply"], peak["unchanged"]), PEAK)
    sys.exit(report.end(options.json))


if __name__ == "__main__":
    main()

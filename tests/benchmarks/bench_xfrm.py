# SPDX-License-Identifier: GPL-3.0-or-later
"""What the xfrm module costs against `ip`, as ratios of CPU seconds (user and system) taken in the same run.

Everything happens in a network namespace of its own, on a kernel that has ESP: tools/full python tests/benchmarks/bench_xfrm.py.
The states are those of a VTEP with as many others, in both directions, AES-GCM over IPv6 with selectors; then its policies. The runs of a
round follow one another, so that whatever else the machine does falls on all of them; medians of the rounds count. "core" is what the
module does besides being started by Ansible: reading the file, parsing, validating, reading the kernel, planning, recording keys, writing
and reading back. `ip` is counted as a whole process.
"""

import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Report, measured, parser, private_network

OWN = "2001:db8:1::1"
BUDGETS = [  # (rows, what, against, at most)
    (10_000, "states: apply", "states: ip -batch", 0.5),
    (10_000, "states: unchanged", "states: ip xfrm state", 0.6),
    (10_000, "states: unchanged, purge", "states: ip xfrm state", 0.6),
    (10_000, "policies: apply", "policies: ip -batch", 0.5),
    (10_000, "policies: unchanged, purge", "policies: ip xfrm policy", 0.8),
]
SHOW = {"states": "state", "policies": "policy"}
SHARED = "reqid 118 mode transport"


def ends(i):
    """Source and destination of the row of a number: every second one goes out."""
    peer = f"2001:db8:{i // 2 + 2 >> 16:x}:{i // 2 + 2 & 0xFFFF:x}::1"
    return (OWN, peer) if i % 2 else (peer, OWN)


def state(i, keys):
    """The words of `ip` for a state, and the direction."""
    src, dst = ends(i)
    key = keys.getrandbits(288)
    return (
        f"src {src} dst {dst} proto esp spi {256 + i:#x} {SHARED} replay-window 64 flag esn "
        f"aead rfc4106(gcm(aes)) 0x{key:072x} 128",
        f"sel src {src}/128 dst {dst}/128 proto udp dport 4789",
        "out" if i % 2 else "in",
    )


def policy(i):
    src, dst = ends(i)
    spi = f" spi {256 + i:#x}" if i % 2 else ""
    return (
        f"src {src}/128 dst {dst}/128 proto udp dport 4789 dir {'out' if i % 2 else 'in'} priority 1000 "
        f"tmpl src {src} dst {dst} proto esp{spi} {SHARED}"
    )


def prepare(folder, count):
    keys = random.Random(118)  # keys of a benchmark need not be secret
    states = [state(i, keys) for i in range(count)]
    policies = [policy(i) for i in range(count)]
    texts = {
        "states": "".join(f"state {words} dir {way} {sel}\n" for words, sel, way in states),
        "policies": "".join(f"policy {words}\n" for words in policies),
        "none": "",
        "states batch": "".join(f"xfrm state add {words} {sel}\n" for words, sel, _way in states),
        "policies batch": "".join(f"xfrm policy add {words}\n" for words in policies),
    }
    for name, text in texts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o600)


def core(path, purge, expected, count):
    """Run the module's core in this process; print its seconds of CPU time."""
    import time

    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm_keys
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
    from ansible_collections.vtep.fabric.plugins.module_utils._ansible.xfrm import XfrmResource

    xfrm_keys.RECORD = Path(path).parent / "used-keys"
    start = time.process_time()
    resource = XfrmResource()
    params = {"states": None, "policies": None, "src": path, "state": "present", "purge": purge}
    outcome = converge(resource, params, False)
    resource.close()
    print(time.process_time() - start)
    if outcome.result["rows"][expected] != int(count):
        sys.exit(f"not what was to be measured: {outcome.result}")


def round_of(folder, count):
    """One round: {what: CPU seconds}, {what: peak memory in MB}."""
    took, peak = {}, {}
    for kind, word in SHOW.items():
        subprocess.run(["ip", "xfrm", "state", "flush"], check=True)
        subprocess.run(["ip", "xfrm", "policy", "flush"], check=True)
        (folder / "used-keys").unlink(missing_ok=True)

        def ours(what, table, purge, expected, kind=kind):
            name = f"{kind}: {what}"
            python = (sys.executable, "-s", __file__, "--core", str(folder / table), purge, expected, str(count))
            out, took[f"{name} process"], peak[name] = measured(*python)
            took[name] = float(out)

        def theirs(name, *command):
            out, took[name], peak[name] = measured("ip", *command)
            return out

        theirs(f"{kind}: ip -batch", "-batch", str(folder / f"{kind} batch"))
        subprocess.run(["ip", "xfrm", word, "flush"], check=True)
        ours("apply", kind, "none", "added")
        ours("unchanged", kind, "none", "unchanged")
        ours("unchanged, purge", kind, "owned", "unchanged")
        if theirs(f"{kind}: ip xfrm {word}", "xfrm", word).count(b"proto esp") != count:
            sys.exit(f"not {count} {kind}")
        ours("purge", "none", "owned", "removed")
    return took, peak


def main():
    options = parser(__doc__, [1000, 10_000], core=4).parse_args()
    if options.core:
        return core(*options.core)
    private_network()
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            prepare(folder, count)
            done = [round_of(folder, count) for _turn in range(1 if count > 50_000 else 3)]
            took, peak = (
                {what: pick(once[part][what] for once in done) for what in done[0][part]}
                for part, pick in enumerate((statistics.median, max))
            )
            report.told["sizes"][count] = {"cpu_seconds": took, "peak_mb": peak}
            show(count, took, peak)
        report.judge_ratios(BUDGETS)
    sys.exit(report.end(options.json))


def show(count, took, peak):
    print(f"\n{count} rows {'CPU s':>26} {'/ -batch':>9} {'/ show':>7} {'core only':>10} {'peak MB':>8}")
    for what, most in peak.items():
        kind = what.partition(":")[0]
        batch, shown = took[f"{kind}: ip -batch"], took[f"{kind}: ip xfrm {SHOW[kind]}"]
        whole = took.get(f"{what} process", took[what])
        ratios = f"{took[what] / batch:9.2f} {took[what] / shown:7.2f}"
        inner = f"{took[what]:10.3f}" if f"{what} process" in took else " " * 10
        print(f"  {what:<30} {whole:8.3f} {ratios} {inner} {most:8.0f}", flush=True)


if __name__ == "__main__":
    main()

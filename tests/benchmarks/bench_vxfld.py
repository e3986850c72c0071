# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxsnd costs: BUM frames replicated by the process and by the kernel, beside a minimal Python loop, and registrations.

Sender, service node and VTEPs are network namespaces joined by veths. A sender sends as fast as it can; frames are those
whose copies came to the VTEPs' side, which counts and drops them. "own" is the CPU of the replicating process alone. The
kernel replicates in whatever context the frame came in, so "machine" is the CPU of all of the machine that was not idle,
sender and all other programs included, and "path" leaves other programs out: sender, replicating process, and interrupts
of the whole machine. A replicating process is stopped when the sender ends, so that CPU and copies are of the same time.
The best of the rounds counts, since what disturbs a run can only slow it.
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Report

sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import messages, replicate, replicate_nft
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.config import Vxsnd
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.service_node import ServiceNode

NAMES = {role: f"bvx{os.getpid()}-{role}" for role in ("from", "sn", "to")}
SERVICE = {4: "10.1.0.2", 6: "2001:db8:1::2"}
SENDER = {4: "10.1.0.1", 6: "2001:db8:1::1"}
SIZES = (2, 10, 100)  # VTEPs that get a copy of each frame
VNI = 100
FRAME = b"\x08\0\0\0" + VNI.to_bytes(3, "big") + b"\0" + b"\xff" * 6 + bytes(86)  # 100 octets
BURSTS, BURST, PAUSE = 20, 1000, 0.1
NODES, EACH = 1000, 100  # registrations
TICK = os.sysconf("SC_CLK_TCK")

BUDGET_FRAMES = 25_000  # frames in for each CPU second of the process, with 2 copies
BUDGET_MB = 100
BUDGET_REFRESH = 1.0  # CPU seconds


def kind(family):
    return socket.AF_INET if family == 4 else socket.AF_INET6


def pack(address, family):
    return socket.inet_pton(kind(family), address)


def vteps(family, count):
    return [f"10.9.0.{one + 1}" if family == 4 else f"2001:db8:9::{one + 1:x}" for one in range(count)]


# --- what runs in a process of its own


def serve(cls, family, count):
    """A replicator on a loop, as the daemon has it."""
    one = cls(Vxsnd(svcnode_ip={family: pack(SERVICE[family], family)}, replicate="auto"))
    sender = pack(SENDER[family], family)
    one.update(VNI, [sender, *(pack(to, family) for to in vteps(family, count))], [sender])
    one.flush()
    loop = asyncio.new_event_loop()
    for fileno in one.filenos():
        loop.add_reader(fileno, one.handle, fileno, print)
    print("ready", flush=True)
    loop.run_forever()


def minimal(family, count):
    """One recvfrom, and one raw sendto for each copy. IPv4 only, where a copy needs no checksum."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, 33, replicate.RECEIVE_BUFFER)  # SO_RCVBUFFORCE
    one.bind((SERVICE[family], 4789))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    peers = [(pack(to, family), (to, 0)) for to in vteps(family, count)]
    print("ready", flush=True)
    while True:
        data, (host, port) = one.recvfrom(65535)
        head = struct.pack("!BBHHHBBH4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(host))
        tail = struct.pack("!HHHH", port, 4789, 8 + len(data), 0) + data
        for address, to in peers:
            raw.sendto(head + address + tail, to)


def flood(family, seconds):
    """Send for some seconds; 0: in bursts. Prints when it begins, and how many frames it sent."""
    one = socket.socket(kind(family), socket.SOCK_DGRAM)
    one.bind((SENDER[family], 50000))
    one.connect((SERVICE[family], 4789))
    for _turn in range(10):  # the neighbours are found
        one.send(FRAME)
        time.sleep(0.02)
    print("begin", flush=True)
    sys.stdin.readline()
    start, frames = time.monotonic(), 0
    if seconds:
        while time.monotonic() < start + seconds:
            for _turn in range(100):
                one.send(FRAME)
            frames += 100
    else:
        for burst in range(BURSTS):
            time.sleep(max(0, start + burst * PAUSE - time.monotonic()))
            for _turn in range(BURST):
                one.send(FRAME)
            frames += BURST
    print(frames, flush=True)
    sys.stdin.readline()  # so that its CPU can be read


def hold(path):
    """Take registrations in, and refresh them three times: memory, CPU seconds of the first time and of the best refresh."""
    data, datagrams, at = Path(path).read_bytes(), [], 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 6], "big")
        datagrams.append((data[at + 6 : at + 6 + size], (data[at : at + 4], 10001)))
        at += 6 + size
    node = ServiceNode(Vxsnd(), 1, random.Random(1))
    took = []
    for turn in range(4):
        now = 1000.0 + 30 * turn
        before = time.process_time()
        for one, source in datagrams:
            node.datagram(one, source, now, now)
        took.append(time.process_time() - before)
        node.tick(now + 1, now + 1)
        for waiting in (node.outbox, node.changed):
            waiting.clear()
    if node.registrations.count != NODES * EACH or node.counters["malformed"] or node.counters["expired"]:
        sys.exit(f"not what was to be measured: {node.registrations.count} registrations, {node.counters}")
    resident = int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024
    print(resident, took[0], min(took[1:]), len(datagrams))


CORES = {
    "process": lambda *words: serve(replicate.Replicator, *map(int, words)),
    "kernel": lambda *words: serve(replicate_nft.Replicator, *map(int, words)),
    "loop": lambda *words: minimal(*map(int, words)),
    "flood": lambda family, seconds: flood(int(family), float(seconds)),
    "hold": hold,
}


# --- the namespaces


def sh(*words, text=None):
    done = subprocess.run(words, capture_output=True, text=True, input=text, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def inside(role, *words, text=None):
    return sh("ip", "netns", "exec", NAMES[role], *words, text=text)


@contextlib.contextmanager
def network():
    try:
        for name in NAMES.values():
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        for role, dev, net in (("from", "e0", 1), ("to", "e1", 2)):
            sh("ip", "-n", NAMES["sn"], "link", "add", dev, "type", "veth", "peer", "name", "e0", "netns", NAMES[role])
            for where, link, host in ((role, "e0", 1), ("sn", dev, 2)):
                lines = f"addr add 10.{net}.0.{host}/24 dev {link}\n"
                lines += f"addr add 2001:db8:{net}::{host}/64 dev {link} nodad\nlink set {link} up\n"
                sh("ip", "-n", NAMES[where], "-batch", "-", text=lines)
        lines = "route add 10.9.0.0/16 via 10.2.0.1\nroute add 2001:db8:9::/48 via 2001:db8:2::1\n"
        sh("ip", "-n", NAMES["sn"], "-batch", "-", text=lines)
        rules = """table inet bench {
 counter seen { }
 chain frames { type filter hook prerouting priority -300; udp dport 4789 counter name seen drop; }
}
"""
        inside("to", "nft", "-f", "-", text=rules)
        yield
    finally:
        for name in NAMES.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def seen():
    """Copies that have come to the VTEPs' side."""
    return int(re.search(r"packets (\d+)", inside("to", "nft", "list", "counter", "inet", "bench", "seen")).group(1))


def machine():
    """CPU seconds of the machine: (not idle, interrupts)."""
    values = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(values) - values[3] - values[4]) / TICK, (values[5] + values[6]) / TICK


def cpu(process):
    return time.clock_gettime((~process.pid << 3) | 2)  # CPUCLOCK_SCHED of a process


@contextlib.contextmanager
def core(role, *words):
    """This program's part in a namespace; `ip netns exec` becomes it, so the process id is its own."""
    command = ["ip", "netns", "exec", NAMES[role], sys.executable, "-s", __file__, "--core", *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout.readline().strip() not in ("ready", "begin"):
                sys.exit(f"{words} did not start")
            yield process
        finally:
            process.kill()


def usage(worker, sender):
    """CPU seconds until now: (of the replicating process, of the frames' path, of the machine)."""
    busy, interrupts = machine()
    own = cpu(worker) if worker else 0
    return own, own + cpu(sender) + interrupts, busy


def run(way, family, count, seconds):
    """One run: figures by name. seconds 0: bursts, and all is waited for."""
    inside("sn", "nft", "flush", "ruleset")
    with contextlib.ExitStack() as stack:
        worker = None
        if way == "dropped":
            rules = "table inet b { chain c { type filter hook prerouting priority -400; udp dport 4789 drop; }\n}\n"
            inside("sn", "nft", "-f", "-", text=rules)
        else:
            worker = stack.enter_context(core("sn", way, family, count))
        sender = stack.enter_context(core("from", "flood", family, seconds))
        time.sleep(0.1)
        copies = seen()
        before, start = usage(worker, sender), time.monotonic()
        sender.stdin.write("\n")
        sender.stdin.flush()
        sent = int(sender.stdout.readline())
        if worker and seconds:
            os.kill(worker.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)
        took = time.monotonic() - start
        own, path, busy = (now - then for now, then in zip(usage(worker, sender), before))
        copies_now = seen()
        if not seconds:
            for _turn in range(100):
                time.sleep(0.1)
                former, copies_now = copies_now, seen()
                if former == copies_now:
                    break
        copies = copies_now - copies
    inside("sn", "nft", "flush", "ruleset")
    frames = copies / count if worker else sent
    figures = {"own": own, "path": path, "machine": busy}
    return {
        "sent": sent,
        "copies": copies,
        "frames": frames,
        "per_s": frames / took,
        "sent_per_s": sent / took,
        **figures,
    }


# --- the figures


def background():
    """CPUs of the machine that others keep busy."""
    busy, start = machine()[0], time.monotonic()
    time.sleep(2)
    return (machine()[0] - busy) / (time.monotonic() - start)


def replication(seconds, rounds, report):
    told = report.told["replication"] = []
    others = report.told["busy_cpus_before"] = round(background(), 2)
    print(f"{others} of {os.cpu_count()} CPUs were busy before. Frames in: a second, and for each CPU second")
    print(f"{'':12} {'copies':>8} {'frames/s':>9} {'/ own':>9} {'/ path':>9} {'/ machine':>10}", flush=True)
    for family in (4, 6):
        cases = [("dropped", 0)]
        cases += [
            (way, count) for count in SIZES for way in ("process", "kernel", "loop") if (way, family) != ("loop", 6)
        ]
        for way, count in cases:
            runs = [run(way, family, count, seconds) for _turn in range(rounds)]
            row = {"family": family, "way": way, "copies": count, "frames_per_s": max(one["per_s"] for one in runs)}
            for what in ("own", "path", "machine"):
                # What the kernel does is not in the CPU of the process that made its rules.
                if what != "own" or way in ("process", "loop"):
                    row[f"frames_per_{what}_cpu_s"] = max(one["frames"] / one[what] for one in runs)
            told.append({key: round(value) if isinstance(value, float) else value for key, value in row.items()})
            shown = [row.get(f"frames_per_{what}_cpu_s") for what in ("own", "path", "machine")]
            shown = [f"{value:.0f}" if value else "-" for value in shown]
            print(
                f"IPv{family} {way:8} {count:7} {row['frames_per_s']:9.0f} {shown[0]:>9} {shown[1]:>9} {shown[2]:>10}",
                flush=True,
            )


def at_least(report, what, value, least):
    held = value >= least
    report.told["budgets"].append({"what": what, "value": round(value), "at_least": least, "held": held})
    print(f"{'ok  ' if held else 'UNDER'} {what}: {value:.0f} (at least {least})", flush=True)


def bursts(report):
    told = report.told["bursts"] = []
    for family in (4, 6):
        for count in (2, 10):
            for way in ("process", "kernel"):
                one = run(way, family, count, 0)
                lost = one["sent"] * count - one["copies"]
                told.append({"family": family, "way": way, "copies": count, "frames": one["sent"], "copies_lost": lost})
                told[-1]["sent_per_s"] = round(one["sent_per_s"])
                print(f"     {one['sent_per_s']:.0f} frames/s were sent")
                what = f"copies lost of {one['sent'] * count}, bursts of {BURST}, IPv{family} {way}, {count} copies"
                if count == 2:
                    report.judge(what, lost, 0)
                else:
                    print(f"     {what}: {lost}", flush=True)


def registrations(report):
    with tempfile.NamedTemporaryFile() as file:
        for node in range(NODES):
            address = (0x0A140000 + node + 1).to_bytes(4, "big")
            whole = messages.Refresh(
                originator=True, holdtime=90, response_type=0, identifier=node + 1,
                vteps={vni + 1: [address] for vni in range(EACH)},
            )  # fmt: skip
            for part in messages.split(whole, Vxsnd().max_packet_size):
                data = messages.encode(part)
                file.write(address + len(data).to_bytes(2, "big") + data)
        file.flush()
        resident, first, again, datagrams = sh(sys.executable, "-s", __file__, "--core", "hold", file.name).split()
    resident, first, again = float(resident), float(first), float(again)
    report.told["registrations"] = {
        "nodes": NODES, "vnis": EACH, "datagrams": int(datagrams), "resident_mb": resident,
        "first_cpu_s": first, "refresh_cpu_s": again,
    }  # fmt: skip
    print(f"     {NODES * EACH} registrations in {datagrams} datagrams: {first:.2f} CPU s the first time")
    report.judge(f"MB of a process that holds {NODES * EACH} registrations", resident, BUDGET_MB)
    report.judge(f"CPU s to refresh {NODES * EACH} registrations", again, BUDGET_REFRESH)


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--core", nargs="+", help=argparse.SUPPRESS)
    words.add_argument("--json", type=Path, default=ROOT / "build" / "bench_vxfld.json")
    words.add_argument("--seconds", type=float, default=1.0, help="how long a run lasts")
    words.add_argument("--rounds", type=int, default=2)
    options = words.parse_args()
    if options.core:
        return CORES[options.core[0]](*options.core[1:])
    report = Report()
    del report.told["sizes"]
    registrations(report)
    with network():
        bursts(report)
        replication(options.seconds, options.rounds, report)
    for row in report.told["replication"]:
        if row["way"] == "process" and row["copies"] == 2:
            at_least(
                report,
                f"IPv{row['family']} frames / CPU s of the process, 2 copies",
                row["frames_per_own_cpu_s"],
                BUDGET_FRAMES,
            )
    sys.exit(report.end(options.json))


if __name__ == "__main__":
    main()

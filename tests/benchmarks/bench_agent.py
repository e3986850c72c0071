# SPDX-License-Identifier: GPL-3.0-or-later
"""What vtep-agent takes: from a miss to its row, beside a loop of the shell; misses in a storm; its start and memory; etcd's changes.

The agent is the program that hosts get, with its defaults and a registry of 100,000 endpoints, in a network namespace of its own. A
miss is a frame to a MAC of which the VXLAN device has no row, sent by a packet socket; the clock stops when another socket has
heard of the row (RTM_NEWNEIGH). That one is polled, so that the time which a sleeper takes to wake is the agent's alone. "loop" is
the least that Python can do, and depends on the machine alone: it receives, looks into a dictionary, and sends.

The best of the rounds counts, since what disturbs a run can only slow it; the machine's load is told. On a machine that others keep
busy, --realtime has the scheduler prefer what is measured here, agents included; that is told as well.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import random
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Report, private_network

sys.path.insert(0, str(ROOT / "collections"))
sys.path.insert(0, str(ROOT / "tests/kernel"))

from ansible_collections.vtep.fabric.plugins.module_utils._agent import claims, etcd, http
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.listen import listen
from ansible_collections.vtep.fabric.plugins.plugin_utils import program_archive
from etcd_support import PASSWORD, VERSIONS, Certificates, Etcd
from suite_host import image

NEIGH_GROUP, RTM_NEWNEIGH, RTM_GETNEIGH = 1 << 2, 28, 30
CLONE_NEWNET = 0x40000000
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
VNI = {4: 100, 6: 600}
ENDPOINTS = {4: 70_000, 6: 30_000}
VTEPS = 100
SOURCE = bytes.fromhex("020000000001")
GAP = 0.002  # seconds at most, from a row to the next miss
WAIT = 2.0  # seconds for a row
STORM, RATE, BURST = 30_000, 20_000, 20
SHELL_MISSES = 100
CHANGES = 20
HUB, HOSTS = "10.7.0.1", {"a": "10.7.0.11", "b": "10.7.0.12", "c": "10.7.0.13"}

BUDGET_MEDIAN, BUDGET_99 = 60, 400  # microseconds
BUDGET_QUICKER = 25
BUDGET_START, BUDGET_MB = 2.0, 120
BUDGET_CHANGE = 150  # milliseconds

# A table of `MAC VTEP` in memory, and nothing but one process for a row.
SHELL = """
declare -A way
while read -r mac vtep; do way[$mac]=$vtep; done < "$1"
ip monitor neigh | while read -r word _ dev kind mac rest; do
  if [ "$word $kind" = "miss lladdr" ] && [ -n "${way[$mac]}" ]; then
    bridge fdb replace "$mac" dev "$dev" dst "${way[$mac]}" self dynamic
  fi
done
"""


def sh(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def ip(*lines):
    sh("ip", "-batch", "-", input="\n".join(lines) + "\n")


def cpu(pid):
    """CPU seconds of a process until now."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of a process


# --- the registry, the devices, the agent


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def mac(family, number):
    return bytes([2, family]) + number.to_bytes(4, "big")


def vtep(family, number):
    return packed(OWN[family])[:-1] + bytes([2 + number % VTEPS])


def claim(family, number):
    address = (
        bytes([10]) + number.to_bytes(3, "big") if family == 4 else packed("fd00::")[:12] + number.to_bytes(4, "big")
    )
    return claims.Claim(VNI[family], mac(family, number), vtep(family, number), (address,), 0)


def devices():
    """A VXLAN device of each family, in a bridge with an access port."""
    ip(
        "link add up0 type veth peer name up1",
        "link set up1 up",
        "link set up0 up",
        f"addr add {OWN[4]}/24 dev up0",
        f"addr add {OWN[6]}/64 dev up0 nodad",
    )
    for family, vni in VNI.items():
        kinds = f"id {vni} dstport {4789 + family} local {OWN[family]} nolearning l2miss"
        ip(
            f"link add br{vni} type bridge",
            f"link add vx{vni} type vxlan {kinds}",
            f"link set vx{vni} master br{vni} up",
            f"link add p{vni} type veth peer name host{vni}",
            f"link set p{vni} master br{vni} up",
            f"link set br{vni} up",
        )


class Agent:
    """`vtep-agent run`, as hosts have it."""

    def __init__(self, directory, prefix=(), **registry):
        self.directory, self.prefix = Path(directory), prefix
        self.directory.mkdir(exist_ok=True)
        self.config, self.log = self.directory / "agent.conf", self.directory / "log"
        self.process = None
        self.program = self.directory.parent / "vtep-agent"
        if not self.program.exists():
            self.program.write_bytes(program_archive.build({"vtep-agent": "_agent.command"}))
        own = {"logdest": self.log, "pidfile": self.directory / "pid", "udsfile": self.directory / "sock"}
        own.update(statedir=self.directory / "state", limit=sum(ENDPOINTS.values()))
        lines = []
        for section, keys in (("agent", own), ("registry", registry)):
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def words(self, *words):
        return [*self.prefix, sys.executable, "-I", str(self.program), "-c", str(self.config), *words]

    def start(self):
        """Seconds until it is ready, from exec."""
        name = str(self.directory / "notify")
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(name)
            told.settimeout(30)
            began = time.monotonic()
            self.process = subprocess.Popen(self.words("run"), env={**os.environ, "NOTIFY_SOCKET": name})
            try:
                while b"READY=1" not in told.recv(4096):
                    pass
            except socket.timeout:
                sys.exit(f"the agent is not ready; its log is {self.log}")
            return time.monotonic() - began

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def status(self):
        return json.loads(sh(*self.words("-j", "status")))

    def peak(self):
        """MB that were resident at most."""
        told = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", told).group(1)) / 1024


# --- misses


def frame(to):
    return to + SOURCE + b"\x88\xb5" + bytes(46)  # an EtherType for local experiments


@contextlib.contextmanager
def sockets(dev):
    """(socket that sends frames, socket that hears of rows)"""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((dev, 0))
        with listen(NEIGH_GROUP, 1 << 24, (RTM_NEWNEIGH,)) as watch:
            yield sender, watch


def times(dev, macs):
    """Seconds from each miss to its row, one after another. None: no row came."""
    took, clock = [], time.perf_counter
    gc.disable()
    with sockets(dev) as (sender, watch):
        send, receive = sender.send, watch.recv
        for one in macs:
            time.sleep(random.uniform(0, GAP))
            data = frame(one)
            began = clock()
            send(data)
            while True:
                try:
                    heard = receive(4096)
                except BlockingIOError:
                    if clock() - began > WAIT:
                        took.append(None)
                        break
                    continue
                if one in heard:
                    took.append(clock() - began)
                    break
    gc.enable()
    return took


def quantiles(took):
    """(median, 99th percentile) in microseconds."""
    lost = took.count(None)
    if lost:
        sys.exit(f"{lost} of {len(took)} misses were not answered")
    took = sorted(took)
    return statistics.median(took) * 1e6, took[len(took) * 99 // 100] * 1e6


def storm(dev, macs):
    """Seconds in which a frame to each was sent."""
    data = [frame(one) for one in macs]
    with sockets(dev) as (sender, _watch):
        send, clock = sender.send, time.perf_counter
        began = clock()
        for at in range(0, len(data), BURST):
            while clock() < began + at / RATE:
                pass
            for one in data[at : at + BURST]:
                send(one)
        return clock() - began


def rows(dev):
    """The MACs that have a destination."""
    return set(re.findall(r"^(\S+) dst ", sh("bridge", "fdb", "show", "dev", dev), re.MULTILINE))


def minimal(dev, macs):
    """Answers misses, in a process of its own, until its standard input ends. IPv4 only."""
    index, macs = socket.if_nametoindex(dev), int(macs)
    table = {mac(4, number): vtep(4, number) for number in range(macs)}
    head = struct.pack("=IHHII", 48, RTM_NEWNEIGH, 0x505, 0, 0) + struct.pack("=B3xiHBB", 7, index, 2, 2, 0)
    head += struct.pack("=HH", 10, 2)
    middle = bytes(2) + struct.pack("=HH", 8, 1)
    out = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    misses = listen(NEIGH_GROUP, 1 << 24, (RTM_GETNEIGH,))
    misses.setblocking(True)
    print("ready", flush=True)
    while True:
        key = misses.recv(1024)[32:38]
        if key in table:
            out.send(head + key + middle + table[key])


# --- the figures


def load():
    return round(os.getloadavg()[0], 1)


def show(name, runs):
    """The best of the runs, each (median, 99th percentile)."""
    for median, most in runs:
        print(f"     {name}: median {median:.1f} us, 99% within {most:.1f} us", flush=True)
    best = [min(one) for one in zip(*runs)]
    return {"rounds": [[round(value, 1) for value in one] for one in runs], "median": best[0], "p99": best[1]}


def starts(agent, rounds, report):
    """The agent is left running."""
    runs = []
    for turn in range(rounds):
        if turn:
            agent.stop()
        took = agent.start()
        runs.append({"seconds": took, "cpu_seconds": cpu(agent.process.pid), "peak_mb": agent.peak()})
        print(
            "     start: {seconds:.2f} s, {cpu_seconds:.2f} s of CPU, {peak_mb:.0f} MB".format(**runs[-1]), flush=True
        )
    known = agent.status()["registry"]["endpoints"]
    if known != sum(ENDPOINTS.values()):
        sys.exit(f"it knows {known} endpoints")
    report.told["starts"] = [{key: round(value, 3) for key, value in one.items()} for one in runs]
    report.judge(f"s from exec to READY with {known} endpoints", min(one["seconds"] for one in runs), BUDGET_START)
    report.judge(f"MB resident at most with {known} endpoints", max(one["peak_mb"] for one in runs), BUDGET_MB)


def single(rounds, misses, report):
    """Misses one by one. How many endpoints were asked for."""
    at = 0
    runs = {4: [], 6: []}
    for _turn in range(rounds):
        for family, vni in VNI.items():
            runs[family].append(quantiles(times(f"vx{vni}", [mac(family, at + number) for number in range(misses)])))
        at += misses
    for family in VNI:
        told = report.told["miss_us"][f"agent IPv{family}"] = show(f"agent IPv{family}", runs[family])
        report.judge(f"us from a miss to its row, IPv{family}, median", told["median"], BUDGET_MEDIAN)
        report.judge(f"us from a miss to its row, IPv{family}, 99th percentile", told["p99"], BUDGET_99)
    return at


def burst(agent, asked, report):
    want = [mac(4, asked + number) for number in range(STORM)]
    took = storm("vx100", want)
    want, began = {one.hex(":") for one in want}, time.monotonic()
    while True:
        missing = len(want - rows("vx100"))
        after = time.monotonic() - began
        if not missing or after > 10:
            break
    counters = agent.status()["counters"]
    report.told["storm"] = {
        "misses": STORM, "per_second": round(STORM / took), "seconds_after": round(after, 2),
        "misses_lost": counters["misses lost"], "peak_mb": round(agent.peak(), 1),
    }  # fmt: skip
    print(
        f"     {STORM} misses, {STORM / took:.0f} a second; all rows were seen {after:.1f} s later, at the first look or a later one"
    )
    print(f"     {agent.peak():.0f} MB resident at most until then", flush=True)
    report.judge(f"seconds in which {STORM} misses were sent", took, round(STORM / RATE * 1.05, 3))
    report.judge(f"misses without a row, of {STORM}", missing, 0)


@contextlib.contextmanager
def loop(*command):
    """Something that answers misses, and all that it starts."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def others(rounds, misses, directory, report):
    """The same without the agent: by a minimal loop and by the shell."""
    runs, macs = [], rounds * misses
    with loop(sys.executable, "-s", __file__, "--core", "vx100", str(macs)) as process:
        process.stdout.readline()
        for at in range(0, macs, misses):
            runs.append(quantiles(times("vx100", [mac(4, number) for number in range(at, at + misses)])))
    least = report.told["miss_us"]["loop"] = show("loop", runs)
    numbers = range(macs, macs + SHELL_MISSES + 1)
    table = Path(directory) / "table"
    table.write_text(
        "".join(
            f"{mac(4, number).hex(':')} {socket.inet_ntop(socket.AF_INET, vtep(4, number))}\n" for number in numbers
        )
    )
    with loop("bash", "-c", SHELL, "bash", str(table)):
        first, *rest = (mac(4, number) for number in numbers)
        deadline = time.monotonic() + 10
        while first.hex(":") not in rows("vx100"):
            if time.monotonic() > deadline:
                sys.exit("the shell answers no miss")
            with sockets("vx100") as (sender, _watch):
                sender.send(frame(first))
            time.sleep(0.05)
        runs = [quantiles(times("vx100", rest))]
    told = report.told["miss_us"]["shell"] = show("shell", runs)
    own = report.told["miss_us"]["agent IPv4"]["median"]
    print(f"     the agent takes {own / least['median']:.2f} times as long as the minimal loop", flush=True)
    report.told["agent_by_loop"] = round(own / least["median"], 2)
    at_least(report, "times quicker than the shell, by the median", told["median"] / own, BUDGET_QUICKER)


def at_least(report, what, value, least):
    held = value >= least
    report.told["budgets"].append({"what": what, "value": round(value, 1), "at_least": least, "held": held})
    print(f"{'ok  ' if held else 'UNDER'} {what}: {value:.1f} (at least {least})", flush=True)


# --- etcd


@contextlib.contextmanager
def hosts():
    """Network namespaces with a VXLAN device each, which reach this one: {name: namespace}."""
    names = {name: f"bag{os.getpid()}-{name}" for name in HOSTS}
    try:
        ip("link add hub type bridge", f"addr add {HUB}/24 dev hub", "link set hub up")
        for name, inside in names.items():
            ip(
                f"netns add {inside}",
                f"link add to_{name} type veth peer name e0 netns {inside}",
                f"link set to_{name} master hub up",
            )
            lines = [
                "link set lo up", f"addr add {HOSTS[name]}/24 dev e0", "link set e0 up",
                f"link add vx100 type vxlan id {VNI[4]} dstport 4789 local {HOSTS[name]} nolearning l2miss", "link set vx100 up",
            ]  # fmt: skip
            sh("ip", "-n", inside, "-batch", "-", input="\n".join(lines) + "\n")
        yield names
    finally:
        for inside in names.values():
            subprocess.run(["ip", "netns", "del", inside], check=False, capture_output=True)


@contextlib.contextmanager
def within(name):
    """This thread in a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            sys.exit(f"{name}: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


def changes(directory, report):
    """A MAC that moves, in etcd with TLS and a user, and the rows of three hosts."""
    suite = next((one for one in reversed(VERSIONS) if image(one) and (image(one) / "usr/bin/etcd").exists()), None)
    if not suite:
        print("NOT MEASURED: changes in etcd; `make images` builds the lab image that has it", flush=True)
        return
    directory = Path(directory)
    tls = Certificates(directory / "tls", names=(HUB,))
    (directory / "password").write_text(PASSWORD)
    (directory / "password").chmod(0o600)
    given = {"kind": "etcd", "ca_file": tls.ca, "username": "agent", "password_file": directory / "password"}
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(hosts())
        server = Etcd(suite, directory / "etcd", tls=tls, address=HUB)
        stack.callback(server.kill)
        server.start().users()
        watches = []
        for name, inside in names.items():
            agent = Agent(directory / name, ("ip", "netns", "exec", inside), urls=server.url, **given)
            stack.callback(agent.stop)
            agent.start()
            with within(inside):
                sender, watch = stack.enter_context(sockets("vx100"))
            watches.append((sender, watch))
        took = asyncio.run(moves(server.url, tls, watches))
    best, median = min(took) * 1000, statistics.median(took) * 1000
    report.told["change_ms"] = {
        "etcd": VERSIONS[suite],
        "best": round(best, 1),
        "median": round(median, 1),
        "worst": round(max(took) * 1000, 1),
    }
    print(f"     etcd {VERSIONS[suite]}, {len(took)} changes: best {best:.1f} ms, worst {max(took) * 1000:.1f} ms")
    report.judge("ms from a change in etcd to the rows of three hosts, median", median, BUDGET_CHANGE)


async def moves(url, tls, watches):
    """Seconds from writing a claim until the last host has its row."""
    client = etcd.Etcd(url, http.context(str(tls.ca), None, None), "agent", PASSWORD)
    one, took = mac(4, 1), []
    keys = [claims.etcd_key("/vtep.fabric", VNI[4], one, vtep(4, number)).encode() for number in (1, 2)]
    try:
        for turn in range(-1, CHANGES):
            new, old = keys[turn % 2], keys[1 - turn % 2]
            began = time.perf_counter()
            await client.transaction([etcd.put(new, b'{"addresses": ["10.0.0.1"]}', 0), etcd.delete(old)])
            if turn < 0:
                await asyncio.sleep(1)
                for sender, _watch in watches:
                    sender.send(frame(one))
            deadline = time.perf_counter() + WAIT
            for _sender, watch in watches:
                while True:
                    try:
                        if one in watch.recv(4096):
                            break
                    except BlockingIOError:
                        if time.perf_counter() > deadline:
                            sys.exit("a host has no row, or the former one")
                        time.sleep(0.0002)
            if turn >= 0:
                took.append(time.perf_counter() - began)
            await asyncio.sleep(random.uniform(0.05, 0.2))
    finally:
        client.close()
    return took


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--core", nargs=2, help=argparse.SUPPRESS)
    words.add_argument("--json", type=Path, default=ROOT / "build" / "bench_agent.json")
    words.add_argument("--rounds", type=int, default=5, choices=range(1, 11))
    words.add_argument("--misses", type=int, default=2000, help="of a round")
    words.add_argument("--realtime", action="store_true", help="at the scheduler's real-time priority")
    options = words.parse_args()
    if options.core:
        return minimal(*options.core)
    report = Report()
    del report.told["sizes"]
    report.told.update(load_before=load(), realtime=options.realtime, miss_us={})
    print(
        f"the machine's load is {load()}{', and what is measured has real-time priority' if options.realtime else ''}",
        flush=True,
    )
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # its children have it as well
    private_network()
    with tempfile.TemporaryDirectory() as directory:
        devices()
        file = Path(directory) / "endpoints.json"
        file.write_text(
            claims.dump(claim(family, number) for family, most in ENDPOINTS.items() for number in range(most))
        )
        agent = Agent(Path(directory) / "agent", file=file)
        try:
            starts(agent, options.rounds, report)
            asked = single(options.rounds, options.misses, report)
            burst(agent, asked, report)
        finally:
            agent.stop()
        others(options.rounds, options.misses, directory, report)
        os.sched_setscheduler(
            0, os.SCHED_OTHER, os.sched_param(0)
        )  # etcd has many threads, which would have the machine alone
        changes(directory, report)
    report.told["load_after"] = load()
    sys.exit(report.end(options.json))


if __name__ == "__main__":
    main()

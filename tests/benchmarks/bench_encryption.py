# SPDX-License-Identifier: GPL-3.0-or-later
"""What encryption costs: throughput of VXLAN with MACsec on the link, with MACsec inside and with ESP, and the CPU time of a bit, as
ratios to VXLAN in clear taken in the same run.

Two VTEPs are network namespaces on a veth pair, set up by iproute2, since the data path is the kernel's alone. iperf3 sends TCP from one
to the other in rounds, in each way once a round, and medians count. Without the kernel for it: FULL_KERNEL=source tools/full
python tests/benchmarks/bench_encryption.py. A guest of user-mode Linux has no AES instructions, so that encryption costs more there than on
a machine of one's own: what it tells are the most that it can cost. Needs iperf3.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import private_network

KEYS = ["%064x" % number for number in (1, 2)]  # keys of a benchmark need not be secret
MACS = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
SALT = "00000001"  # that ESP's AEAD ciphers have at the end of the key
# Cipher: its words in iproute2, where {} is a key of one of KEYS' digits; what authenticates CBC has that key as well.
ESP = {
    "aes128gcm16": ("aead rfc4106(gcm(aes)) 0x{}%s 128" % SALT, 32),
    "aes256gcm16": ("aead rfc4106(gcm(aes)) 0x{}%s 128" % SALT, 64),
    "chacha20poly1305": ("aead rfc7539esp(chacha20,poly1305) 0x{}%s 128" % SALT, 64),
    "aes128-sha256": ("enc cbc(aes) 0x{0} auth-trunc hmac(sha256) 0x{0}{0} 128", 32),
    "aes256-sha256": ("enc cbc(aes) 0x{0} auth-trunc hmac(sha256) 0x{0} 128", 64),
}


def sh(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def build(way):
    """Two VTEPs v0 and v1, whose endpoints are the namespaces themselves, at 192.0.2.1 and .2."""
    for number in (0, 1):
        sh(f"netns add v{number}")
    sh(f"link add u0 netns v0 address {MACS[0]} mtu 1700 type veth peer name u0 netns v1 address {MACS[1]} mtu 1700")
    for own, other in ((0, 1), (1, 0)):
        here = ["ip", "-n", f"v{own}", "-batch", "-"]
        lines = ["link set lo up", "link set u0 up"]
        top, below = "x0", "u0"
        if way.startswith("macsec underlay"):
            lines += macsec("m0", "u0", own, other, way.split()[-1])
            below = "m0"
        lines += [
            f"addr add 2001:db8::{own + 1}/64 dev {below} nodad",
            f"link add x0 address {MACS[own]} mtu 1500 type vxlan id 100 dstport 4789 local 2001:db8::{own + 1} "
            f"remote 2001:db8::{other + 1} udp6zerocsumtx udp6zerocsumrx noudpcsum",
            "link set x0 up",
        ]
        if way.startswith("macsec inside"):
            lines[-2] = lines[-2].replace("mtu 1500", "mtu 1532")
            lines += macsec("m0", "x0", own, other, way.split()[-1])
            top = "m0"
        if way.startswith("ESP"):
            lines += esp(own, other, *way.split()[1:])
        lines += [f"link set {top} mtu 1500", f"addr add 192.0.2.{own + 1}/24 dev {top}"]
        subprocess.run(here, input="\n".join(lines), text=True, check=True)


def macsec(name, lower, own, other, cipher):
    digits = 64 if cipher.endswith("256") else 32
    sent, received = ("pn 1", "pn 1")
    if "xpn" in cipher:  # whose associations have a salt and a short SCI each
        sent, received = (f"xpn 1 salt {SALT * 3} ssci {number + 1}" for number in (own, other))
    return [
        f"link add link {lower} {name} address {MACS[own]} type macsec sci {own + 1:016x} cipher {cipher} encrypt on",
        f"macsec add {name} tx sa 0 {sent} on key 01 {KEYS[own][-digits:]}",
        f"macsec add {name} rx sci {other + 1:016x} on",
        f"macsec add {name} rx sci {other + 1:016x} sa 0 {received} on key 01 {KEYS[other][-digits:]}",
        f"link set {name} up",
    ]


def esp(own, other, mode, cipher):
    words, digits = ESP[cipher]
    lines = []
    for source, target in ((own, other), (other, own)):
        ends = f"src 2001:db8::{source + 1} dst 2001:db8::{target + 1}"
        lines += [
            f"xfrm state add {ends} proto esp spi {256 + source} reqid 1 mode {mode} replay-window 64 flag esn "
            + words.format(KEYS[source][-digits:]),
            f"xfrm policy add {ends} proto udp dport 4789 dir {'out' if source == own else 'in'} "
            f"tmpl {ends} proto esp reqid 1 mode {mode}",
        ]
    return lines


WAYS = [
    "clear",
    "macsec underlay gcm-aes-128",
    "macsec underlay gcm-aes-256",
    "macsec underlay gcm-aes-xpn-128",
    "macsec inside gcm-aes-128",
    *(f"ESP transport {cipher}" for cipher in ESP),
    "ESP tunnel aes128gcm16",
]


def remove():
    for number in (0, 1):
        subprocess.run(["ip", "netns", "del", f"v{number}"], check=False, stderr=subprocess.DEVNULL)


def busy():
    """CPU seconds of the whole kernel that were not idle."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def one(way, seconds):
    """(bits a second, CPU seconds of a gigabit) of a way."""
    try:
        build(way)
        server = subprocess.Popen(
            ["ip", "netns", "exec", "v1", "iperf3", "-s", "-1", "-p", "5201"], stdout=subprocess.DEVNULL
        )
        try:
            time.sleep(1)
            before = busy()
            command = ["ip", "netns", "exec", "v0", "iperf3", "-c", "192.0.2.2", "-J", "-t", str(seconds)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            used = busy() - before
            told = json.loads(done.stdout)
            if done.returncode or "error" in told:
                sys.exit(f"{way}: iperf3: {told.get('error', done.stderr)}")
            proven(way)
        finally:
            server.kill()
            server.wait()
        received = told["end"]["sum_received"]
        return received["bits_per_second"], used / (received["bytes"] * 8 / 1e9)
    finally:
        remove()


def proven(way):
    """That what was measured went the way that is named: by frames of MACsec, and by packets of associations, that v1 has taken."""
    words = {"macsec": ["-s", "-j", "link", "show", "type", "macsec"], "ESP": ["-s", "xfrm", "state"]}
    told = {kind: subprocess.check_output(["ip", "-n", "v1", *command], text=True) for kind, command in words.items()}
    used = {
        "macsec": any(
            link.get("stats64", {}).get("rx", {}).get("packets") for link in json.loads(told["macsec"] or "[]")
        ),
        "ESP": bool(re.search(r"\b[1-9]\d*\(bytes\)", told["ESP"])),
    }
    assert used == {kind: way.startswith(kind) for kind in used}, told


def main():
    made = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=int, default=5, help="of each way in each round")
    made.add_argument("--json", type=Path, help="write the figures here as well")
    given = made.parse_args()
    if not shutil.which("iperf3"):
        sys.exit("iperf3 is not installed: apt-get install iperf3")
    private_network()
    found = {way: [] for way in WAYS}
    for _round in range(given.rounds):
        for way in WAYS:
            found[way].append(one(way, given.seconds))
    rates, costs = ({way: statistics.median(one[n] for one in got) for way, got in found.items()} for n in (0, 1))
    print(f"{'way':<32} {'Gbit/s':>8} {'/ clear':>8} {'CPU s/Gbit':>11} {'/ clear':>8}")
    for way in WAYS:
        rate, cost = rates[way], costs[way]
        print(f"{way:<32} {rate / 1e9:8.3f} {rate / rates['clear']:8.2f} {cost:11.3f} {cost / costs['clear']:8.2f}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"bits_per_second": rates, "cpu_seconds_per_gigabit": costs}, indent=2) + "\n")


if __name__ == "__main__":
    main()

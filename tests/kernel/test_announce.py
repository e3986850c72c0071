# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcements between network namespaces: what endpoints' kernels make of them, by `ip neigh`, and what is on the wire."""

import contextlib
import ctypes
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import time

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.announce import Announce
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

needed = [word for word in ("ip", "tc", "tcpdump") if not shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: announcements need root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: announcements need the programs {needed}"),
]
LIBC = ctypes.CDLL(None, use_errno=True)
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
MARK = bytes.fromhex("ffffffffffff 020000000099 88b5") + b"the end"  # an Ethernet type for experiments (IEEE 802)

# Behind the VTEP's eth1 and eth2. far is an endpoint behind another VTEP, other one that nobody here has heard of.
H1, H2, FAR = "50:54:33:00:00:01", "50:54:33:00:00:02", "50:54:33:00:00:04"
PORTS = {"eth1": "02:00:00:00:01:01", "eth2": "02:00:00:00:01:02"}
ADDRESSES = {
    "h1": ("192.0.2.10", "2001:db8:ff::10"),
    "h2": ("192.0.2.11", "2001:db8:ff::11"),
    "far": ("192.0.2.13", "2001:db8:ff::13"),
    "other": ("192.0.2.14", "2001:db8:ff::14"),
}
MACS = {"h1": H1, "h2": H2, "far": FAR, "other": "50:54:33:00:00:05"}
HOME = {"h1": " port eth1", "h2": " port eth2"}
BRIDGED = "".join(f"{one} lladdr {MACS[name]}{HOME.get(name, '')}\n" for name in ADDRESSES for one in ADDRESSES[name])
ROUTED = "".join(f"{one}{HOME.get(name, '')}\n" for name in ADDRESSES for one in ADDRESSES[name])


def ns(role):
    return f"ann{os.getpid()}-{role}"


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def batch(role, lines):
    done = subprocess.run(
        ["ip", "-n", ns(role), "-batch", "-"], input=lines, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def inside(role):
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{ns(role)}") as there:
        assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture(scope="module")
def lab():
    roles = ("vtep", "h1", "h2")
    try:
        for role in roles:
            sh("ip", "netns", "add", ns(role))
        for role, port, mac in (("h1", "eth1", H1), ("h2", "eth2", H2)):
            batch(
                "vtep", f"link add {port} address {PORTS[port]} type veth peer name e0 address {mac} netns {ns(role)}"
            )
            batch("vtep", f"link set {port} addrgenmode none\nlink set {port} up")
            four, six = ADDRESSES[role]
            batch(role, "link set e0 addrgenmode none\nlink set e0 up")
            batch(role, f"addr add {four}/24 dev e0\naddr add {six}/64 dev e0 nodad")
        batch("vtep", "link add idle type veth peer name gone")
        yield
    finally:
        for role in roles:
            subprocess.run(["ip", "netns", "del", ns(role)], check=False, capture_output=True)


def announce(table, ports=tuple(PORTS), checking=False):
    with inside("vtep"):
        return converge(Announce(), {"segments": [{"ports": list(ports), "table": table}]}, checking)


def knows(role, names, mac_of):
    """Fresh entries, and no others, as an endpoint has them that has just heard from the others."""
    sh("ip", "-n", ns(role), "neigh", "flush", "all")
    lines = [
        f"neigh replace {one} dev e0 lladdr {mac_of(name)} nud reachable" for name in names for one in ADDRESSES[name]
    ]
    batch(role, "\n".join(lines))


def entries(role):
    """{address: (MAC, state)}"""
    found = json.loads(sh("ip", "-n", ns(role), "-j", "neigh", "show", "dev", "e0"))
    return {one["dst"]: (one.get("lladdr"), *one["state"]) for one in found}


@contextlib.contextmanager
def wire(role):
    """A list that holds, after the block, what was announced to an endpoint, in order."""
    with inside(role):
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    frames = []
    with listening:
        yield frames
        with inside("vtep"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as marking:
            marking.bind(({"h1": "eth1", "h2": "eth2"}[role], 0))
            marking.send(MARK)
        while True:
            assert select.select([listening], [], [], 5)[0], "the mark did not come through"
            frame, (_dev, _protocol, kind, *_rest) = listening.recvfrom(2000)
            if frame == MARK:
                return
            if kind != socket.PACKET_OUTGOING and announces(frame):
                frames.append(frame)


def announces(frame):
    """ARP or a neighbour advertisement, and not what the VTEP's kernel sends of its own accord when a device comes up."""
    return frame[12:14] == b"\x08\x06" or (frame[12:14] == b"\x86\xdd" and frame[54] == 136)


def soon(read, wanted):
    """Whether what is read becomes what is wanted, within seconds: a frame is worked on after it was sent."""
    end = time.monotonic() + 5
    while read() != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def heard(frames):
    """(address, MAC address announced) of each frame, told by tcpdump, which also judges the checksums."""
    capture = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    capture += b"".join(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    words = ["tcpdump", "-n", "-e", "-t", "-v", "-r", "-"]
    told = subprocess.run(words, input=capture, capture_output=True, check=True).stdout.decode()
    found = []
    for packet in told.replace("\n\t", " ").splitlines():
        mac, rest = packet.split(" > ", 1)
        if "Request who-has" in packet:
            asked = rest.partition("who-has ")[2].split()[0].strip(",")
            assert rest.startswith(("ff:ff:ff:ff:ff:ff", "Broadcast")), packet
            assert f" tell {asked}, " in rest, packet
            found.append((asked, mac))
        else:
            address = rest.partition("tgt is ")[2].split(",")[0]
            assert rest.startswith("33:33:00:00:00:01"), packet
            assert f"{address} > ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement" in rest, packet
            assert "hlim 255" in rest and "Flags [override]" in rest, packet
            assert f"destination link-address option (2), length 8 (1): {mac}" in rest, packet
            found.append((address, mac))
    return sorted(found)


@pytest.mark.parametrize("way", ["to bridged", "to routed"])
def test_endpoints_are_moved_at_once(lab, way):
    """Entries that are there lead to the new place and are to be confirmed when used; no others come into being."""
    for role, port in (("h1", "eth1"), ("h2", "eth2")):
        others = [name for name in ("h1", "h2", "far") if name != role]
        places = [lambda name: MACS[name], lambda name, port=port: PORTS[port]]
        before, after = places if way == "to routed" else places[::-1]
        knows(role, others, before)
        assert entries(role) == {one: (before(name), "REACHABLE") for name in others for one in ADDRESSES[name]}
        done = announce(ROUTED if way == "to routed" else BRIDGED)
        assert (done.changed, done.result) == (False, {"frames": 12})
        wanted = {one: (after(name), "STALE") for name in others for one in ADDRESSES[name]}
        assert soon(lambda role=role: entries(role), wanted), entries(role)


def test_what_an_endpoint_hears(lab):
    with wire("h1") as frames:
        announce(BRIDGED)
    others = [name for name in ADDRESSES if name != "h1"]
    assert heard(frames) == sorted((one, MACS[name]) for name in others for one in ADDRESSES[name])
    with wire("h2") as frames:
        announce(ROUTED)
    others = [name for name in ADDRESSES if name != "h2"]
    assert heard(frames) == sorted((one, PORTS["eth2"]) for name in others for one in ADDRESSES[name])


def test_what_an_endpoint_sends_goes_to_the_new_place(lab):
    knows("h1", ["far"], MACS.get)
    announce(ROUTED)
    wanted = dict.fromkeys(ADDRESSES["far"], (PORTS["eth1"], "STALE"))
    assert soon(lambda: entries("h1"), wanted)
    with inside("vtep"):
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with listening:
        for family, address in zip((socket.AF_INET, socket.AF_INET6), ADDRESSES["far"]):
            with inside("h1"), socket.socket(family, socket.SOCK_DGRAM) as sending:
                sending.sendto(b"a datagram", (address, 7000))
            while True:
                assert select.select([listening], [], [], 5)[0], "the datagram did not come through"
                frame = listening.recv(2000)
                if frame.endswith(b"a datagram"):
                    assert frame[:6].hex(":") == PORTS["eth1"]
                    break


def test_a_bridge_does_not_carry_it_on(lab):
    """A port's frames are for the endpoints on that port, also where it is in a bridge already."""
    batch(
        "vtep", "link add br100 type bridge\nlink set br100 up\nlink set eth1 master br100\nlink set eth2 master br100"
    )
    try:
        with wire("h2") as at_h2, wire("h1") as at_h1:
            announce(BRIDGED.replace(" port eth2", ""), ports=["eth1"])
        assert len(heard(at_h1)) == 6
        assert at_h2 == []
    finally:
        batch("vtep", "link del br100")


def test_check_mode_tells_and_sends_nothing(lab):
    with wire("h1") as frames:
        told = announce(BRIDGED, checking=True)
    assert (told.changed, told.result) == (False, {"frames": 12})
    assert frames == []
    assert announce("192.0.2.13", ports=["br9"], checking=True).result == {"frames": 1}


def test_nothing_is_sent_where_a_port_cannot(lab):
    with wire("h1") as frames, pytest.raises(InputError) as caught:
        announce("192.0.2.13", ports=["eth1", "eth9", "idle", "lo"])
    assert caught.value.faults == [
        "ports: eth9 does not exist",
        "ports: idle is down; set it up first",
        "ports: lo is no Ethernet device",
    ]
    assert frames == []


def test_a_full_queue_loses_no_frame(lab):
    """A queue of some thirty frames, emptied at a rate that takes half a second for all."""
    slow = ["add", "dev", "eth1", "root", "tbf", "rate", "2mbit", "burst", "4k", "limit", "3000"]
    words = ["tc", "-n", ns("vtep"), "qdisc", *slow]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "qdisc kind is unknown" in done.stderr:
        pytest.skip("NOT TESTED: the kernel has no CONFIG_NET_SCH_TBF to make a port slow")
    assert done.returncode == 0, done.stderr
    try:
        addresses = [f"2001:db8:fe::{number:x}" for number in range(1, 1501)]
        with inside("h1"):
            listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with listening:
            listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)  # room for all of them
            announce("\n".join(addresses), ports=["eth1"])
            refused = json.loads(sh("tc", "-n", ns("vtep"), "-s", "-j", "qdisc", "show", "dev", "eth1"))[0]["drops"]
            assert refused, "the queue was never full, and nothing is proven"
            seen = set()
            while len(seen) < len(addresses):
                assert select.select([listening], [], [], 5)[0], f"{len(addresses) - len(seen)} were lost"
                frame = listening.recv(2000)
                if announces(frame):
                    seen.add(socket.inet_ntop(socket.AF_INET6, frame[62:78]))
            assert seen == set(addresses)
    finally:
        sh("tc", "-n", ns("vtep"), "qdisc", "del", "dev", "eth1", "root")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication of BUM frames by process and kernel, as plain sockets of others see it: VTEPs and service node behind a router."""

import contextlib
import ctypes
import errno
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import replicate, replicate_nft
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.config import Vxsnd

needed = [word for word in ("nft", "ip", "setpriv") if not shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: replication needs root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: replication needs the programs {needed}"),
]

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = {role: f"vxr{os.getpid()}-{role}" for role in ("net", "sn", "a", "b", "c")}
VTEPS = ("a", "b", "c")
NET = {"sn": 9, "a": 1, "b": 2, "c": 3}
ANYCAST = {4: "203.0.113.100", 6: "2001:db8:ffff::100"}
VNI = 0x123456
PORT = 50123
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
FLAG = b"\x08\0\0\0"


def host(role, family):
    return f"10.0.{NET[role]}.1" if family == 4 else f"2001:db8:{NET[role]}::1"


def gateway(role, family):
    return f"10.0.{NET[role]}.254" if family == 4 else f"2001:db8:{NET[role]}::fe"


def packed(role, family):
    return pack(host(role, family))


def pack(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def kind(family):
    return socket.AF_INET if family == 4 else socket.AF_INET6


def sh(*words, text=None):
    done = subprocess.run(words, capture_output=True, text=True, input=text, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(role):
    """This thread, and the programs and sockets that it makes, in a network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{NAMES[role]}") as there:
        assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


def sysctl(role, **values):
    with inside(role):
        for name, value in values.items():
            Path("/proc/sys/net", *name.split("__")).write_text(str(value))


def without_offload(role, dev):
    """Checksums are worked out before a frame leaves: `ethtool -K dev tx off`."""
    with inside(role), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))
        request = ctypes.create_string_buffer(struct.pack("16sQ16x", dev.encode(), ctypes.addressof(value)))
        assert LIBC.ioctl(one.fileno(), SIOCETHTOOL, request) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture(scope="module")
def lab():
    try:
        for role, name in NAMES.items():
            sh("ip", "netns", "add", name)
            sysctl(role, ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        for role, number in NET.items():
            lines = f"""
                link add to_{role} type veth peer name e0 netns {NAMES[role]}
                addr add 10.0.{number}.254/24 dev to_{role}
                addr add 2001:db8:{number}::fe/64 dev to_{role} nodad
                link set to_{role} up
                """
            sh("ip", "-n", NAMES["net"], "-batch", "-", text=lines)
            lines = f"""
                addr add 10.0.{number}.1/24 dev e0
                addr add 2001:db8:{number}::1/64 dev e0 nodad
                link set e0 up
                route add default via 10.0.{number}.254
                route add default via 2001:db8:{number}::fe
                """
            sh("ip", "-n", NAMES[role], "-batch", "-", text=lines)
        sysctl("net", ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        for role in NET:
            sysctl(role, ipv4__conf__all__rp_filter=1, ipv4__conf__e0__rp_filter=1)
        for address in ANYCAST.values():
            sh("ip", "-n", NAMES["sn"], "addr", "add", address, "dev", "lo")
        sh("ip", "-n", NAMES["net"], "route", "add", ANYCAST[4], "via", host("sn", 4))
        sh("ip", "-n", NAMES["net"], "route", "add", ANYCAST[6], "via", host("sn", 6))
        wait_for_the_links()
        yield
    finally:
        for name in NAMES.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def wait_for_the_links():
    """Until a datagram comes from each host to the service node, in both families."""
    for family in (4, 6):
        with inside("sn"):
            there = socket.socket(kind(family), socket.SOCK_DGRAM)
        there.bind((ANYCAST[family], 4789))
        there.settimeout(0.05)
        with there:
            for role in VTEPS:
                for _turn in range(100):
                    with inside(role), socket.socket(kind(family), socket.SOCK_DGRAM) as one:
                        one.sendto(b"", (ANYCAST[family], 4789))
                    with contextlib.suppress(socket.timeout):
                        if there.recvfrom(1)[1][0] == host(role, family):
                            break
                else:
                    pytest.fail(f"no datagram from {role} came over IPv{family}")
            # Those that waited for a neighbour come all at once, and must not be taken for a test's.
            there.settimeout(0.3)
            with contextlib.suppress(socket.timeout):
                while True:
                    there.recv(1)


SETTINGS = Vxsnd(svcnode_ip={family: pack(address) for family, address in ANYCAST.items()})
BOTH = pytest.mark.parametrize("family", [4, 6])
KINDS = {"process": replicate.Replicator, "kernel": replicate_nft.Replicator}


class Node:
    """A service node, with the daemon's part played by the test: it waits for frames, and takes what is learned."""

    def __init__(self, kind, settings=SETTINGS):
        with inside("sn"):
            self.replicator = KINDS[kind](settings)
        self.kind, self.learned = kind, []

    def members(self, roles=VTEPS, registered=VTEPS, vni=VNI, more=()):
        """Who is in a VNI, in both families."""
        addresses = [packed(role, family) for role in roles for family in (4, 6)]
        senders = [packed(role, family) for role in registered for family in (4, 6)]
        self.replicator.update(vni, [*addresses, *map(pack, more)], senders)
        self.flush()

    def flush(self):
        with inside("sn"):
            self.replicator.flush()

    def serve(self, seconds=0.3):
        """Handle frames until none came for a while. How many came."""
        frames = 0
        while True:
            ready, _none, _none = select.select(self.replicator.filenos(), [], [], seconds)
            if not ready:
                return frames
            for one in ready:
                frames += self.replicator.handle(one, lambda *words: self.learned.append(words))

    def counters(self):
        with inside("sn"):
            return self.replicator.counters()

    def close(self):
        self.replicator.close()
        with inside("sn"):
            replicate_nft.remove()


@pytest.fixture(params=list(KINDS))
def node(lab, request):
    yield from opened(request.param)


@pytest.fixture
def kernel(lab):
    yield from opened("kernel")


@pytest.fixture
def process(lab):
    yield from opened("process")


def opened(kind):
    one = Node(kind)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def vteps(lab):
    """A socket of each VTEP and family, by (role, family), as the VTEP's VXLAN device would have it."""
    found = {}
    for role in VTEPS:
        for family in (4, 6):
            with inside(role):
                one = found[role, family] = socket.socket(kind(family), socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            if family == 4:
                one.setsockopt(socket.IPPROTO_IP, 12, 1)
            else:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                one.setsockopt(socket.IPPROTO_UDP, 102, 1)  # UDP_NO_CHECK6_RX, as udp6zerocsumrx
            one.bind((host(role, family), 4789))
            one.setblocking(False)
    yield found
    for one in found.values():
        one.close()


def received(one):
    """[(payload, source address, source port, hop limit)] of all that waits in a socket."""
    found = []
    while True:
        try:
            data, ancillary, _flags, name = one.recvmsg(LONGEST, 64)
        except BlockingIOError:
            return found
        hops = next(struct.unpack("=i", value)[0] for _level, _type, value in ancillary)
        found.append((data, name[0], name[1], hops))


LONGEST = 65535
HOPS = 63  # 64, and the router took one


def frame(number=0, size=100, vni=VNI):
    """A VXLAN frame to everybody, with a number."""
    head = FLAG + vni.to_bytes(3, "big") + b"\0" + b"\xff" * 6 + bytes.fromhex("505433000001 88b5")
    return head + number.to_bytes(4, "big") + bytes(i * 7 & 0xFF for i in range(size - len(head) - 4))


def sender(role, family, port=PORT):
    with inside(role):
        one = socket.socket(kind(family), socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
    one.bind((host(role, family), port))
    # As the VXLAN driver does by default: no DF, and no error for what did not fit before.
    if family == 4:
        one.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT
    else:
        one.setsockopt(socket.IPPROTO_IPV6, 23, 0)  # IPV6_MTU_DISCOVER
    one.connect((ANYCAST[family], 4789))
    return one


def send(role, family, *frames):
    with sender(role, family) as one:
        for data in frames:
            one.send(data)


@BOTH
def test_others_get_the_frame_from_its_sender_with_its_port(node, vteps, family):
    node.members()
    data = frame(size=101)
    send("a", family, data)
    assert node.serve() == (1 if node.kind == "process" else 0)
    for role in ("b", "c"):
        assert received(vteps[role, family]) == [(data, host("a", family), PORT, HOPS)]
    assert received(vteps["a", family]) == []
    counted = node.counters()
    where = "" if node.kind == "process" else "kernel_"
    assert counted[f"{where}frames"] == 1 and counted[f"{where}copies"] == 2
    assert node.learned == []


@BOTH
@pytest.mark.parametrize("summed", [True, False])
def test_checksums_are_right_where_no_card_helps(node, vteps, family, summed):
    """The sender works its checksums out, or sends none (as VXLAN over IPv4 does); nobody on the way trusts anybody."""
    for role in NET:
        without_offload(role, "e0")
        without_offload("net", f"to_{role}")
    node.members()
    with inside("b"):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800 if family == 4 else 0x86DD))
        wire.bind(("e0", 0x0800 if family == 4 else 0x86DD))
        wire.settimeout(0.3)
    frames = [frame(number, size) for number, size in enumerate((100, 101, 1400, 8, 9) * 20)]
    with wire, sender("a", family) as one:
        no_sum(one, family, summed)
        for data in frames:
            one.send(data)
        node.serve()
        found = list(packets(wire))
    sums = [udp_sum(packet) for packet in found]
    if family == 4:
        # The sender leaves DF clear. The kernel's dup sets it, so that nobody fragments a copy.
        assert {bool(packet[6] & 0x40) for packet in found} == {node.kind == "kernel"}
    # The kernel leaves "none" as it is; the process gives none over IPv4 and always one over IPv6, where VTEPs want it.
    none = family == 4 if node.kind == "process" else not summed
    assert sums == [None if none else 0xFFFF] * len(frames)
    assert [data for data, *_rest in received(vteps["b", family])] == frames
    assert len(received(vteps["c", family])) == len(frames)


def no_sum(one, family, summed):
    option = (socket.SOL_SOCKET, 11) if family == 4 else (socket.IPPROTO_UDP, 101)  # SO_NO_CHECK, UDP_NO_CHECK6_TX
    one.setsockopt(*option, 0 if summed else 1)


def packets(wire):
    with contextlib.suppress(socket.timeout):
        while True:
            packet, name = wire.recvfrom(LONGEST)
            if name[2] != socket.PACKET_OUTGOING and packet[9 if packet[0] >> 4 == 4 else 6] == socket.IPPROTO_UDP:
                yield packet


def udp_sum(packet):
    """The one's complement sum of UDP and its pseudo header, 0xFFFF where it is right; None for no checksum."""
    if packet[0] >> 4 == 4:
        assert checksum(packet[:20]) == 0xFFFF, "the IP header's own"
        pseudo, udp = packet[12:20], packet[20 : struct.unpack_from("!H", packet, 2)[0]]
    else:
        pseudo, udp = packet[8:40], packet[40 : 40 + struct.unpack_from("!H", packet, 4)[0]]
    if udp[6:8] == b"\0\0":
        return None
    return checksum(pseudo + struct.pack("!HH", socket.IPPROTO_UDP, len(udp)) + udp)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_receiver_would_notice_a_wrong_checksum(lab, vteps):
    """So the test above can fail."""
    with inside("a"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as one:
        for wrong in (0x1234, 0):
            one.sendto(struct.pack("!HHHH", PORT, 4789, 8 + 50, wrong) + frame(size=50), (host("b", 4), 0))
    time.sleep(0.1)
    assert len(received(vteps["b", 4])) == 1


@BOTH
def test_frames_of_learned_senders_teach_and_are_replicated(node, vteps, family):
    node.members(registered="ab")
    send("c", family, frame(1), frame(2))
    assert node.serve() == 2
    assert node.learned == [(VNI, packed("c", family))]
    for role in ("a", "b"):
        assert [told[:2] for told in received(vteps[role, family])] == [
            (frame(1), host("c", family)),
            (frame(2), host("c", family)),
        ]
    send("a", family, frame(3))
    node.serve()
    assert [data for data, *_rest in received(vteps["c", family])] == [frame(3)]
    assert len(node.learned) == 1


@BOTH
def test_what_is_no_frame_of_a_known_vni_goes_nowhere(node, vteps, family):
    node.members()
    send("a", family, b"", frame()[:7], b"\0" + frame()[1:], frame(vni=VNI + 1), frame(vni=0xFFFFFF))
    assert node.serve() == 5
    assert node.learned == [(VNI + 1, packed("a", family)), (0xFFFFFF, packed("a", family))]
    assert not any(received(one) for one in vteps.values())
    counted = node.counters()
    assert {word: counted[word] for word in counted if word.startswith("drops")} == {
        "drops_short": 2,
        "drops_no_flag": 1,
        "drops_unknown_vni": 2,
    }


@BOTH
def test_updates_move_frames_to_others(node, vteps, family):
    node.members("ab", "ab")
    node.members("ac", "a")
    send("a", family, frame(1))
    node.serve()
    assert [len(received(vteps[role, family])) for role in VTEPS] == [0, 0, 1]
    node.members("ac", "")
    send("a", family, frame(2))
    assert node.serve() == 1  # nobody is registered, so all frames teach
    assert node.learned == [(VNI, packed("a", family))]
    node.members("", "")
    send("a", family, frame(3))
    assert node.serve() == 1
    assert [len(received(vteps[role, family])) for role in VTEPS] == [0, 0, 1]


@BOTH
def test_a_destination_without_route_does_not_keep_others_from_theirs(node, vteps, family):
    net = "10.66.0.0/16" if family == 4 else "2001:db8:66::/48"
    lost = "10.66.0.1" if family == 4 else "2001:db8:66::1"
    sh("ip", "-n", NAMES["sn"], "route", "add", "unreachable", net)
    try:
        node.members(more=[lost])
        send("a", family, frame(1), frame(2))
        node.serve()
    finally:
        sh("ip", "-n", NAMES["sn"], "route", "del", "unreachable", net)
    assert [len(received(vteps[role, family])) for role in VTEPS] == [0, 2, 2]
    if node.kind == "process":
        assert node.counters()["send_errors_EHOSTUNREACH"] == 2
        assert node.replicator.alarms[0][0] == f"send_errors_EHOSTUNREACH {lost}"


@BOTH
def test_the_allow_list_is_kept_in_the_kernel_too(node, vteps, family):
    prefixes = [(packed("b", 4), 32), (packed("b", 6), 128)]
    node.replicator.allow(prefixes)
    node.members()
    send("a", family, frame(1))
    send("b", family, frame(2))
    node.serve()
    assert [[data for data, *_rest in received(vteps[role, family])] for role in VTEPS] == [[frame(2)], [], [frame(2)]]
    if node.kind == "process":
        assert node.counters()["drops_not_allowed"] == 1
    else:
        assert node.counters()["kernel_drops_not_allowed"] == 1


@BOTH
@pytest.mark.parametrize("summed", [True, False])
def test_the_process_sends_to_another_port(lab, vteps, family, summed):
    node = Node("process", replace(SETTINGS, vxlan_dest_port=8472))
    try:
        node.members()
        with inside("b"), socket.socket(kind(family), socket.SOCK_DGRAM) as one, sender("a", family) as there:
            one.bind((host("b", family), 8472))
            one.settimeout(1)
            no_sum(there, family, summed)
            there.send(frame())
            node.serve(0.1)
            data, name = one.recvfrom(LONGEST)
        assert (data, name[:2]) == (frame(), (host("a", family), PORT))
        assert not any(received(one) for one in vteps.values())
    finally:
        node.close()


# --- sizes


@contextlib.contextmanager
def mtu(size, *links):
    """Links, by default all of them, with another MTU."""
    links = links or [*((role, "e0") for role in NET), *(("net", f"to_{role}") for role in NET)]

    def change(value):
        for role, dev in links:
            sh("ip", "-n", NAMES[role], "link", "set", dev, "mtu", str(value))

    change(size)
    try:
        yield
    finally:
        change(1500)


@BOTH
def test_whole_frames_of_any_size(node, vteps, family):
    with mtu(65535):
        node.members()
        sizes = [1500, 8192, 40001, 65507 if family == 4 else 65535 - 40 - 8]
        frames = [frame(size, size) for size in sizes]
        for data in frames:
            send("a", family, data)
            node.serve(0.1)
        assert [data for data, *_rest in received(vteps["b", family])] == frames


@BOTH
def test_a_fragmented_frame_goes_out_once_and_whole_or_not_at_all(node, vteps, family):
    """The sender's link is narrow, so it fragments; no fragment is taken for a frame."""
    links = [*((role, "e0") for role in ("sn", "b")), *(("net", f"to_{role}") for role in ("sn", "b"))]
    with mtu(9000, *links):
        node.members()
        send("a", family, frame(1, 4000))
        assert node.serve() == 1  # put together by the socket
        assert [data for data, *_rest in received(vteps["b", family])] == [frame(1, 4000)]
    # The link before c is as narrow: a router may fragment IPv4 (RFC 7348, 4.3), which cannot tell that it should not.
    assert [data for data, *_rest in received(vteps["c", family])] == ([frame(1, 4000)] if family == 4 else [])
    send("a", family, frame(2, 4000))
    assert node.serve() == 1
    assert received(vteps["b", family]) == []
    assert node.counters()["drops_too_big"] >= 2
    assert any("4028 octets" in words or "4048 octets" in words for _key, words in node.replicator.alarms)


@BOTH
def test_a_copy_that_does_not_fit_is_told_to_its_sender(kernel, vteps, family):
    """By ICMP from the service node, which quotes the copy; the process counts and names it instead."""
    route = ("ip", "-n", NAMES["sn"], f"-{family}", "route", "change", "default", "via", gateway("sn", family))
    sh(*route, "mtu", "lock", "1400")
    try:
        kernel.members()
        with inside("a"), socket.socket(kind(family), socket.SOCK_DGRAM) as one:
            one.bind((host("a", family), PORT))
            option = (socket.IPPROTO_IP, 11) if family == 4 else (socket.IPPROTO_IPV6, 25)  # IP_RECVERR, IPV6_RECVERR
            one.setsockopt(*option, 1)
            one.sendto(frame(1, 1440), (ANYCAST[family], 4789))
            assert kernel.serve() == 0
            told = [errors(one) for _role in ("b", "c")]
    finally:
        sh(*route)
    assert [len(received(vteps[role, family])) for role in VTEPS] == [0, 0, 0]
    assert told == [("EMSGSIZE", 1400)] * 2
    send("a", family, frame(2))
    assert [len(received(vteps[role, family])) for role in VTEPS] == [0, 1, 1]


def errors(one):
    """(errno's name, MTU) of the oldest ICMP error that waits in a socket."""
    poll = select.poll()
    poll.register(one, select.POLLERR)
    assert poll.poll(1000), "no error came"
    _data, ((_level, _type, value),), *_rest = one.recvmsg(LONGEST, 512, socket.MSG_ERRQUEUE)
    number, _origin, _kind, _code, info = struct.unpack_from("=IBBBxI", value)
    return errno.errorcode[number], info


# --- without a gap


def paced(role, family, count, rate):
    """Numbered frames from a process of its own, at a rate."""
    program = f"""
import socket, time
one = socket.socket(socket.AF_INET{"6" if family == 6 else ""}, socket.SOCK_DGRAM)
one.bind(({host(role, family)!r}, {PORT}))
one.connect(({ANYCAST[family]!r}, 4789))
head = bytes.fromhex({frame().hex()!r})
start = time.monotonic()
for number in range({count}):
    while time.monotonic() < start + number / {rate}:
        time.sleep(0.0005)
    one.send(head[:22] + number.to_bytes(4, "big") + head[26:])
"""
    with inside(role):
        return subprocess.Popen([sys.executable, "-S", "-c", program])


def numbers(one):
    return [int.from_bytes(data[22:26], "big") for data, *_rest in received(one)]


@BOTH
def test_a_new_process_takes_over_without_a_lost_frame(lab, vteps, family):
    """The former one is gone and nobody reads the socket; the table stays until the new one's transaction replaces it."""
    first = Node("kernel")
    first.members()
    other = None
    try:
        with paced("a", family, 8000, 8000) as running:
            time.sleep(0.3)
            first.replicator.close()
            time.sleep(0.1)
            other = Node("kernel")
            other.members()
            assert running.poll() is None, "the frames ended before the change"
            assert running.wait(20) == 0
        assert numbers(vteps["b", family]) == list(range(8000))
        assert 0 < other.counters()["kernel_frames"] < 8000 - 2000
    finally:
        (other or first).close()


@BOTH
def test_no_frame_is_lost_or_doubled_while_a_vni_changes(kernel, vteps, family):
    kernel.members("ab", "ab")
    with paced("a", family, 8000, 8000) as running:
        changes = 0
        while running.poll() is None:
            kernel.members("ab" if changes % 2 else "abc", "ab")
            changes += 1
        assert running.returncode == 0
    assert changes > 10
    assert numbers(vteps["b", family]) == list(range(8000))
    some = numbers(vteps["c", family])
    assert 0 < len(some) < 8000 and len(set(some)) == len(some)
    counted = kernel.counters()
    assert counted["kernel_frames"] == 8000 and counted["kernel_copies"] == 8000 + len(some)


@BOTH
def test_frames_fall_to_the_process_when_the_table_is_flushed_and_back(kernel, vteps, family):
    """As `systemctl reload nftables` does on Debian."""
    kernel.members()
    with inside("sn"):
        sh("nft", "flush", "ruleset")
    send("a", family, frame(1))
    assert kernel.serve() == 1
    assert kernel.counters()["kernel_frames"] == 0
    kernel.flush()
    send("a", family, frame(2))
    assert kernel.serve() == 0
    assert numbers(vteps["b", family]) == [1, 2]
    with inside("sn"):
        sh("nft", "flush", "ruleset")
    kernel.members("ab", "ab")  # an update of a table that is gone
    send("a", family, frame(3))
    assert kernel.serve() == 0
    assert numbers(vteps["b", family]) == [3]


def test_remove_leaves_nothing(lab):
    node = Node("kernel")
    node.members()
    with inside("sn"):
        assert "vtep_fabric_vxsnd" in sh("nft", "list", "ruleset")
    node.close()
    with inside("sn"):
        assert sh("nft", "list", "ruleset") == ""
        replicate_nft.remove()


@BOTH
def test_bursts_of_a_thousand_arrive_whole(node, vteps, family):
    """10,000 frames a second in bursts of 1,000."""
    node.members()
    head = frame()
    with sender("a", family) as one:
        start = time.monotonic()
        for burst in range(10):
            time.sleep(max(0, start + burst / 10 - time.monotonic()))
            for number in range(burst * 1000, burst * 1000 + 1000):
                one.send(head[:22] + number.to_bytes(4, "big") + head[26:])
            node.serve(0)
    node.serve()
    for role in ("b", "c"):
        assert numbers(vteps[role, family]) == list(range(10000))


# --- rights


USER = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from vtep_fabric._vxfld import replicate, replicate_nft
from vtep_fabric._vxfld.config import Vxsnd
settings = Vxsnd(svcnode_ip={4: socket.inet_pton(socket.AF_INET, "203.0.113.100"),
                             6: socket.inet_pton(socket.AF_INET6, "2001:db8:ffff::100")})
print(os.getuid(), *replicate_nft.available(settings))
one = replicate_nft.Replicator(settings)
a, b = (socket.inet_pton(socket.AF_INET, text) for text in ("10.0.1.1", "10.0.2.1"))
one.update(int(sys.argv[2]), [a, b], [a, b])
one.flush()
print(sorted(one.by_vni()))
"""


@pytest.fixture
def package():
    """The daemon's package where any user can read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "vtep_fabric").mkdir()
        for layer in ("_model", "_kernel", "_service", "_vxfld"):
            shutil.copytree(Path(replicate.__file__).parents[1] / layer, folder / "vtep_fabric" / layer)
        yield folder


def as_nobody(folder, capabilities):
    """The daemon's sockets and rules as a user without rights but these."""
    caps = ",".join(["-all", *(f"+{word}" for word in capabilities)])
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    command += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}"]
    command += [sys.executable, "-S", "-B", "-c", USER, folder, str(VNI)]
    with inside("sn"):
        return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_capabilities_are_enough(lab, vteps, package):
    try:
        done = as_nobody(package, ["net_admin", "net_raw"])
        assert (done.stdout, done.stderr) == (f"65534 True \n[{VNI}]\n", "")
        send("a", 4, frame())
        time.sleep(0.1)
        assert [data for data, *_rest in received(vteps["b", 4])] == [frame()]
    finally:
        with inside("sn"):
            replicate_nft.remove()


def test_without_them_it_is_said_what_is_needed(lab, package):
    done = as_nobody(package, ["net_raw"])
    assert done.stdout.startswith("65534 False nft: ") and "CAP_NET_ADMIN is needed" in done.stdout
    done = as_nobody(package, ["net_admin"])
    assert "65534 True" in done.stdout and "CAP_NET_RAW is needed" in done.stderr


def test_a_port_that_is_taken_is_named(lab):
    with inside("sn"):
        sh("ip", "link", "add", "vx", "type", "vxlan", "id", "1", "dstport", "4789", "local", ANYCAST[4])
        sh("ip", "link", "set", "vx", "up")
        try:
            with pytest.raises(FabricError, match="203.0.113.100:4789: Address already in use"):
                replicate.Replicator(SETTINGS)
        finally:
            sh("ip", "link", "del", "vx")

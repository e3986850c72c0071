# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variants put on the wire: captured with tcpdump inside the hosts, decoded here after the RFCs.

That nothing is sent is told by order: the same sender sends a marker after the frames in question, and what has not come
before the marker does not come.
"""

import contextlib
import ipaddress
import json
import os
import selectors
import struct
import subprocess
import sys
import time
from collections import namedtuple

import pytest
from driver import PROGRAM, Fabric

VNI, PORT, HOPS = 100, 4789, 5
H1, H2, H4 = (f"50:54:33:00:00:0{n}" for n in (1, 2, 4))
VTEPS = {n: {6: f"2001:db8:{n}::1", 4: f"203.0.113.{n}"} for n in (1, 2, 3)}
S1, S3 = VTEPS[1], VTEPS[3]
H1_OF, H4_OF = {6: "2001:db8:ff::10", 4: "192.0.2.10"}, {6: "2001:db8:ff::13", 4: "192.0.2.13"}
BROADCAST, NOBODY = "ff:ff:ff:ff:ff:ff", "02:00:5e:10:00:00"

IPV4, ARP, IPV6, MARK = 0x0800, 0x0806, 0x86DD, 0x88B5  # the last: IEEE 802, local experimental
UDP, ICMP4, ICMP6 = 17, 1, 58
REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}  # RFC 792, RFC 4443
SOLICITATION, ADVERTISEMENT = 135, 136  # RFC 4861

Frame = namedtuple("Frame", "dst src type payload")
Packet = namedtuple("Packet", "src dst hops protocol payload")
Tunnel = namedtuple("Tunnel", "outer checksum vni inner")


def mac(octets):
    return octets.hex(":")


def octets(address):
    return bytes.fromhex(address.replace(":", ""))


def ethernet(frame):
    return Frame(mac(frame[:6]), mac(frame[6:12]), int.from_bytes(frame[12:14], "big"), frame[14:])


def packet(frame):
    """The IPv4 (RFC 791) or IPv6 (RFC 8200) packet in a frame, or None. An IPv6 packet with extension headers keeps them."""
    data = frame.payload
    if frame.type == IPV6:
        length = int.from_bytes(data[4:6], "big")
        source, destination = (str(ipaddress.IPv6Address(data[at : at + 16])) for at in (8, 24))
        return Packet(source, destination, data[7], data[6], data[40 : 40 + length])
    if frame.type == IPV4:
        source, destination = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (12, 16))
        head, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
        return Packet(source, destination, data[8], data[9], data[head:total])
    return None


def tunnel(frame):
    """The VXLAN packet (RFC 7348) in a frame of the underlay, or None."""
    outer = packet(frame)
    if outer is None or outer.protocol != UDP:
        return None
    _source, destination, length, checksum = struct.unpack("!4H", outer.payload[:8])
    if destination != PORT:
        return None
    flags, reserved, vni, rest = struct.unpack("!B3s3sB", outer.payload[8:16])
    assert (flags, reserved, rest) == (0x08, bytes(3), 0), "the I flag is set and all reserved bits are zero"
    assert length == len(outer.payload)
    return Tunnel(outer, checksum, int.from_bytes(vni, "big"), ethernet(outer.payload[16:]))


def echo(frame):
    """The packet in a frame if it is an echo request or reply, with the ICMP type as its protocol."""
    found = packet(frame)
    for family, protocol in ((4, ICMP4), (6, ICMP6)):
        if found and found.protocol == protocol and found.payload[0] in (REQUEST[family], REPLY[family]):
            return found._replace(protocol=found.payload[0])
    return None


def checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(destination, source, kind, payload=b""):
    return octets(destination) + octets(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def arp_request(source, sender, target):
    """RFC 826: Ethernet, IPv4, opcode 1."""
    addresses = octets(source) + ipaddress.IPv4Address(sender).packed + bytes(6) + ipaddress.IPv4Address(target).packed
    return build(BROADCAST, source, ARP, struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + addresses)


def solicitation(source, sender, target):
    """RFC 4861, to the target's solicited-node group, with the sender's link-layer address."""
    target = ipaddress.IPv6Address(target).packed
    group = bytes.fromhex("ff0200000000000000000001ff") + target[-3:]
    body = bytes(4) + target + bytes([1, 1]) + octets(source)
    ends = ipaddress.IPv6Address(sender).packed + group
    total = checksum(ends + struct.pack("!II", 4 + len(body), ICMP6) + bytes([SOLICITATION, 0, 0, 0]) + body)
    message = struct.pack("!BBH", SOLICITATION, 0, total) + body
    head = struct.pack("!IHBB", 6 << 28, len(message), ICMP6, 255)
    return build(mac(b"\x33\x33" + group[-4:]), source, IPV6, head + ends + message)


def echo_request(destination, target):
    """Of H1."""
    if ":" in target:
        ends = ipaddress.IPv6Address("2001:db8:ff::10").packed + ipaddress.IPv6Address(target).packed
        message = bytes([REQUEST[6], 0, 0, 0]) + b"echo"
        total = checksum(ends + struct.pack("!II", len(message), ICMP6) + message)
        head = struct.pack("!IHBB", 6 << 28, len(message), ICMP6, 64) + ends
    else:
        ends = ipaddress.IPv4Address("192.0.2.10").packed + ipaddress.IPv4Address(target).packed
        message = bytes([REQUEST[4], 0, 0, 0]) + b"echo"
        total = checksum(message)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP4, 0) + ends
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    message = message[:2] + struct.pack("!H", total) + message[4:]
    return build(destination, H1, IPV6 if ":" in target else IPV4, head + message)


def marker(destination):
    return build(destination, H1, MARK, b"marker")


def is_marker(frame):
    return frame.type == MARK and frame.payload.startswith(b"marker")


def send(fabric, host, *frames):
    words = "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))"
    fabric.run(
        host,
        f'python3 -c "{words}; [s.send(bytes.fromhex(f)) for f in sys.argv[1:]]" ' + " ".join(map(bytes.hex, frames)),
    )


class Capture:
    """All frames on a host's device, both ways, from `with` on."""

    def __init__(self, fabric, host, dev):
        self.name = f"{host} {dev}"
        # What is here is not tcpdump but what waits for it, so the host's shell ends it when nobody writes to it any more.
        script = f"tcpdump -n -i {dev} --immediate-mode -U -w - & read end; kill $!; wait"
        self.command = [sys.executable, PROGRAM, "shell", fabric.prefix, host, "sh", "-c", script]

    def __enter__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.frames, self.data = [], b""
        told = self.process.stderr.readline()
        while told and b"listening on" not in told:
            told = self.process.stderr.readline()
        assert told, f"tcpdump does not run on {self.name}"
        return self

    def __exit__(self, *error):
        self.process.communicate(timeout=10)

    def until(self, wanted, times=1, seconds=5):
        """All frames so far, when as many as `times` are what is wanted."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while sum(map(bool, map(wanted, self.frames))) < times:
                ready = selector.select(deadline - time.monotonic())
                assert ready, f"not on {self.name} within {seconds} s; there were {self.frames}"
                self.data += os.read(self.process.stdout.fileno(), 1 << 16)
                self.decode()
        return self.frames

    def first(self, wanted):
        return next(filter(wanted, self.until(wanted)))

    def decode(self):
        """Take whole records of the pcap format out of what was read: a head of 24 octets, then 16 before each frame."""
        if self.data[:4] == b"\xd4\xc3\xb2\xa1":
            self.data = self.data[24:]
        while len(self.data) >= 16:
            length = int.from_bytes(self.data[8:12], "little")
            if len(self.data) < 16 + length:
                break
            self.frames.append(ethernet(self.data[16 : 16 + length]))
            self.data = self.data[16 + length :]


class Wire(Fabric):
    known = None

    def become(self, variant, underlay=6):
        if (variant, underlay) != self.known:
            self.known = None
            # The lab too: in which subnet H4 is depends on the variant.
            words = ("-e", f"variant={variant}", "-e", f"fabric_underlay_family={underlay}")
            self.play("playbooks/lab_up.yml", "site.yml", *words)
            self.known = (variant, underlay)

    def ping(self, host, address, *options):
        """What ping tells. No answer is no failure here."""
        return self.run(host, f"ping -n -c 1 -W 1 {' '.join(options)} {address} || test $? = 1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    wire = Wire(tmp_path_factory.mktemp("wire"))
    try:
        yield wire
    finally:
        wire.play("playbooks/lab_down.yml")


@pytest.fixture
def rsc(lab):
    lab.become("unicast-static-rsc")
    return lab


@pytest.fixture
def static_nd(lab):
    lab.become("unicast-static-nd")
    return lab


@pytest.fixture
def routing(lab):
    lab.become("unicast-routing")
    return lab


def tunnelled_marker(frame):
    through = tunnel(frame)
    return through and is_marker(through.inner)


def tunnelled_echo(frame):
    through = tunnel(frame)
    return through and echo(through.inner)


def of_h1(frames):
    """What H1 sent into the tunnel before the marker."""
    found = []
    for through in filter(None, map(tunnel, frames)):
        if is_marker(through.inner):
            return found
        if through.inner.src == H1:
            found.append(through.inner)
    raise AssertionError("there is no marker")


def both_ways(frames, near, far):
    """The one tunnelled echo request from near to far and the reply, each as tunnel packet and inner packet."""
    found = [(through, echo(through.inner)) for through in map(tunnel, frames) if through]
    return [(through, inner) for through, inner in found if inner and {inner.src, inner.dst} == {near, far}]


# The VTEP's own addresses, another VTEP's, networks that are no business of the fabric, and addresses that nobody has.
OUTSIDE = (
    S1[6], S1[4], "169.254.15.1", S3[6], S3[4], "169.254.15.3", "198.18.0.1", "2001:db8:5::1", "192.0.2.99", "2001:db8:ff::99",
)  # fmt: skip


def check_reach(lab, door):
    """H1 reaches its segment and nothing else. door: the device of S1 whose MAC address a frame has if S1 is to take it."""
    told = lab.run("s1", f"cat /sys/class/net/{door}/address; ip -j -6 addr show dev eth1 scope link").split("\n", 1)
    door_mac, link_local = told[0], json.loads(told[1])[0]["addr_info"][0]["local"]
    outside = [*OUTSIDE, link_local]
    inside = echo_request(door_mac if door == "eth1" else H2, "192.0.2.11")
    questions = arp_request(H1, "192.0.2.10", S1[4]), solicitation(H1, "2001:db8:ff::10", S1[6])
    with (
        Capture(lab, "s1", "eth1") as port,
        Capture(lab, "s1", "eth0") as underlay,
        Capture(lab, "h1", "eth0") as access,
    ):
        send(lab, "h1", *questions, *(echo_request(door_mac, target) for target in outside), inside)
        heard = access.until(lambda f: f.dst == H1 and echo(f) and echo(f).src == "192.0.2.11")
        left = underlay.until(lambda f: tunnelled_echo(f) and tunnelled_echo(f).src == "192.0.2.11")
        tried = port.until(lambda f: echo(f) and echo(f).dst == "192.0.2.11")
    assert {echo(f).dst for f in tried if echo(f)} >= set(outside)
    assert {echo(f).src for f in heard if f.dst == H1 and echo(f)} == {"192.0.2.11"}
    assert [echo(f) for f in left if echo(f)] == [], "in the underlay without a tunnel"
    # Under flooding even a frame for the VTEP's own MAC address may not leave it.
    assert {tunnelled_echo(f).dst for f in left if tunnelled_echo(f)} == {"192.0.2.10", "192.0.2.11"}
    if door == "br100":  # where the VTEP is no router it does not answer ARP and ND either
        assert [f for f in heard if f.src == door_mac] == []


OPEN = "ip route {0} 192.0.2.10 dev br100; ip route {0} 2001:db8:ff::10 dev br100; sysctl -qw net.ipv4.conf.br100.forwarding={1}"


@contextlib.contextmanager
def opened(lab):
    """What an operator may have set up on a VTEP with a bridge, so that isolation alone keeps the overlay apart."""
    lab.run("s1", OPEN.format("add", 1))
    try:
        yield
    finally:
        lab.run("s1", OPEN.format("del", 0))


# unicast-static-rsc

FAR_OF = {6: "2001:db8:fe::13", 4: "198.51.100.13"}  # H4 in a subnet of its own
H1_GATEWAY, H4_GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.mark.parametrize("family", [6, 4])
def test_a_short_circuit_goes_straight_to_the_vtep_of_the_destination(rsc, family):
    near, far = H1_OF[family], FAR_OF[family]
    with Capture(rsc, "s1", "eth0") as underlay, Capture(rsc, "h4", "eth0") as access:
        assert " 0% packet loss" in rsc.ping("h1", far, "-t 64")
        # These two and no third: S2, who would get a flooded frame too, gets none.
        (request, asked), (reply, answered) = both_ways(underlay.until(tunnelled_echo, times=2), near, far)
        ends = [f[:2] for f in access.until(echo, times=2) if echo(f)]
    assert request.outer[:3] == (S1[6], S3[6], HOPS)
    assert reply.outer[:3] == (S3[6], S1[6], HOPS)
    assert request.vni == reply.vni == VNI
    # H1 sent to its gateway; the frame goes on as if the gateway had sent it, but with the hop limit that it had.
    assert request.inner[:2] == (H4, H1_GATEWAY)
    assert reply.inner[:2] == (H1, H4_GATEWAY)
    assert asked[:4] == (near, far, 64, REQUEST[family])
    assert answered[:4] == (far, near, 64, REPLY[family])
    assert ends == [(H4, H1_GATEWAY), (H4_GATEWAY, H4)]


def test_there_is_no_router(rsc):
    """Nothing has the gateways' addresses, and nothing leads to their VTEP."""
    for host in ("s1", "s2", "s3"):
        assert "2001:db8:99::1" not in rsc.run(host, "ip -6 addr; ip -6 route show table all")
    everything = "".join(rsc.run(host, "ip addr") for host in ("s1", "s2", "s3", "h1", "h2", "h3", "h4"))
    gateways = (H1_GATEWAY, H4_GATEWAY, "2001:db8:ff::1/", "2001:db8:fe::1/", "192.0.2.1/", "198.51.100.1/")
    assert [address for address in gateways if address in everything] == []


def test_reach_under_rsc(rsc):
    with opened(rsc):
        check_reach(rsc, "br100")


# unicast-static-nd


def test_nd_and_arp_are_answered_by_the_own_vtep(static_nd):
    questions = arp_request(H1, "192.0.2.10", "192.0.2.13"), solicitation(H1, "2001:db8:ff::10", "2001:db8:ff::13")
    with Capture(static_nd, "s1", "eth0") as underlay, Capture(static_nd, "h1", "eth0") as access:
        send(static_nd, "h1", *questions, marker(H4))
        assert of_h1(underlay.until(tunnelled_marker)) == []
        arp, nd = (access.first(lambda f, kind=kind: f.src == H4 and f.type == kind) for kind in (ARP, IPV6))
    assert arp.dst == H1
    assert struct.unpack("!HHBBH", arp.payload[:8]) == (1, IPV4, 6, 4, 2)
    sender, target = (ipaddress.IPv4Address(address).packed for address in ("192.0.2.13", "192.0.2.10"))
    assert arp.payload[8:28] == octets(H4) + sender + octets(H1) + target

    answer = packet(nd)
    assert nd.dst == H1
    assert answer[:4] == ("2001:db8:ff::13", "2001:db8:ff::10", 255, ICMP6)
    assert answer.payload[:2] == bytes([ADVERTISEMENT, 0])
    assert answer.payload[4] == 0x60, "solicited and override, and no router"
    assert answer.payload[8:24] == ipaddress.IPv6Address("2001:db8:ff::13").packed
    assert answer.payload[24:] == bytes([2, 1]) + octets(H4)  # the target's link-layer address
    ends = b"".join(ipaddress.IPv6Address(address).packed for address in answer[:2])
    assert checksum(ends + struct.pack("!II", len(answer.payload), ICMP6) + answer.payload) == 0


def test_what_nobody_knows_goes_nowhere(static_nd):
    """An unknown MAC, a broadcast, a multicast, and questions for addresses that nobody has."""
    questions = arp_request(H1, "192.0.2.10", "192.0.2.99"), solicitation(H1, "2001:db8:ff::10", "2001:db8:ff::99")
    others = [build(destination, H1, MARK, b"other") for destination in (NOBODY, BROADCAST, "33:33:00:00:00:01")]
    with Capture(static_nd, "s1", "eth0") as underlay, Capture(static_nd, "h1", "eth0") as access:
        send(static_nd, "h1", *questions, *others, marker(H4))
        assert of_h1(underlay.until(tunnelled_marker)) == []
        # A question that is answered comes last: what was to come of the others has come before.
        send(static_nd, "h1", arp_request(H1, "192.0.2.10", "192.0.2.13"))
        heard = access.until(lambda f: f.src == H4)
    assert [f.src for f in heard if f.src != H1] == [H4]


def test_reach_under_static_nd(static_nd):
    with opened(static_nd):
        check_reach(static_nd, "br100")


# unicast-routing

S1_MAC, S3_MAC = "02:00:00:00:00:01", "02:00:00:00:00:03"
BIG = 1700  # octets: an MTU above the segment's, of endpoint and access port, so that the VTEP and not the cable has to judge


def router_error(frame):
    """An ICMP error that came for H1: unreachable or time exceeded (RFC 792), types below 128 (RFC 4443)."""
    found = packet(frame) if frame.dst == H1 else None
    if not found or found.protocol not in (ICMP4, ICMP6):
        return None
    wrong = found.payload[0] in (3, 11) if found.protocol == ICMP4 else found.payload[0] < 128
    return found if wrong else None


def check_route(lab, family, underlay):
    near, far = H1_OF[family], H4_OF[family]
    with Capture(lab, "s1", "eth0") as wire:
        assert " 0% packet loss" in lab.ping("h1", far, "-t 64")
        (request, asked), (reply, answered) = both_ways(wire.until(tunnelled_echo, times=2), near, far)
    assert request.outer[:3] == (S1[underlay], S3[underlay], HOPS)
    assert reply.outer[:3] == (S3[underlay], S1[underlay], HOPS)
    assert request.vni == reply.vni == VNI
    assert request.inner[:2] == (S3_MAC, S1_MAC)
    assert reply.inner[:2] == (S1_MAC, S3_MAC)
    # One router was passed before the packet entered the tunnel.
    assert asked[:4] == (near, far, 63, REQUEST[family])
    assert answered[:4] == (far, near, 63, REPLY[family])
    assert request.checksum == reply.checksum == 0  # the route's encapsulation asks for none


@pytest.mark.parametrize("family", [6, 4])
def test_a_route_leads_into_the_tunnel(routing, family):
    check_route(routing, family, underlay=6)


@pytest.fixture
def big_frames(routing):
    def set_mtu(mtu):
        routing.run("s1", f"ip link set eth1 mtu {mtu}")
        routing.run("h1", f"ip link set eth0 mtu {mtu}; ip route flush cache; ip -6 route flush cache")

    set_mtu(BIG)
    yield routing
    set_mtu(1500)


@pytest.mark.parametrize(
    ("family", "headers", "told", "kind"), [(4, 28, "mtu = 1500", (3, 4)), (6, 48, "mtu=1500", (2, 0))]
)
def test_too_large_a_packet_is_answered_by_the_own_vtep(big_frames, family, headers, told, kind):
    """Fragmentation needed (RFC 792, RFC 1191) and packet too big (RFC 4443), with the MTU of the segment."""
    far = H4_OF[family]
    with Capture(big_frames, "h1", "eth0") as access, Capture(big_frames, "s1", "eth0") as underlay:
        assert told in big_frames.ping("h1", far, "-M do", f"-s {1600 - headers}")
        error = router_error(access.first(router_error))
        # What fits passes, and nothing of the larger packet came before it.
        assert " 0% packet loss" in big_frames.ping("h1", far, "-M do", f"-s {1500 - headers}")
        passed = both_ways(underlay.until(tunnelled_echo, times=2), H1_OF[family], far)
    assert tuple(error.payload[:2]) == kind
    assert int.from_bytes(error.payload[4:8], "big") == 1500
    assert [8 + 1500 - headers] * 2 == [len(inner.payload) for _through, inner in passed]


@pytest.mark.parametrize("family", [6, 4])
@pytest.mark.parametrize(("hops", "vtep"), [(1, S1), (2, S3)])
def test_a_traceroute_shows_both_vteps(routing, family, hops, vtep):
    with Capture(routing, "h1", "eth0") as access:
        assert " 0 received" in routing.ping("h1", H4_OF[family], f"-t {hops}")
        error = router_error(access.first(router_error))
    assert error.payload[:2] == bytes([{6: 3, 4: 11}[family], 0])
    assert error.src == vtep[family]


def test_reach_under_routing(routing):
    check_reach(routing, "eth1")


@pytest.mark.parametrize("family", [6, 4])
def test_a_route_leads_into_a_tunnel_over_ipv4(lab, family):
    lab.become("unicast-routing", underlay=4)
    check_route(lab, family, underlay=4)

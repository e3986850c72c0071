# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs with which verify proves encryption, on a kernel that needs none: what they must find is there, and they find it.

Two hosts share a wire. `vtep` has a VXLAN device in a bridge, and there an access port to an endpoint. `other` sends what another VTEP
would, made by hand, and is the rogue.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify_encryption
from device_support import MARKS
from wire_support import Host

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from verify_frames import ESP, FILES, INNER, MARKER, PING, SECTAG, ipv4, ipv6, rogue, udp, vxlan

pytestmark = [*MARKS, pytest.mark.skipif(not shutil.which("nft"), reason="NOT TESTED: nft is not installed")]

OWN = {4: "203.0.113.1", 6: "2001:db8:1::1"}
PEER = {4: "203.0.113.2", 6: "2001:db8:2::1"}
ROGUE = {4: "192.0.2.2", 6: "2001:db8:9::2"}
ENDPOINT = {4: "198.51.100.1", 6: "2001:db8:ff::1"}
ELSEWHERE = {4: "198.51.100.2", 6: "2001:db8:ff::2"}
ROUTER = "02:00:00:00:00:aa"
BYTES = bytes.fromhex(MARKER)


class Fabric:
    def __init__(self):
        self.vtep, self.other, self.endpoint = Host(0), Host(1), Host(2)
        self.vtep.ip([
            "link add wire mtu 1600 address 02:00:00:00:00:01 type veth "
            f"peer name wire netns {self.other.path} mtu 1600 address 02:00:00:00:00:02",
            f"link add port type veth peer name eth0 netns {self.endpoint.path}",
            *(f"link set {dev} addrgenmode none" for dev in ("wire", "port")),
            *(f"link set {dev} up" for dev in ("lo", "wire", "port")),
            f"addr add {OWN[4]}/32 dev lo", f"addr add {OWN[6]}/128 dev lo nodad",
            "addr add 192.0.2.1/24 dev wire", "addr add 2001:db8:9::1/64 dev wire nodad",
            f"route add {PEER[4]}/32 via 192.0.2.2", f"route add {PEER[6]}/128 via 2001:db8:9::2",
            *(f"neigh add {ROGUE[family]} lladdr 02:00:00:00:00:02 nud permanent dev wire" for family in (4, 6)),
        ])  # fmt: skip
        self.other.ip([
            "link set wire addrgenmode none", "link set lo up", "link set wire up",
            "addr add 192.0.2.2/24 dev wire", "addr add 2001:db8:9::2/64 dev wire nodad",
        ])  # fmt: skip
        self.endpoint.ip(["link set eth0 addrgenmode none", "link set eth0 up"])
        self.sockets, self.request = {}, {"where": "esp"}

    def overlay(self, family):
        flood = f"00:00:00:00:00:00 dev vxlan100 dst {PEER[family]}"
        self.vtep.ip([
            "link add br100 type bridge mcast_snooping 0",
            f"link add vxlan100 type vxlan id 100 dstport 4789 nolearning local {OWN[family]}",
            *(f"link set {dev} addrgenmode none" for dev in ("br100", "vxlan100")),
            *(f"link set {dev} master br100" for dev in ("vxlan100", "port")),
            *(f"link set {dev} up" for dev in ("br100", "vxlan100")),
        ])  # fmt: skip
        self.run(self.vtep, "bridge", "fdb", "append", *flood.split())

    def run(self, host, *command, given=""):
        with host.here():
            done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def program(self, host, name, *words, request):
        return json.loads(self.run(host, sys.executable, str(FILES / name), *words, given=json.dumps(request)))

    def start(self, where, **words):
        self.request = {
            "where": where, "devices": ["wire"], "macsec": [], "ports": ["port"], "dstports": [4789], "marker": MARKER,
            "rogue_marker": verify_encryption.rogue_marker(MARKER), "seconds": 60, **words,
        }  # fmt: skip
        assert self.program(self.vtep, "encryption.py", "start", request=self.request) == {}

    def stop(self):
        return self.program(self.vtep, "encryption.py", "stop", request=self.request)

    def send(self, host, dev, *frames):
        if (host, dev) not in self.sockets:
            with host.here():
                made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((dev, 0))
            self.sockets[host, dev] = made
        for frame in frames:
            self.sockets[host, dev].send(frame)

    def routed(self, family):
        """A VTEP of unicast-routing: packets to an endpoint come by the VXLAN device and go on by the endpoint's own."""
        bits, proc = {4: 32, 6: 128}[family], {4: "ipv4", 6: "ipv6"}[family]
        self.vtep.ip([
            f"link add vxlan100 address {ROUTER} type vxlan id 100 dstport 4789 local {OWN[family]}",
            "link set vxlan100 addrgenmode none", "link set vxlan100 up",
            *(f"route add {one}/{bits} dev {dev}" for one, dev in ((ENDPOINT[family], "port"), (ELSEWHERE[family], "vxlan100"))),
            f"neigh add {ENDPOINT[family]} lladdr 02:00:00:00:00:0e nud permanent dev port",
        ])  # fmt: skip
        for dev in ("all", "vxlan100", "port"):
            self.run(self.vtep, "sh", "-c", f"echo 1 >/proc/sys/net/{proc}/conf/{dev}/forwarding")

    def attack(self, family, inner=None):
        spoofed = {
            "mac": "02:00:00:00:00:01",
            "dst": OWN[family],
            "dstport": 4789,
            "vni": 100,
            "src": PEER[family],
            "spoofed": True,
            **({"inner": inner} if inner else {}),
        }
        request = {
            "dev": "wire",
            "marker": self.request["rogue_marker"],
            "frames": [{**spoofed, "src": None, "spoofed": False}, spoofed],
        }
        return self.program(self.other, "rogue.py", request=request)

    def close(self):
        with contextlib.suppress(AssertionError):  # no capture is left
            self.program(self.vtep, "encryption.py", "stop", request=self.request)
        for made in self.sockets.values():
            made.close()
        for host in (self.vtep, self.other, self.endpoint):
            os.close(host.net)


@pytest.fixture
def fabric():
    made = Fabric()
    yield made
    made.close()


TO_VTEP, TO_OTHER = bytes.fromhex("020000000001020000000002"), bytes.fromhex("020000000002020000000001")
CLEAR = udp(4789, vxlan(PING + BYTES))


def test_both_ways_are_counted_and_told_apart(fabric):
    fabric.start("esp")
    fabric.send(
        fabric.vtep, "wire", *(TO_OTHER + one for one in (ipv4(50, ESP), ipv6(50, ESP), ipv6(17, udp(4500, ESP))))
    )
    fabric.send(fabric.other, "wire", *(TO_VTEP + one for one in (ipv6(50, ESP), ipv4(17, udp(4500, bytes(4) + ESP)))))
    seen = fabric.stop()
    assert seen["encrypted"] == {"sent": 3, "received": 1}
    assert seen["packets"]["received"] >= 2 and seen["dropped"] == 0
    assert seen["clear"] == seen["marker"] == {"sent": 0, "received": 0} and seen["samples"] == []
    assert set(seen["after"]["statistics"]) == {"xfrm", "states"}
    assert seen["files"]["looked"] >= 0


@pytest.mark.parametrize("where", ["esp", "underlay", "inside"])
def test_a_leak_is_found_in_both_directions(fabric, where):
    macsec = SECTAG["encrypted"] + bytes(80)
    right = {"esp": ipv6(50, ESP), "underlay": macsec, "inside": ipv6(17, udp(4789, vxlan(macsec)))}[where]
    fabric.start(where)
    fabric.send(fabric.vtep, "wire", TO_OTHER + right, TO_OTHER + ipv6(17, CLEAR))
    tagged = b"\x81\x00\x00\x07" + ipv6(17, CLEAR)
    fabric.send(fabric.other, "wire", TO_VTEP + right, TO_VTEP + ipv4(17, CLEAR), TO_VTEP + tagged)
    seen = fabric.stop()
    assert seen["encrypted"] == {"sent": 1, "received": 1}
    assert seen["clear"] == {"sent": 1, "received": 2}
    assert seen["marker"] == {"sent": 1, "received": 2}
    assert "wire: sent in clear: 2001:db8:1::1 > 2001:db8:2::1 UDP 4789 VNI 100 EtherType 0x0800" in seen["samples"]


@pytest.mark.parametrize("family", [4, 6])
def test_real_vxlan_without_encryption_is_a_leak(fabric, family):
    fabric.overlay(family)
    fabric.start("esp")
    fabric.send(fabric.endpoint, "eth0", b"\xff" * 6 + INNER[6:] + b"\x88\xb5" + bytes(40) + BYTES)
    seen = fabric.stop()
    assert (seen["clear"]["sent"], seen["marker"]["sent"]) == (1, 1)


@pytest.mark.parametrize("family", [4, 6])
def test_a_rogue_gets_in_where_nothing_is_encrypted(fabric, family):
    """CVE-2023-28840, and what tells that the next test proves something."""
    fabric.overlay(family)
    fabric.start("esp")
    assert fabric.attack(family) == {"sent": 6}
    seen = fabric.stop()
    assert seen["arrived"] == seen["forwarded"] == {"own": 3, "spoofed": 3}
    assert seen["clear"] == {"sent": 0, "received": 0}  # a rogue is not the fabric's own leak


@pytest.mark.parametrize("family", [4, 6])
def test_a_rogue_gets_to_an_endpoint_where_vteps_route(fabric, family):
    fabric.routed(family)
    fabric.start("esp")
    fabric.attack(family, {"mac": ROUTER, "src": ELSEWHERE[family], "dst": ENDPOINT[family]})
    seen = fabric.stop()
    assert seen["arrived"] == seen["forwarded"] == {"own": 3, "spoofed": 3}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("by", ["policy", "rules"])
def test_a_rogue_does_not_get_in(fabric, family, by):
    fabric.overlay(family)
    if by == "policy":  # what role ipsec has the host do to VXLAN that is not encrypted
        prefix = {4: f"0.0.0.0/0 dst {OWN[4]}/32", 6: f"::/0 dst {OWN[6]}/128"}[family]
        fabric.vtep.ip([f"xfrm policy add src {prefix} proto udp dport 4789 dir in action block"])
    else:  # and role macsec
        fabric.run(
            fabric.vtep,
            "nft",
            "table inet x { chain y { type filter hook input priority -250; udp dport 4789 drop; }; }",
        )
    fabric.start("esp")
    fabric.attack(family)
    seen = fabric.stop()
    assert seen["arrived"] == {"own": 3, "spoofed": 3}
    assert seen["forwarded"] == {"own": 0, "spoofed": 0}


def test_the_rogues_own_address_is_one_of_its_interface(fabric):
    with fabric.vtep.here():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    heard.bind(("wire", 3))
    heard.settimeout(5)
    fabric.start("esp")
    fabric.attack(4)
    fabric.attack(6)
    sources, end = set(), time.monotonic() + 5
    while len(sources) < 4 and time.monotonic() < end:
        frame = heard.recv(2000)
        if b"\x12\xb5" not in (frame[36:38], frame[56:58]):  # port 4789; the kernel has frames of its own
            continue
        if frame[12:14] == b"\x08\x00":
            sources.add(socket.inet_ntop(socket.AF_INET, frame[26:30]))
        elif frame[12:14] == b"\x86\xdd":
            sources.add(socket.inet_ntop(socket.AF_INET6, frame[22:38]))
    heard.close()
    assert sources == {*ROGUE.values(), *PEER.values()}


def test_a_capture_that_was_left_is_ended_by_the_next(fabric):
    fabric.start("esp")
    fabric.send(fabric.vtep, "wire", TO_OTHER + ipv6(50, ESP))
    fabric.start("esp")
    assert fabric.stop()["encrypted"]["sent"] == 0
    with pytest.raises(AssertionError, match="not there any more"):
        fabric.stop()


def test_a_capture_that_nobody_ends_ends_itself(fabric):
    fabric.start("esp", seconds=1)
    time.sleep(1.5)
    with pytest.raises(AssertionError, match="not there any more"):
        fabric.stop()


def test_an_interface_that_is_not_there_is_named(fabric):
    with pytest.raises(AssertionError, match="cannot capture on eth9: No such device"):
        fabric.start("esp", devices=["eth9"])


# The counters of copies, which look where VXLAN can be read

MAC = "50:54:33:00:00:01"


def node(fabric, verb, **words):
    request = {
        "sources": [{"mac": MAC, "vni": 100, "dstport": 4789}], "segments": [{"vni": 100, "dstport": 4789}],
        "paths": [], "devices": [], "ports": [], "sysctls": [], "ospf": [], "local": OWN[6], "loopbacks": [], "registrations": False,
    }  # fmt: skip
    return fabric.program(fabric.vtep, "node.py", verb, request={**request, **words})


def probe(length=60, secured=False):
    """A broadcast of the proof in VXLAN from `other`: a frame of `length` bytes, and 32 more with MACsec."""
    body = bytes(length - 14)
    inner = SECTAG["encrypted"] + bytes(2) + body + bytes(16) if secured else b"\x88\xb5" + body
    payload = struct.pack("!BxxxI", 8, 100 << 8) + b"\xff" * 6 + INNER[6:] + inner
    assert len(payload) == 8 + length + (32 if secured else 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0)
    head += socket.inet_aton(PEER[4]) + socket.inet_aton(OWN[4])
    return TO_VTEP + b"\x08\x00" + head[:10] + struct.pack("!H", rogue.checksum(head)) + head[12:] + udp(4789, payload)


def received(fabric, frames, **words):
    """How many of the frames are counted as copies of a broadcast."""
    node(fabric, "start", **words)
    fabric.send(fabric.other, "wire", *frames)
    return node(fabric, "stop", **words)["copies"]["received"][f"broadcast/100/{MAC}"]


def test_copies_are_told_by_their_length_where_macsec_hides_what_they_are(fabric):
    secured = {"sources": [{"mac": MAC, "vni": 100, "dstport": 4789, "secured_length": 8 + 8 + 301 + 32}]}
    frames = [probe(301, True), probe(301, True), probe(60, True), probe(), probe(301)]
    assert received(fabric, frames, **secured) == 2
    assert received(fabric, frames) == 2


def test_what_arrives_in_clear_is_no_copy_where_the_underlay_encrypts(fabric):
    frames = [probe(), probe()]
    assert received(fabric, frames) == 2
    assert received(fabric, frames, encryption={"where": "esp"}) == 0
    assert received(fabric, frames, encryption={"where": "underlay", "macsec": ["ms-wire"]}) == 0
    assert received(fabric, frames, encryption={"where": "underlay", "macsec": ["wire"]}) == 2
    assert received(fabric, frames, encryption={"where": "inside", "macsec": ["ms-vxlan100"]}) == 2

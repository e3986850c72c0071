# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VTEP learns of the hosts behind its access ports, and how much they may ask: real hosts, a real bridge."""

import contextlib
import ctypes
import json
import logging
import os
import select
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import snoop
from ansible_collections.vtep.fabric.plugins.module_utils._agent.local import LocalEndpoints
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source_limit import SourceLimit
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.bridge_ports import BridgePorts
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.bridge_rows import BridgeRows
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.neighbor_watch import NeighborWatch

needed = [word for word in ("ip", "bridge", "nft") if not shutil.which(word, path=os.environ["PATH"] + ":/usr/sbin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: bridges need root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: this needs the programs {needed}"),
]

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = {role: f"val{os.getpid()}-{role}" for role in ("vtep", "h1", "h2")}
MACS = {"h1": "50:54:33:00:00:01", "h2": "50:54:33:00:00:02"}
VNI = 100
WAIT = 10


def sh(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def ip(role, line):
    sh("ip", "-n", NAMES[role], *line.split())


@contextlib.contextmanager
def inside(role):
    """This thread, and the programs and sockets that it makes, in a network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{NAMES[role]}") as there:
        assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@pytest.fixture
def lab():
    """A VTEP with the ports eth1 and eth2, a host behind each, and VXLAN device and bridge."""
    try:
        for name in NAMES.values():
            sh("ip", "netns", "add", name)
        for number, role in ((1, "h1"), (2, "h2")):
            ip("vtep", f"link add eth{number} type veth peer name eth0 netns {NAMES[role]}")
            ip(role, f"link set eth0 address {MACS[role]}")
        ip("vtep", "link add br0 type bridge mcast_snooping 0")
        ip("vtep", f"link add vx0 type vxlan id {VNI} dstport 4789 local 192.0.2.1 nolearning l2miss l3miss proxy")
        for name in ("vx0", "eth1", "eth2"):
            ip("vtep", f"link set {name} master br0")
        for name in ("lo", "br0", "vx0", "eth1", "eth2"):
            ip("vtep", f"link set {name} up")
        yield
    finally:
        for name in NAMES.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def starts(role, *addresses):
    """A host that comes up with its addresses."""
    for address in addresses:
        ip(role, f"addr add {address} dev eth0" + (" nodad" if ":" in address else ""))
    ip(role, "link set eth0 up")
    with inside(role):
        for name in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
            Path("/proc/sys/net", name).write_text("0")


class Vtep:
    """The agent's part that learns, played by the test."""

    def __init__(self):
        self.filenos = set()
        self.told = []
        logger = logging.Logger("test")
        logger.handle = lambda record: self.told.append(record.getMessage())
        with inside("vtep"):
            self.watch, self.ports, self.rows = NeighborWatch(), BridgePorts(), BridgeRows()
            self.snoop = snoop.Snoop(self.filenos.add, self.filenos.discard)
            self.local = LocalEndpoints(self.rows, self.snoop.heard, logger)
            self.limit = SourceLimit(0, logger)
            self.links()

    def links(self):
        with inside("vtep"):
            self.ports.read()
            vxlans, ports = self.ports.bridges, self.ports.ports
            names = {index: name for its in ports.values() for index, name in its}
            self.snoop.ports(names)
            self.local.layout({bridge: ((VNI,), dict(ports[bridge])) for bridge in vxlans.values()})

    def serve(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready = select.select([self.watch, self.ports, *self.filenos], [], [], 0.02)[0]
            for one in ready:
                if one is self.watch:
                    self.local.events(self.watch.read())
                elif one is self.ports:
                    self.links()
                elif self.snoop.read(one, time.monotonic()):
                    self.local.changed()

    def until(self, what):
        end = time.monotonic() + WAIT
        while not what(self.endpoints):
            assert time.monotonic() < end, self.endpoints
            self.serve(0.05)

    @property
    def endpoints(self):
        """{host's name, or MAC: its addresses as text}"""
        roles = {mac(text): role for role, text in MACS.items()}
        found = {}
        for (vni, one), addresses in self.local.endpoints().items():
            assert vni == VNI
            found[roles.get(one, one.hex(":"))] = {
                socket.inet_ntop(socket.AF_INET if len(each) == 4 else socket.AF_INET6, each) for each in addresses
            }
        return found

    def close(self):
        self.snoop.close()
        for one in (self.watch, self.ports, self.rows):
            one.close()
        with inside("vtep"):
            self.limit.close()


@pytest.fixture
def vtep(lab):
    made = Vtep()
    yield made
    made.close()


H1, H2 = ("192.0.2.10/24", "2001:db8:ff::10/64"), ("192.0.2.11/24", "2001:db8:ff::11/64")
LINK1 = "fe80::5254:33ff:fe00:1"


def reaches(role, address, count=1):
    """Whether datagrams to a port where nobody listens are answered so (programs that ping are not everywhere)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(role), socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.connect((address, 9))
        for _dummy in range(count):
            try:
                one.send(b"")
                one.recv(1)
            except ConnectionRefusedError:
                continue
            except OSError:  # no answer in time, or no neighbour
                return False
    return True


def test_hosts_are_learned_with_their_addresses(vtep):
    starts("h1", *H1)
    starts("h2", *H2)
    reaches("h1", "192.0.2.11")
    reaches("h1", "2001:db8:ff::11")
    vtep.until(
        lambda found: (
            found.get("h1", set()) >= {"192.0.2.10", "2001:db8:ff::10"}
            and found.get("h2", set()) >= {"192.0.2.11", "2001:db8:ff::11"}
        )
    )
    assert set(vtep.endpoints) == {"h1", "h2"}, "neither the ports' own addresses nor the VXLAN device's"
    for addresses in vtep.endpoints.values():
        assert all(one.startswith(("192.0.2.1", "2001:db8:ff::1", "fe80::")) for one in addresses)
    assert not vtep.told


def test_a_host_that_asks_for_nobody_in_particular(vtep):
    """An address that nobody has: what the host says of itself teaches all the same."""
    starts("h1", *H1)
    reaches("h1", "192.0.2.77")
    vtep.until(lambda found: "192.0.2.10" in found.get("h1", ()))
    assert vtep.endpoints.keys() == {"h1"}


def test_duplicate_address_detection_teaches_nothing(vtep):
    with inside("h1"):
        socket_of_h1 = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    starts("h1")
    with inside("h1"):
        socket_of_h1.bind(("eth0", 0))
        socket_of_h1.send(arp(mac(MACS["h1"]), bytes(4), packed("192.0.2.10")))
    socket_of_h1.close()
    ip("h1", "addr add 2001:db8:ff::10/64 dev eth0")  # with DAD
    vtep.until(lambda found: "h1" in found)
    vtep.serve(0.3)
    assert not vtep.endpoints["h1"] & {"192.0.2.10", "2001:db8:ff::10"}


def test_rows_that_were_there_before(lab):
    starts("h1", *H1)
    starts("h2", *H2)
    reaches("h1", "192.0.2.11")
    with inside("vtep"):
        sh("bridge", "fdb", "add", "02:00:00:00:00:99", "dev", "eth2", "master", "static")
        sh("bridge", "fdb", "add", "02:00:00:00:00:98", "dev", "vx0", "dst", "192.0.2.9", "self")
        sh("bridge", "fdb", "add", "02:00:00:00:00:97", "dev", "vx0", "master", "static")
        sh("bridge", "fdb", "add", "02:00:00:00:00:96", "dev", "eth1", "master", "permanent")
        sh("bridge", "fdb", "add", "02:00:00:00:00:95", "dev", "eth1", "self")
    vtep = Vtep()
    try:
        assert set(vtep.endpoints) == {"h1", "h2", "02:00:00:00:00:99"}
        with inside("vtep"):
            sh("bridge", "fdb", "del", "02:00:00:00:00:99", "dev", "eth2", "master", "static")
        vtep.until(lambda found: set(found) == {"h1", "h2"})
        with inside("vtep"):
            assert not vtep.local.resync(), "events and dumps tell the same"
    finally:
        vtep.close()


def test_one_that_moves_and_one_that_goes(vtep):
    for role in ("h1", "h2"):
        with inside(role):  # it says something by itself now and then
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    starts("h1", H1[0])
    starts("h2", H2[0])
    reaches("h1", "192.0.2.11")
    vtep.until(lambda found: "192.0.2.10" in found.get("h1", ()) and "192.0.2.11" in found.get("h2", ()))
    # The station of port eth1 turns up behind eth2, known by one frame that is neither ARP nor ND.
    with inside("h2"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind(("eth0", 0))
        one.send(mac(MACS["h2"]) + mac(MACS["h1"]) + b"\x88\xb5" + bytes(50))
    vtep.serve(0.2)
    assert "192.0.2.10" in vtep.endpoints["h1"]
    with inside("vtep"):
        found = json.loads(sh("bridge", "-j", "fdb", "show", "br", "br0", "dynamic"))
    assert [row["ifname"] for row in found if row["mac"] == MACS["h1"]] == ["eth2"]
    ip("vtep", "link set eth2 down")
    vtep.until(lambda found: found == {})
    ip("vtep", "link set eth2 up")
    ip("vtep", "link set eth1 nomaster")
    reaches("h2", "192.0.2.10")
    vtep.until(lambda found: set(found) == {"h2"})
    ip("vtep", "link del eth2")
    vtep.until(lambda found: found == {})
    assert not vtep.filenos


def test_the_kernels_filter(vtep):
    """Of all that comes in, sockets get what may teach, and nothing that the VTEP sends."""
    starts("h1", *H1)
    starts("h2", *H2)
    reaches("h1", "192.0.2.11", 5)
    reaches("h1", "2001:db8:ff::11", 5)
    with inside("h1"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind(("eth0", 0))
        tagged = arp(mac("02:00:00:00:00:55"), packed("192.0.2.55"), packed("192.0.2.56"))
        one.send(tagged[:12] + b"\x81\x00\x00\x64" + tagged[12:])
        one.send(tagged[:12] + b"\x81\x00\x00\x00" + tagged[12:])
    vtep.serve(0.5)
    heard = vtep.snoop.heard
    first, second = sorted(index for index, (name, _number) in vtep.snoop._names.items() if name.startswith("eth"))
    assert packed("192.0.2.10") in heard.of(first).get(mac(MACS["h1"]), {})
    assert not heard.of(second).get(mac(MACS["h1"]), {}), "what goes out of eth2 is not heard there"
    assert packed("192.0.2.55") in heard.of(first).get(mac("02:00:00:00:00:55"), {}), "priority only"
    assert heard.counters["heard"] >= 4
    count = vtep.snoop.counters["frames"]
    assert count - vtep.snoop.counters["refused"] == heard.counters["heard"]
    with inside("h1"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind(("eth0", 0))
        other = arp(mac("02:00:00:00:00:57"), packed("192.0.2.57"), packed("192.0.2.58"))
        one.send(other[:12] + b"\x81\x00\x00\x64" + other[12:])
        one.send(other[:12] + b"\x08\x00" + bytes(46))
    reaches("h1", "192.0.2.11", 3)
    vtep.serve(0.2)
    assert not heard.of(first).get(mac("02:00:00:00:00:57"), {})


# --- the limit


def arp(sender, address, target):
    return (
        b"\xff" * 6
        + sender
        + b"\x08\x06"
        + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        + sender
        + address
        + bytes(6)
        + target
        + bytes(18)
    )


def solicit(sender, source, target):
    """The checksum is wrong, which is nothing to nftables."""
    group = packed("ff02::1:ff00:0")[:13] + target[13:]
    body = b"\x87\0\0\0" + bytes(4) + target + b"\x01\x01" + sender
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + group
    return b"\x33\x33" + group[12:] + sender + b"\x86\xdd" + head + body


class Listener:
    """Counts frames of MACs that come out of the other host's port."""

    def __init__(self):
        with inside("h2"):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
            self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
            self.socket.bind(("eth0", 3))

    def count(self):
        found = {}
        time.sleep(0.2)
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = self.socket.recv(2000)
                found[frame[6:12]] = found.get(frame[6:12], 0) + 1
        return found

    def close(self):
        self.socket.close()


@pytest.fixture
def listener(lab):
    starts("h1")
    starts("h2")
    time.sleep(0.1)
    made = Listener()
    yield made
    made.close()


def scan(frames):
    with inside("h1"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind(("eth0", 0))
        for frame in frames:
            one.send(frame)


SCANNER, OTHER = mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02")
FROM4, FROM6 = packed("192.0.2.10"), packed("2001:db8:ff::10")


def address4(number):
    return struct.pack("!I", 0x0A000000 + number)


def address6(number):
    return packed("2001:db8:ff::")[:12] + struct.pack("!I", 0x10000 + number)


def test_a_scan_is_limited_and_nobody_else_is(vtep, listener):
    vtep.limit.limit = 200
    with inside("vtep"):
        vtep.limit.apply({"eth1", "eth2"})
    assert vtep.limit.ok and not vtep.told
    started = time.monotonic()
    scan([arp(SCANNER, FROM4, address4(number)) for number in range(3000)])
    scan([solicit(SCANNER, FROM6, address6(number)) for number in range(3000)])
    # Another one on the same port, after the scan: all it asks goes through.
    scan([arp(OTHER, FROM4, address4(number)) for number in range(50)])
    scan([solicit(OTHER, FROM6, address6(number)) for number in range(50)])
    # What is no request is not counted.
    scan([SCANNER[:5] + b"\x09" + SCANNER + b"\x88\xb5" + bytes(50)] * 500)
    passed = time.monotonic() - started
    found = listener.count()
    assert found[OTHER] == 100
    # The allowance, what grew meanwhile, and the 500 others.
    assert 200 + 500 <= found[SCANNER] <= 200 + 500 + 200 * (passed + 0.1)
    with inside("vtep"):
        assert vtep.limit.dropped() == 6000 + 500 - found[SCANNER]
    # Within a second it may ask again.
    time.sleep(1.05)
    scan([arp(SCANNER, FROM4, address4(number)) for number in range(150)])
    assert listener.count()[SCANNER] == 150


def test_normal_use_is_not_limited(vtep):
    """Hosts that come up with many addresses, with duplicate address detection, and ask each other for all of them."""
    vtep.limit.limit = 200
    with inside("vtep"):
        vtep.limit.apply({"eth1", "eth2"})
    starts("h1", *H1)
    starts("h2", *H2)
    for number in range(32):
        ip("h1", f"addr add 2001:db8:ff::1:{number:x}/64 dev eth0")
        ip("h1", f"addr add 192.0.2.{100 + number}/24 dev eth0")
    time.sleep(2.2)
    for number in range(32):
        # Detection may still go on, and hosts limit how often they say that nobody listens.
        assert any(reaches("h2", f"2001:db8:ff::1:{number:x}") for _dummy in range(5))
        assert any(reaches("h2", f"192.0.2.{100 + number}") for _dummy in range(5))
    with inside("vtep"):
        assert vtep.limit.dropped() == 0


def table():
    with inside("vtep"):
        return sh("nft", "list", "tables")


def rules():
    with inside("vtep"):
        return json.loads(sh("nft", "-j", "-a", "list", "table", "bridge", "vtep_agent"))["nftables"]


def ports():
    found = next(one["set"] for one in rules() if one.get("set", {}).get("name") == "ports")
    return set(found.get("elem", ()))


def handles():
    return [one["rule"]["handle"] for one in rules() if "rule" in one]


def test_the_table_follows_the_ports(vtep, listener):
    vtep.limit.limit = 50
    with inside("vtep"):
        vtep.limit.apply({"eth1"})
        before = handles()
        scan([arp(SCANNER, FROM4, address4(number)) for number in range(1000)])
    assert ports() == {"eth1"}
    with inside("vtep"):
        vtep.limit.apply({"eth1", "eth2"})
    assert ports() == {"eth1", "eth2"} and handles() == before, "what was counted stays"
    with inside("vtep"):
        assert vtep.limit.dropped() > 800
        vtep.limit.apply({"eth2"})
    assert ports() == {"eth2"} and handles() == before
    listener.count()
    scan([arp(SCANNER, FROM4, address4(number)) for number in range(1000)])
    assert listener.count()[SCANNER] == 1000, "not a port of ours any more"
    with inside("vtep"):
        vtep.limit.apply({"eth2"})
    assert handles() == before
    # Somebody meddles, or the limit changes: the table is made anew.
    with inside("vtep"):
        sh("nft", "flush", "chain", "bridge", "vtep_agent", "station")
        vtep.limit.apply({"eth2"})
    assert len(handles()) == len(before)
    vtep.limit.limit = 60
    with inside("vtep"):
        vtep.limit.apply({"eth2"})
    assert '"rate": 60' in json.dumps(rules()) and '"rate": 50' not in json.dumps(rules())
    with inside("vtep"):
        vtep.limit.apply(set())
    assert "vtep_agent" not in table()
    with inside("vtep"):
        vtep.limit.apply({"eth1"})
        vtep.limit.limit = 0
        vtep.limit.apply({"eth1"})
    assert "vtep_agent" not in table()
    assert not vtep.told


def test_the_end_removes_the_table_and_no_other(vtep):
    vtep.limit.limit = 50
    with inside("vtep"):
        sh("nft", "add", "table", "bridge", "others")
        vtep.limit.apply({"eth1"})
        vtep.limit.close()
        vtep.limit.close()
    assert table() == "table bridge others\n" and not vtep.told


def test_a_host_without_nft(vtep, monkeypatch):
    from ansible_collections.vtep.fabric.plugins.module_utils._kernel import nft

    monkeypatch.setattr(nft, "program", lambda: None)
    vtep.limit.limit = 50
    for _dummy in range(3):
        vtep.limit.apply({"eth1"})
    assert not vtep.limit.ok and "apt-get install nftables" in vtep.limit.why
    assert len(vtep.told) == 1 and "all else goes on" in vtep.told[0]
    assert vtep.limit.dropped() is None
    vtep.limit.limit = 0
    vtep.limit.apply({"eth1"})
    assert vtep.limit.ok
    vtep.limit.close()


def test_a_port_whose_name_nftables_cannot_match(vtep):
    vtep.limit.limit = 50
    with inside("vtep"):
        for _dummy in range(2):
            vtep.limit.apply({"eth1", 'a"b', "c*"})
    assert ports() == {"eth1"} and vtep.limit.ok
    assert len(vtep.told) == 1 and 'a"b, c*' in vtep.told[0]


def test_more_stations_than_are_counted_share_an_allowance(vtep, listener, monkeypatch):
    from ansible_collections.vtep.fabric.plugins.module_utils._agent import source_limit

    monkeypatch.setattr(source_limit, "STATIONS", 100)
    vtep.limit.limit = 200
    with inside("vtep"):
        vtep.limit.apply({"eth1"})
    started = time.monotonic()
    scan([arp(b"\x02\0\0\1" + struct.pack("!H", number), FROM4, address4(number)) for number in range(3000)])
    passed = time.monotonic() - started
    found = sum(count for one, count in listener.count().items() if one.startswith(b"\x02\0\0\1"))
    assert 100 + 200 <= found <= 100 + 200 + 200 * (passed + 0.1)

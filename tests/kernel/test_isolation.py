# SPDX-License-Identifier: GPL-3.0-or-later
"""IP isolation proven by packets: endpoints on a bridge, a remote VTEP, and a host that would answer everything."""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.isolation import Isolation, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import nft
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError, MissingError

needed = [word for word in ("nft", "ip", "bridge") if not shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: isolation needs root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: isolation needs the programs {needed}"),
]

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = {role: f"iso{os.getpid()}-{role}" for role in ("vtep", "one", "two", "far")}
ISOLATED = ["br100", "p1", "p2", "vxlan100"]
MAC = {"one": "50:54:33:00:00:01", "two": "50:54:33:00:00:02", "far": "50:54:33:00:00:03", "host": "50:54:33:00:01:00"}
GHOST = "50:54:33:00:00:99"  # an endpoint that only the proxies know
MARK = 0x88B5  # IEEE's EtherType for local experiments


def sh(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def batch(role, lines, program="ip"):
    done = subprocess.run(
        [program, "-n", NAMES[role], "-batch", "-"], input=lines, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def inside(name):
    """This thread, and the programs and sockets that it makes, in a network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


def sysctl(**values):
    for name, value in values.items():
        Path("/proc/sys/net", *name.split("__")).write_text(str(value))


def raw(role, dev):
    with inside(NAMES[role]):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        sock.bind((dev, 0x0003))
    sock.settimeout(5)
    return sock


@pytest.fixture
def private():
    """A namespace of its own around a test."""
    name = f"iso{os.getpid()}-own"
    sh("ip", "netns", "add", name)
    try:
        with inside(name):
            yield
    finally:
        sh("ip", "netns", "del", name)


@pytest.fixture(scope="module")
def lab():
    # One CPU: then frames arrive in the order in which they were sent, and a mark is a barrier.
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for name in NAMES.values():
            sh("ip", "netns", "add", name)
            with inside(name):
                sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
        build()
        yield Lab()
    finally:
        for name in NAMES.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        os.sched_setaffinity(0, cpus)


def build():
    batch(
        "vtep",
        f"""
        link set lo up
        addr add 203.0.113.1/32 dev lo
        addr add 2001:db8:1::1/128 dev lo
        link add u0 type veth peer name u0 netns {NAMES["far"]}
        link add p1 type veth peer name e0 netns {NAMES["one"]}
        link add p2 type veth peer name e0 netns {NAMES["two"]}
        addr add 10.0.0.1/24 dev u0
        link set u0 up
        link add br100 address {MAC["host"]} type bridge mcast_snooping 0
        link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning proxy
        link set p1 master br100 up
        link set p2 master br100 up
        link set vxlan100 master br100 up
        link set br100 up
        addr add 192.0.2.254/24 dev br100
        addr add 2001:db8:ff::fe/64 dev br100 nodad
        neigh add 192.0.2.10 lladdr {MAC["one"]} dev br100 nud permanent
        neigh add 2001:db8:ff::10 lladdr {MAC["one"]} dev br100 nud permanent
        neigh add 192.0.2.12 lladdr {MAC["far"]} dev vxlan100 nud permanent
        neigh add 2001:db8:ff::12 lladdr {MAC["far"]} dev vxlan100 nud permanent
        neigh add 192.0.2.99 lladdr {GHOST} dev vxlan100 nud permanent
        neigh add 2001:db8:ff::99 lladdr {GHOST} dev vxlan100 nud permanent
        """,
    )
    batch(
        "vtep",
        f"""
        fdb add {MAC["far"]} dev vxlan100 dst 10.0.0.2 self static
        fdb add {GHOST} dev vxlan100 dst 10.0.0.2 self static
        """,
        "bridge",
    )
    for role, octet in (("one", 10), ("two", 11)):
        batch(
            role,
            f"""
            link set lo up
            link set e0 address {MAC[role]} up
            addr add 192.0.2.{octet}/24 dev e0
            addr add 2001:db8:ff::{octet}/64 dev e0 nodad
            """,
        )
    batch(
        "far",
        f"""
        link set lo up
        link set u0 up
        addr add 10.0.0.2/24 dev u0
        route add 203.0.113.1 via 10.0.0.1
        link add vxlan100 address {MAC["far"]} type vxlan id 100 local 10.0.0.2 remote 10.0.0.1 dstport 4789
        link set vxlan100 mtu 1450 up
        addr add 192.0.2.12/24 dev vxlan100
        addr add 2001:db8:ff::12/64 dev vxlan100 nodad
        neigh add 192.0.2.10 lladdr {MAC["one"]} dev vxlan100 nud permanent
        neigh add 2001:db8:ff::10 lladdr {MAC["one"]} dev vxlan100 nud permanent
        """,
    )
    with inside(NAMES["vtep"]):
        sysctl(
            ipv4__ip_forward=1,
            ipv6__conf__all__forwarding=1,
            ipv4__icmp_ratemask=0,
            ipv6__icmp__ratelimit=0,
            ipv4__icmp_echo_ignore_broadcasts=0,
        )


class Lab:
    """What the tests do with the lab."""

    def __init__(self):
        self.one, self.two, self.far = raw("one", "e0"), raw("two", "e0"), raw("far", "u0")
        links = json.loads(sh("ip", "-n", NAMES["vtep"], "-j", "link"))
        # Every MAC of the host on the overlay's side: nothing may come from them.
        self.host_macs = {link["address"] for link in links if link["ifname"] in ISOLATED}
        self.link_local = next(
            entry["local"]
            for link in json.loads(sh("ip", "-n", NAMES["vtep"], "-j", "-6", "addr", "show", "dev", "br100"))
            for entry in link["addr_info"]
            if entry["scope"] == "link"
        )

    def isolate(self, on=True):
        with inside(NAMES["vtep"]):
            converge(
                Isolation(), {"interfaces": ISOLATED, "routed": None, "state": "present" if on else "absent"}, False
            )

    def heard(self, sock):
        """All frames that came in before a mark that travels the bridge after them."""
        self.two.send(frame(MAC["one"], MAC["two"], MARK, b"mark".ljust(46, b"\0")))
        frames = []
        while True:
            data, origin = self.one.recvfrom(65535)
            if origin[2] == socket.PACKET_OUTGOING:
                continue
            if data[12:14] == struct.pack("!H", MARK):
                break
            frames.append(data)
        if sock is self.one:
            return frames
        sock.setblocking(False)
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, origin = sock.recvfrom(65535)
                if origin[2] != socket.PACKET_OUTGOING:
                    frames.append(data)
        return frames

    def answers(self, data):
        """What the host says to the first endpoint after that frame."""
        self.heard(self.one)
        self.one.send(data)
        return [found for found in self.heard(self.one) if text_mac(found[6:12]) in self.host_macs]


def text_mac(data):
    return ":".join(f"{byte:02x}" for byte in data)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def frame(to, sender, kind, payload):
    return mac(to) + mac(sender) + struct.pack("!H", kind) + payload


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total & 0xFFFF) + (total >> 16))


def arp(target, to="ff:ff:ff:ff:ff:ff"):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac(MAC["one"]) + ip("192.0.2.10") + b"\0" * 6 + ip(target)
    return frame(to, MAC["one"], 0x0806, body)


def ip4(to, protocol, payload, dst=MAC["host"], ttl=64):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, ttl, protocol, 0) + ip("192.0.2.10") + ip(to)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return frame(dst, MAC["one"], 0x0800, head + payload)


def ip6(to, protocol, payload, dst=MAC["host"], ttl=64, before=b""):
    source = ip("2001:db8:ff::10")
    upper = {58: 2, 6: 16, 17: 6}[protocol]
    pseudo = source + ip(to) + struct.pack("!II", len(payload), protocol)
    payload = payload[:upper] + struct.pack("!H", checksum(pseudo + payload)) + payload[upper + 2 :]
    first = 0 if before else protocol
    head = struct.pack("!IHBB", 6 << 28, len(before) + len(payload), first, ttl) + source + ip(to)
    return frame(dst, MAC["one"], 0x86DD, head + before + payload)


def solicit(target):
    """A neighbour solicitation (RFC 4861, section 4.3) to the target's solicited-node group."""
    tail = ip(target)[-3:]
    group = socket.inet_ntop(socket.AF_INET6, ip("ff02::1:ff00:0")[:-3] + tail)
    body = struct.pack("!BBHI", 135, 0, 0, 0) + ip(target) + b"\x01\x01" + mac(MAC["one"])
    return ip6(group, 58, body, dst="33:33:ff:" + text_mac(tail), ttl=255)


def tcp4(to):
    segment = struct.pack("!HHIIBBHHH", 40000, 9, 1, 0, 0x50, 2, 1000, 0, 0)
    pseudo = ip("192.0.2.10") + ip(to) + struct.pack("!HH", 6, len(segment))
    return ip4(to, 6, segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:])


ECHO4 = struct.pack("!BBHHH", 8, 0, 0xFFFF - 0x0801, 0, 1)
ECHO6 = struct.pack("!BBHHH", 128, 0, 0, 0, 1)
SYN = struct.pack("!HHIIBBHHH", 40000, 9, 1, 0, 0x50, 2, 1000, 0, 0)
UDP = struct.pack("!HHHH", 40000, 9, 8, 0)
NOWHERE4, NOWHERE6 = "198.51.100.1", "2001:db8:dead::1"
# A hop-by-hop header whose option is unknown and asks for an ICMPv6 error (RFC 8200, section 4.2).
ODD_OPTION = struct.pack("!BBBB", socket.IPPROTO_UDP, 0, 0x9E, 4) + b"\0" * 4

STIMULI = {
    "arp for the bridge's address": lambda lab: arp("192.0.2.254"),
    "arp for a loopback address": lambda lab: arp("203.0.113.1"),
    "arp for an underlay address": lambda lab: arp("10.0.0.1"),
    "unicast arp": lambda lab: arp("192.0.2.254", to=MAC["host"]),
    "solicitation for the bridge's address": lambda lab: solicit("2001:db8:ff::fe"),
    "solicitation for the link-local address": lambda lab: solicit(lab.link_local),
    "echo to the bridge": lambda lab: ip4("192.0.2.254", 1, ECHO4),
    "echo to a loopback address": lambda lab: ip4("203.0.113.1", 1, ECHO4),
    "echo to the broadcast address": lambda lab: ip4("192.0.2.255", 1, ECHO4, dst="ff:ff:ff:ff:ff:ff"),
    "echo6 to the bridge": lambda lab: ip6("2001:db8:ff::fe", 58, ECHO6),
    "echo6 to a loopback address": lambda lab: ip6("2001:db8:1::1", 58, ECHO6),
    "echo6 to all nodes": lambda lab: ip6("ff02::1", 58, ECHO6, dst="33:33:00:00:00:01"),
    "tcp to a closed port": lambda lab: tcp4("203.0.113.1"),
    "tcp6 to a closed port": lambda lab: ip6("2001:db8:1::1", 6, SYN),
    "udp to a closed port": lambda lab: ip4("192.0.2.254", 17, UDP),
    "udp6 to a closed port": lambda lab: ip6("2001:db8:ff::fe", 17, UDP),
    # These are answered before the input and the forward hook are reached.
    "ttl 1": lambda lab: ip4("10.0.0.2", 17, UDP, ttl=1),
    "hop limit 1": lambda lab: ip6("2001:db8:1::2", 17, UDP, ttl=1),
    "no route": lambda lab: ip4(NOWHERE4, 17, UDP),
    "no route6": lambda lab: ip6(NOWHERE6, 17, UDP),
    "unknown hop-by-hop option": lambda lab: ip6("2001:db8:ff::fe", 17, UDP, before=ODD_OPTION),
}


@pytest.mark.parametrize("name", STIMULI)
def test_the_host_answers_nothing(lab, name):
    data = STIMULI[name](lab)
    lab.isolate(False)
    assert lab.answers(data), "without isolation the host answers this; if not, the test proves nothing"
    lab.isolate()
    assert lab.answers(data) == []


def bridge_netfilter(calls):
    """Whether br_netfilter hands the bridge's frames to the IP and ARP hooks."""
    with inside(NAMES["vtep"]):
        switches = list(Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"))
        if calls and not switches:
            pytest.skip("NOT TESTED: this kernel has no br_netfilter")
        for path in switches:
            path.write_text(str(calls))


def talk(role, address):
    """A datagram from the first endpoint to another one and back, each resolving the other by ARP or ND."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(NAMES["one"]):
        asker = socket.socket(family, socket.SOCK_DGRAM)
    with inside(NAMES[role]):
        answerer = socket.socket(family, socket.SOCK_DGRAM)
    with asker, answerer:
        for sock in (asker, answerer):
            sock.settimeout(5)
        answerer.bind((address, 7000))
        asker.sendto(b"there", (address, 7000))
        data, origin = answerer.recvfrom(100)
        answerer.sendto(data + b" and back", origin)
        assert asker.recv(100) == b"there and back"


@pytest.mark.parametrize("calls", [0, 1])
def test_the_endpoints_talk_and_the_underlay_carries(lab, calls):
    lab.isolate()
    bridge_netfilter(calls)
    for role in ("one", "two"):
        sh("ip", "-n", NAMES[role], "neigh", "flush", "all")
    lab.heard(lab.one)
    talk("two", "192.0.2.11")
    talk("two", "2001:db8:ff::11")
    talk("far", "192.0.2.12")
    talk("far", "2001:db8:ff::12")
    assert [found for found in lab.heard(lab.one) if text_mac(found[6:12]) in lab.host_macs] == []


@pytest.mark.parametrize("calls", [0, 1])
def test_the_vxlan_drivers_proxy_answers(lab, calls):
    lab.isolate()
    bridge_netfilter(calls)
    assert kinds_from_ghost(lab) == [0x0806, 0x86DD]


def kinds_from_ghost(lab):
    """The EtherTypes of what the proxies say in the ghost's name to one ARP request and one solicitation."""
    lab.heard(lab.one)
    lab.one.send(arp("192.0.2.99"))
    lab.one.send(solicit("2001:db8:ff::99"))
    return [struct.unpack("!H", found[12:14])[0] for found in lab.heard(lab.one) if mac(GHOST) in found[6:]]


def test_the_bridges_suppression_answers(lab):
    """neigh_suppress, as EVPN uses it: its ARP answer leaves through the ARP output hook."""
    move = """
        link set vxlan100 type bridge_slave neigh_suppress {switch}
        neigh del 192.0.2.99 dev {old}
        neigh del 2001:db8:ff::99 dev {old}
        neigh add 192.0.2.99 lladdr {ghost} dev {new} nud permanent
        neigh add 2001:db8:ff::99 lladdr {ghost} dev {new} nud permanent
    """
    lab.isolate()
    batch("vtep", move.format(switch="on", old="vxlan100", new="br100", ghost=GHOST))
    batch("vtep", f"fdb replace {GHOST} dev vxlan100 master static", "bridge")
    try:
        assert kinds_from_ghost(lab) == [0x0806, 0x86DD]
    finally:
        batch("vtep", f"fdb del {GHOST} dev vxlan100 master", "bridge")
        batch("vtep", move.format(switch="off", old="br100", new="vxlan100", ghost=GHOST))


@pytest.mark.parametrize("address", ["192.0.2.254", "2001:db8:1::1"])
def test_the_host_hears_nothing(lab, address):
    datagram = (ip6 if ":" in address else ip4)(address, 17, UDP)
    with inside(NAMES["vtep"]):
        service = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    with service:
        service.bind((address, 9))
        service.setblocking(False)
        for on in (False, True):
            lab.isolate(on)
            lab.one.send(datagram)
            lab.heard(lab.one)
            with pytest.raises(BlockingIOError) if on else contextlib.nullcontext():
                service.recv(100)


def test_nothing_is_routed_in_or_out(lab):
    inwards = ip4("10.0.0.2", 17, UDP)
    batch("far", "route replace 192.0.2.10/32 via 10.0.0.1")
    with inside(NAMES["far"]):
        outwards = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outwards.bind(("10.0.0.2", 0))
    with outwards:
        for on in (False, True):
            lab.isolate(on)
            lab.heard(lab.far)
            lab.one.send(inwards)
            routed_in = [found for found in lab.heard(lab.far) if found[26:30] == ip("192.0.2.10")]
            outwards.sendto(b"routed out", ("192.0.2.10", 7000))
            routed_out = [found for found in lab.heard(lab.one) if found.endswith(b"routed out")]
            assert (bool(routed_in), bool(routed_out)) == (not on, not on)
    batch("far", "route del 192.0.2.10/32 via 10.0.0.1")


def test_nothing_is_routed_between_two_isolated_devices(lab):
    """Two overlays' bridges: routing between them joins tenants."""
    batch("vtep", "link add br200 type bridge\nlink set br200 up\naddr add 198.18.0.1/24 dev br200")
    batch("vtep", "neigh add 198.18.0.2 lladdr 50:54:33:00:02:02 dev br200 nud permanent")
    watch = raw("vtep", "br200")
    watch.setblocking(False)
    try:
        for names in ([], [*ISOLATED, "br200"]):
            with inside(NAMES["vtep"]):
                converge(Isolation(), {"interfaces": names, "routed": None, "state": "present"}, False)
            lab.heard(lab.one)
            lab.one.send(ip4("198.18.0.2", 17, UDP))
            lab.heard(lab.one)
            seen = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    seen.append(watch.recv(65535))
            assert any(found[30:34] == ip("198.18.0.2") for found in seen) == (not names)
    finally:
        watch.close()
        batch("vtep", "link del br200")


def test_the_host_says_nothing_of_its_own_accord(lab):
    with inside(NAMES["vtep"]):
        sysctl(ipv4__conf__br100__arp_notify=1)
        four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("br100")
    with four, six:
        for on in (False, True):
            lab.isolate(on)
            lab.heard(lab.one)
            for sock, target in (
                (four, ("192.0.2.10", 7000)),
                (four, ("192.0.2.77", 7000)),  # unknown, so the host asks for it by ARP
                (six, ("ff02::1", 7000, 0, index)),
                (six, ("2001:db8:ff::77", 7000)),
            ):
                try:
                    sock.sendto(b"hello", target)
                except OSError as error:
                    assert on and error.errno == errno.EPERM
            batch("vtep", f"link set br100 address {MAC['host']}")  # a gratuitous ARP request
            said = [found for found in lab.heard(lab.one) if text_mac(found[6:12]) in lab.host_macs]
            assert len(said) >= 5 if not on else said == []


# From here on: the module's own behaviour, in a namespace where nothing else is.


def apply(names, state="present", checking=False, routed=None):
    return converge(Isolation(), {"interfaces": names, "routed": routed, "state": state}, checking)


def test_a_second_run_changes_nothing(private):
    assert apply(["eth1", "br100", "eth1"]).changed
    ruleset = sh("nft", "-j", "list", "ruleset")  # with the kernel's handles: any rewrite would show
    again = apply(["br100", "eth1"])
    assert (again.changed, again.before, again.after) == (False, "", "")
    assert sh("nft", "-j", "list", "ruleset") == ruleset


def test_check_mode_predicts_the_run(private):
    for names in (["br100", "eth1"], ["br100", "eth2"], []):
        before = sh("nft", "-j", "list", "ruleset")
        predicted = apply(names, checking=True)
        assert sh("nft", "-j", "list", "ruleset") == before
        assert apply(names) == predicted
        assert predicted.changed


def test_the_ruleset_that_nft_prints_can_be_loaded(private):
    """Names that are words of nft's language cannot: people keep rules by `nft list ruleset > file`."""
    apply(["br100", "a.b-c_d@1+", "x" * 15])
    text = sh("nft", "list", "ruleset")
    sh("nft", "flush", "ruleset")
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    assert not apply(["br100", "a.b-c_d@1+", "x" * 15]).changed


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "delete table arp vtep_fabric",
        "delete element inet vtep_fabric isolated { eth1 }",
        "delete element arp vtep_fabric isolated { eth1 }",
        "delete element inet vtep_fabric bridged { eth1 . eth1 }",
        "add element inet vtep_fabric bridged { eth1 . eth0 }",
        "add element inet vtep_fabric isolated { eth0 }",
        "insert rule inet vtep_fabric input accept",
        "add rule arp vtep_fabric output drop",
        "flush chain inet vtep_fabric output",
        "add chain inet vtep_fabric input { policy drop ; }",
        "add table inet vtep_fabric { flags dormant ; }",
        "add set inet vtep_fabric other { type ifname ; }",
    ],
)
def test_whatever_was_changed_is_seen_and_repaired(private, damage):
    apply(["br100", "eth1"])
    assert info({}) == {"present": True, "interfaces": ["br100", "eth1"], "routed": [], "complete": True}
    subprocess.run(["nft", "-f", "-"], input=damage, text=True, check=True)
    assert not info({})["complete"]
    outcome = apply(["br100", "eth1"])
    assert outcome.changed and outcome.before + outcome.after
    assert info({}) == {"present": True, "interfaces": ["br100", "eth1"], "routed": [], "complete": True}
    assert not apply(["br100", "eth1"]).changed


OTHERS = """
table inet filter { chain input { type filter hook input priority 0; policy accept; iifname "eth9" counter drop; }; }
table arp filter { chain input { type filter hook input priority 0; policy accept; }; }
table ip vtep_fabric { chain mine { counter; }; }
table bridge vtep_fabric { chain mine { counter; }; }
table inet asleep { flags dormant; chain mine { counter; }; }
"""


def test_other_tables_are_left_alone(private):
    subprocess.run(["nft", "-f", "-"], input=OTHERS, text=True, check=True)
    others = sh("nft", "-a", "list", "ruleset")
    apply(["br100"])
    apply(["br100", "br200"])
    apply(None, "absent")
    assert sh("nft", "-a", "list", "ruleset") == others


@pytest.mark.parametrize("names, state", [([], "present"), (None, "absent"), (["br100"], "absent")])
def test_removal(private, names, state):
    apply(["br100"])
    assert apply(names, state).changed
    assert info({}) == {"present": False, "interfaces": [], "routed": [], "complete": False}
    assert not apply(names, state).changed
    assert "vtep_fabric" not in sh("nft", "list", "ruleset")


def test_ten_thousand_devices(private):
    names = [f"vxlan{number}" for number in range(10000)]
    first = apply(names)
    assert first.result == {"count": 10000, "routed": 0, "added": 10000, "removed": 0, "repaired": False}
    assert first.after.count("\n") < 250
    assert not apply(names).changed
    assert len(info({})["interfaces"]) == 10000


def test_bad_names_change_nothing(private):
    apply(["br100"])
    with pytest.raises(InputError) as caught:
        apply(["br100", "br*", 'a" } ; flush ruleset', "lo", ""])
    assert len(caught.value.faults) == 4
    assert info({})["complete"]


def test_a_host_without_nft(private, monkeypatch):
    monkeypatch.setattr(nft, "program", lambda: None)
    predicted = apply(["br100"], checking=True)
    assert predicted.changed and "not installed" in predicted.warnings[0]
    assert not apply(None, "absent").changed
    for call in (lambda: apply(["br100"]), lambda: info({})):
        with pytest.raises(MissingError, match="nftables is not installed: apt-get install nftables"):
            call()


RUN = """
import sys
from ansible.module_utils import basic
from ansible_collections.vtep.fabric.plugins.modules import isolation, isolation_info
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[2].encode(), "legacy"
{"isolation": isolation, "isolation_info": isolation_info}[sys.argv[1]].main()
"""


def module(name, **arguments):
    collections = Path(__file__).parents[2] / "collections"
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, PYTHONPATH=str(collections)),
    )
    return json.loads(done.stdout)


def test_the_modules(private):
    assert module("isolation")["msg"] == "state is present but any of the following are missing: interfaces, routed"
    assert "'br*'" in module("isolation", interfaces=["br*"])["msg"]
    predicted = module("isolation", interfaces=["br100"], _ansible_check_mode=True, _ansible_diff=True)
    done = module("isolation", interfaces=["br100"], _ansible_diff=True)
    assert predicted == done
    assert done["changed"] and done["diff"]["after"].startswith("isolated br100\n")
    assert module("isolation_info")["interfaces"] == ["br100"]
    assert module("isolation", state="absent")["changed"]

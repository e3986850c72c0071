# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolation of devices that the host routes for, proven by echo requests between endpoints, and by what nft lists."""

import contextlib
import ctypes
import os
import re
import select
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.isolation import Isolation, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
needed = [word for word in ("nft", "ip") if not shutil.which(word, path=PATH)]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: isolation needs root"),
    pytest.mark.skipif(bool(needed), reason=f"NOT TESTED: isolation needs the programs {needed}"),
]
IP_RECVERR, IP_MTU_DISCOVER, IPV6_RECVERR, IPV6_MTU_DISCOVER, DO = 11, 10, 25, 23, 2  # <linux/in.h>, <linux/in6.h>
LIBC = ctypes.CDLL(None, use_errno=True)
# Each is alone behind the device of its number. a1 and a2 are one tenant's, b another's, up is the world outside.
ENDS = {"a1": 1, "a2": 2, "b": 3, "up": 9}
GROUPS = [["eth1", "eth2"], ["eth3"]]
SMALL = 1400  # the MTU of a2's link


def ns(role):
    return f"isr{os.getpid()}-{role}"


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


def sysctl(**values):
    for name, value in values.items():
        Path("/proc/sys/net", *name.split("__")).write_text(str(value))


@pytest.fixture(scope="module")
def lab():
    roles = ("vtep", *ENDS)
    try:
        for role in roles:
            sh("ip", "netns", "add", ns(role))
            with inside(role):
                sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0, ipv4__ping_group_range="0 0")
        with inside("vtep"):
            sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
        batch("vtep", "link set lo up\naddr add 10.1.0.1/32 dev lo\naddr add 2001:db8::1/128 dev lo")
        for role, number in ENDS.items():
            mtu = SMALL if role == "a2" else 1500
            batch(
                "vtep",
                f"""
                link add eth{number} mtu {mtu} type veth peer name e0 netns {ns(role)}
                addr add 10.1.{number}.1/24 dev eth{number}
                addr add 2001:db8:{number}::1/64 dev eth{number}
                link set eth{number} up
                """,
            )
            batch(
                role,
                f"""
                link set lo up
                link set e0 mtu {mtu} up
                addr add 10.1.{number}.2/24 dev e0
                addr add 2001:db8:{number}::2/64 dev e0
                route add default via 10.1.{number}.1
                route add default via 2001:db8:{number}::1
                """,
            )
        yield
    finally:
        for role in roles:
            subprocess.run(["ip", "netns", "del", ns(role)], check=False, capture_output=True)


def apply(interfaces=None, routed=None, state="present", checking=False):
    wanted = {"interfaces": interfaces, "routed": routed, "state": state}
    return converge(Isolation(), wanted, checking)


def isolate(on):
    with inside("vtep"):
        apply(routed=GROUPS) if on else apply(state="absent")
    for role in ("vtep", *ENDS):  # so that each asks by ARP and ND anew
        sh("ip", "-n", ns(role), "neigh", "flush", "all")
        sh("ip", "-n", ns(role), "route", "flush", "cache")
        sh("ip", "-n", ns(role), "-6", "route", "flush", "cache")


def echo(role, to, size=56, ttl=64):
    """A socket of the kernel's own ping (icmp(7)) that has sent one echo request, of IPv4 never to be fragmented."""
    six = ":" in to
    with inside(role):
        sock = socket.socket(
            socket.AF_INET6 if six else socket.AF_INET,
            socket.SOCK_DGRAM,
            socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP,
        )
        scope = socket.if_nametoindex("e0") if to.startswith("ff") else 0
    level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
    sock.setsockopt(level, IPV6_RECVERR if six else IP_RECVERR, 1)
    sock.setsockopt(level, IPV6_MTU_DISCOVER if six else IP_MTU_DISCOVER, DO)
    for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS) if six else (socket.IP_TTL,):
        sock.setsockopt(level, option, ttl)
    with contextlib.suppress(PermissionError):  # the isolated host's own
        sock.sendto(
            struct.pack("!BBHHH", 128 if six else 8, 0, 0, 0, 1) + bytes(size), (to, 0, 0, scope) if six else (to, 0)
        )
    return sock


def echoes(pairs, seconds=1):
    """Those of (from, to) that were answered, asked all at once."""
    sent = {echo(role, to): (role, to) for role, to in pairs}
    answered = set()
    while len(answered) < len(pairs):
        ready = select.select([sock for sock, pair in sent.items() if pair not in answered], [], [], seconds)[0]
        if not ready:
            break
        for sock in ready:
            with contextlib.suppress(OSError):  # an error that came back is no answer
                if sock.recv(2000)[0] in (0, 129):
                    answered.add(sent[sock])
    for sock in sent:
        sock.close()
    return answered


def datagrams(pairs, seconds):
    """Those of (from, to) whose datagram arrived, sent all at once."""
    ends = {}
    for role in ("vtep", *ENDS):
        for family in (socket.AF_INET, socket.AF_INET6):
            with inside(role):
                sock = ends[role, family] = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("", 7000))
    arrived = set()
    for role, to in pairs:
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with contextlib.suppress(PermissionError):  # the isolated host's own
            ends[role, family].sendto(f"{role} {to}".encode(), (to, 7000))
    while len(arrived) < len(pairs):
        ready = select.select(ends.values(), [], [], seconds)[0]
        if not ready:
            break
        for sock in ready:
            arrived.add(tuple(sock.recv(100).decode().split()))
    for sock in ends.values():
        sock.close()
    return arrived


def error(role, to, **options):
    """(ICMP type, what it tells) of the error that comes back for an echo request."""
    with echo(role, to, **options) as sock:
        watch = select.poll()
        watch.register(sock, select.POLLERR)
        assert watch.poll(5000), f"no error came back from {to}"
        _data, ancillary, _flags, _origin = sock.recvmsg(2000, 512, socket.MSG_ERRQUEUE)
    # struct sock_extended_err in <linux/errqueue.h>
    _errno, origin, kind, _code, _pad, told, _more = struct.unpack_from("=IBBBBII", ancillary[0][2])
    assert origin in (2, 3), "the error is of this end itself"
    return kind, told


def address(role, family):
    return f"10.1.{ENDS[role]}.2" if family == 4 else f"2001:db8:{ENDS[role]}::2"


def pairs(*roles):
    return [(one, address(other, family)) for one, other in roles for family in (4, 6)]


# Whatever is not within a group.
CLOSED = [
    *pairs(("a1", "b"), ("b", "a1"), ("b", "a2"), ("a1", "up"), ("up", "a1"), ("up", "b"), ("vtep", "a1"), ("vtep", "b")),
    *((one, to) for one in ("a1", "b") for to in ("10.1.0.1", "2001:db8::1", "10.1.9.1", "2001:db8:9::1")),
    ("a1", "10.1.1.1"), ("a1", "2001:db8:1::1"), ("a1", "10.1.2.1"), ("a1", "ff02::2"),
]  # fmt: skip
OPEN = pairs(("a1", "a2"), ("a2", "a1"))
CLOSED_BY_UDP = [pair for pair in CLOSED if not pair[1].startswith("ff")]


def test_members_reach_one_another_and_nothing_else(lab):
    isolate(False)
    assert echoes([*OPEN, *CLOSED], 5) == {*OPEN, *CLOSED}, (
        "without isolation all works; if not, the test proves nothing"
    )
    isolate(True)
    assert echoes([*OPEN, *CLOSED]) == {*OPEN}


def test_each_direction_is_closed_by_itself(lab):
    """An echo needs both ways. A datagram that arrives where it shall not is seen here, though no answer could come back."""
    one_way = [*CLOSED_BY_UDP, *OPEN]
    isolate(False)
    assert datagrams(one_way, 5) == {*one_way}, "without isolation all arrive; if not, the test proves nothing"
    isolate(True)
    assert datagrams(one_way, 1) == {*OPEN}


@pytest.mark.parametrize(
    "options, to4, to6, told4, told6",
    [
        ({"size": 1440}, "10.1.2.2", "2001:db8:2::2", (3, SMALL), (2, SMALL)),
        ({"ttl": 1}, "10.1.2.2", "2001:db8:2::2", (11, 0), (3, 0)),
        ({}, "10.99.0.1", "2001:db8:99::1", (3, 0), (1, 0)),
    ],
    ids=["too big", "time exceeded", "unreachable"],
)
def test_errors_of_a_router_get_out(lab, options, to4, to6, told4, told6):
    isolate(True)
    assert error("a1", to4, **options) == told4
    assert error("a1", to6, **options) == told6


def test_the_host_asks_and_answers_by_arp_and_nd(lab):
    isolate(True)
    assert echoes(OPEN) == {*OPEN}
    for role, number in (("a1", 1), ("a2", 2)):
        for where, address_of_other in (
            ((ns(role), "e0"), 1),
            ((ns("vtep"), f"eth{number}"), 2),
        ):
            found = sh("ip", "-n", where[0], "neigh", "show", "dev", where[1])
            for other in (f"10.1.{number}.{address_of_other}", f"2001:db8:{number}::{address_of_other}"):
                assert re.search(f"(?m)^{other} lladdr ", found), found


@pytest.fixture
def private():
    sh("ip", "netns", "add", ns("own"))
    try:
        with inside("own"):
            yield
    finally:
        sh("ip", "netns", "del", ns("own"))


FABRIC = {"interfaces": ["br100"], "routed": [["vxlan100", "eth2", "eth1"], ["eth9"]]}


def test_check_mode_predicts_and_a_second_run_changes_nothing(private):
    for wanted in (
        FABRIC,
        {"interfaces": ["br100", "eth1"], "routed": [["vxlan100", "eth2"], ["eth9"]]},
        {"interfaces": ["br100", "eth1", "eth2", "eth9", "vxlan100"]},
        {"routed": FABRIC["routed"]},
        {"interfaces": [], "routed": []},
    ):
        predicted = apply(**wanted, checking=True)
        done = apply(**wanted)
        assert predicted == done and done.changed and not done.result["repaired"]
        listed = sh("nft", "-j", "list", "ruleset")  # with handles: any rewrite would show
        again = apply(**wanted)
        assert (again.changed, again.before, again.after) == (False, "", "")
        assert sh("nft", "-j", "list", "ruleset") == listed
    assert not info({})["present"]


def test_results(private):
    done = apply(**FABRIC)
    assert done.result == {"count": 5, "routed": 4, "added": 5, "removed": 0, "repaired": False}
    assert "routed only to one another: eth1 eth2 vxlan100\n" in done.after and "isolated br100\n" in done.after
    groups = [["eth1", "eth2", "vxlan100"], ["eth9"]]
    assert info({}) == {"present": True, "interfaces": ["br100"], "routed": groups, "complete": True}
    split = apply(["br100"], [["vxlan100", "eth2"], ["eth1", "eth9"]])
    assert split.result == {"count": 5, "routed": 4, "added": 0, "removed": 0, "repaired": False}
    assert [line for line in split.before.splitlines() if line.startswith("routed")] == [
        "routed only to one another: eth1 eth2 vxlan100", "routed only to one another: eth9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "delete element inet vtep_fabric routed { eth1 . eth2 }",
        "add element inet vtep_fabric routed { eth1 . eth9 }",
        "add element inet vtep_fabric routed { eth1 . br100, br100 . eth1 }",
        "delete element inet vtep_fabric routing { eth9 }",
        "add element inet vtep_fabric routing { br100 }",
        "delete element inet vtep_fabric isolated { eth1 }",
        "add element arp vtep_fabric isolated { eth1 }",
        "insert rule inet vtep_fabric forward accept",
        "flush chain inet vtep_fabric output",
        "insert rule inet vtep_fabric input iifname @routing icmpv6 type { nd-neighbor-solicit } accept",
    ],
)
def test_whatever_was_changed_is_seen_and_repaired(private, damage):
    apply(**FABRIC)
    whole = info({})
    subprocess.run(["nft", "-f", "-"], input=damage, text=True, check=True)
    assert not info({})["complete"]
    outcome = apply(**FABRIC)
    assert outcome.changed and outcome.before + outcome.after
    assert info({}) == whole
    assert not apply(**FABRIC).changed


def test_the_ruleset_that_nft_prints_can_be_loaded(private):
    apply(**FABRIC)
    text = sh("nft", "list", "ruleset")
    sh("nft", "flush", "ruleset")
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    assert not apply(**FABRIC).changed


def test_without_groups_the_tables_are_as_they_always_were(private):
    apply(["br100"])
    assert "rout" not in sh("nft", "list", "ruleset") and "icmp" not in sh("nft", "list", "ruleset")


def test_faults_are_told_at_once_and_change_nothing(private):
    apply(["br100"])
    with pytest.raises(InputError) as caught:
        apply(["br100", "br*"], [["eth1", "br100", "lo"], ["eth1", "eth 2"], [], [f"d{n}" for n in range(257)]])
    told = "; ".join(caught.value.faults)
    for words in (
        "interfaces[1]: 'br*'", "routed[0]: 'br100' is in interfaces too", "routed[0]: 'lo'", "routed[2]: an empty group",
        "routed[1]: 'eth1' is in routed[0] too", "routed[1]: 'eth 2'", "routed[3]: 257 devices",
    ):  # fmt: skip
        assert words in told
    assert len(caught.value.faults) == 7
    assert info({}) == {"present": True, "interfaces": ["br100"], "routed": [], "complete": True}


def test_many_groups_and_a_large_one(private):
    groups = [[f"vxlan{number}", f"a{number}", f"b{number}"] for number in range(1000)]
    groups.append([f"d{number}" for number in range(100)])
    assert apply([], groups).changed
    assert not apply([], groups).changed
    assert info({})["complete"] and len(info({})["routed"]) == 1001

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of misses and of rows that come and go, by frames that meet no entry."""

import contextlib
import select
import socket
import subprocess

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, misses, neighbor_watch
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.misses import Misses
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.ndm import NDMSG, RTM_GETNEIGH, RTM_NEWNEIGH
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.neighbor_watch import NeighborWatch
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.vxlan_watch import scan
from device_support import MARKS, private, sh
from miss_support import ALL, STATION, arp, closing, frame, mac, packed, send, solicitation, until

pytestmark = MARKS
A, B = mac("50:54:33:00:00:01"), mac("50:54:33:00:00:02")
GOOD = NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(2, A)
VX4 = "vx0 type vxlan id 100 dstport 4789 local 192.0.2.1 nolearning"
VX6 = "vx0 type vxlan id 100 dstport 4789 local 2001:db8:9::1 nolearning"


@pytest.fixture(autouse=True)
def namespace():
    with private():
        # Of its own accord a host asks for its own IPv6 addresses (RFC 4862), and so for neighbours.
        sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1", "ip link set lo up")
        yield


def device(words):
    sh(f"ip link add {words}", f"ip link set {words.split()[0]} up")
    return socket.if_nametoindex(words.split()[0])


@pytest.mark.parametrize("base", [VX4, VX6], ids=["over IPv4", "over IPv6"])
def test_what_is_told_of_each_kind_of_miss(base):
    index = device(f"{base} l2miss l3miss proxy")
    with closing(Misses()) as listener:
        assert listener.read() == []
        send("vx0", frame(A), arp("10.0.0.9"), solicitation("fd00::9"), frame(B))
        assert select.select([listener], [], [], 5)[0]
        assert listener.read() == [(index, A), (index, packed("10.0.0.9")), (index, packed("fd00::9")), (index, B)]
        assert (listener.read(), listener.lost) == ([], 0)


def test_every_frame_tells_and_no_more_are_read_than_asked_for():
    index = device(f"{VX4} l2miss")
    with closing(Misses()) as listener:
        send("vx0", *[frame(A)] * 5)
        assert [len(listener.read(2)) for _dummy in range(4)] == [2, 2, 1, 0]
        send("vx0", frame(B))
        assert listener.read(1) == [(index, B)]


def test_what_is_no_miss():
    """Groups, what an entry or the default entry leads to, and neighbours that are there, even when they do not answer."""
    device(f"{VX4} l2miss l3miss proxy")
    sh("bridge fdb add 50:54:33:00:00:01 dev vx0 dst 192.0.2.2")
    with closing(Misses()) as listener:
        send("vx0", frame(A), frame(ALL), frame(mac("33:33:ff:00:00:09")))
        for state in ("permanent", "reachable", "stale"):
            sh(f"ip neigh replace 10.0.0.9 lladdr 50:54:33:00:00:01 dev vx0 nud {state}")
            send("vx0", arp("10.0.0.9"))
        sh("ip neigh replace 10.0.0.9 dev vx0 nud failed")
        send("vx0", arp("10.0.0.9"))
        sh("bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.2")
        send("vx0", frame(B))
        assert listener.read() == []
        sh("bridge fdb del 00:00:00:00:00:00 dev vx0", "ip neigh del 10.0.0.9 dev vx0")
        send("vx0", frame(B), arp("10.0.0.9"))
        assert [key for _index, key in listener.read()] == [B, packed("10.0.0.9")]


@pytest.mark.parametrize(
    ("words", "told"), [("", set()), ("l2miss", {A}), ("proxy l3miss", {packed("10.0.0.9")}), ("l3miss", set())]
)
def test_a_device_tells_what_it_was_made_for(words, told):
    index = device(f"{VX4} {words}")
    with closing(Misses()) as listener:
        send("vx0", frame(A), arp("10.0.0.9"))
        assert set(listener.read()) == {(index, key) for key in told}
    found = scan()[index]
    assert (found.misses, found.l3) == ("miss" in words, "l3miss" in words)


def test_the_time_after_which_a_devices_rows_go():
    for number, (words, seconds) in enumerate((("", 300), ("ageing 7", 7))):
        index = device(f"vx{number} type vxlan id {number + 1} dstport {4789 + number} local 192.0.2.1 {words}")
        assert scan()[index].ageing == seconds


def test_a_device_that_came_from_another_namespace_tells_so_first():
    with contextlib.ExitStack() as ended:
        guest = ended.enter_context(sleeping())  # `ip` knows a namespace by a process in it
        with private():
            ended.enter_context(sleeping())  # with its first namespace the device would go
            sh(f"ip link add {VX6} l2miss l3miss proxy", f"ip link set vx0 netns {guest.pid}")
        sh("ip link set vx0 up")
        index = socket.if_nametoindex("vx0")
        with closing(Misses()) as listener:
            send("vx0", frame(A), arp("10.0.0.9"), solicitation("fd00::9"))
            assert listener.read() == [(index, A), (index, packed("10.0.0.9")), (index, packed("fd00::9"))]


@contextlib.contextmanager
def sleeping():
    """A process in this namespace."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_neighbour_that_a_program_is_to_be_asked_for():
    index = device("veth0 type veth peer name veth1")
    sh("ip link set veth1 up", "ip addr add 10.0.0.1/24 dev veth0", "sysctl -qw net.ipv4.neigh.veth0.app_solicit=1")
    with closing(Misses()) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("10.0.0.7", 9))
        assert select.select([listener], [], [], 5)[0]
        assert listener.read() == [(index, packed("10.0.0.7"))]


def test_nothing_else_gets_in_and_only_the_kernel_is_believed():
    index = device(f"{VX4} l2miss")
    with closing(Misses()) as listener:
        sh("bridge fdb add 50:54:33:00:00:01 dev vx0 dst 192.0.2.2", "bridge fdb del 50:54:33:00:00:01 dev vx0")
        sh("ip neigh add 10.0.0.9 lladdr 50:54:33:00:00:01 dev vx0")
        assert not select.select([listener], [], [], 0)[0], "woken for nothing"
        body = NDMSG.pack(2, index, 4, 0, 1) + codec.attribute(2, A)
        port = listener._socket.getsockname()[0]
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as liar:
            liar.sendto(codec.message(RTM_GETNEIGH, 0, 0, body), (port, 0))
        assert select.select([listener], [], [], 5)[0]
        assert listener.read() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        NDMSG.pack(2, 7, 4, 0, 1),
        NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(2, A[:5]),
        NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(1, A),
        NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(2, packed("10.0.0.1")),
        NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(2, A)[:7],
        NDMSG.pack(2, 7, 4, 0, 1) + codec.attribute(7, bytes(4)),
    ],
)
def test_messages_that_tell_no_miss(body, monkeypatch):
    class Fake:
        told = [codec.message(RTM_GETNEIGH, 0, 0, body), codec.message(RTM_NEWNEIGH, 0, 0, GOOD), b"", b"\x01" * 40]

        def recvfrom(self, _size):
            if not self.told:
                raise BlockingIOError
            return self.told.pop(), (0, 4)

        def close(self):
            pass

    monkeypatch.setattr(misses, "listen", lambda *_: Fake())
    assert Misses().read() == []
    Fake.told = [codec.message(RTM_GETNEIGH, 0, 0, GOOD)]
    assert Misses().read() == [(7, A)]


def test_losses_are_counted_and_what_comes_after_is_heard(monkeypatch):
    device(f"{VX4} l2miss")
    monkeypatch.setattr(misses, "RECEIVE_BUFFER", 1 << 14)
    with closing(Misses()) as listener:
        send("vx0", *[frame(A)] * 200)
        assert 0 < len(listener.read()) < 200
        assert listener.lost == 1
        send("vx0", frame(B))
        assert [key for _index, key in listener.read()] == [B] and listener.lost == 1


def test_30000_misses_at_once_are_all_kept():
    index = device(f"{VX4} l2miss")
    keys = [b"\x52\0" + n.to_bytes(4, "big") for n in range(30000)]
    with closing(Misses()) as listener:
        send("vx0", *map(frame, keys))
        got = []
        while some := listener.read():
            got += some
        assert got == [(index, key) for key in keys] and listener.lost == 0


# Rows that come and go


def test_rows_of_bridges_vxlan_devices_and_neighbours():
    sh("ip link add br0 type bridge", "ip link add p0 type veth peer name p1")
    vx0 = device(VX4)
    sh(*(f"ip link set {name} master br0" for name in ("vx0", "p0")), *(f"ip link set {n} up" for n in ("br0", "p1")))
    sh("ip link set p0 up")
    bridge, port = socket.if_nametoindex("br0"), socket.if_nametoindex("p0")
    with closing(NeighborWatch()) as watch, closing(NeighborWatch(own=True)) as every:
        send("p1", frame(ALL))
        (learned,) = until(watch.read)  # another CPU may have the frame
        assert learned[:7] == (False, 7, port, bridge, STATION, STATION, 0)
        assert (learned.state, learned.flags, learned.protocol, learned.dst) == (2, 0, 0, None)
        sh("bridge fdb del 02:00:00:00:00:01 dev p0 master")
        assert [(event.gone, event.index, event.master) for event in watch.read()] == [(True, port, bridge)]
        sh("bridge fdb add 50:54:33:00:00:01 dev vx0 dst 192.0.2.2 self dynamic")
        assert watch.read() == []
        sh("bridge fdb del 50:54:33:00:00:01 dev vx0 self")
        (gone,) = watch.read()
        assert gone[:5] == (True, 7, vx0, 0, A) and (gone.flags, gone.dst) == (2, packed("192.0.2.2"))
        sh("ip neigh add 10.0.0.9 lladdr 50:54:33:00:00:01 dev vx0 protocol 119", "ip neigh del 10.0.0.9 dev vx0")
        told = watch.read()
        assert told[0] == (False, 2, vx0, 0, packed("10.0.0.9"), A, 0, 0x80, 0, 119, None)
        assert [(event.gone, event.state, event.lladdr) for event in told[1:]] == [
            (False, 0x20, b""),
            (True, 0x20, b""),
        ]
        own = [event for event in every.read() if event.family == 7 and event.flags & 2]
        assert [(event.gone, event.state) for event in own] == [(False, 2), (True, 2)]
        assert watch.lost == every.lost == 0


def test_rows_that_others_make_are_told_without_those_that_age():
    device(VX4)
    with closing(NeighborWatch(own=True, ageing=False)) as watch:
        sh("bridge fdb add 50:54:33:00:00:01 dev vx0 dst 192.0.2.2 self dynamic")
        assert watch.read() == []
        sh("bridge fdb replace 50:54:33:00:00:01 dev vx0 dst 192.0.2.2 self permanent")
        assert [(event.gone, event.state) for event in watch.read()] == [(False, 0xC0)]
        sh("bridge fdb add 50:54:33:00:00:02 dev vx0 dst 192.0.2.2 self dynamic extern_learn")
        assert [(event.gone, event.flags & 0x10) for event in watch.read()] == [(False, 0x10)]
        sh("bridge fdb del 50:54:33:00:00:01 dev vx0 self")
        assert [event.gone for event in watch.read()] == [True]


@pytest.mark.parametrize("size", [27, 28, 40])
def test_the_vlan_and_messages_that_are_cut_off(size):
    body = NDMSG.pack(7, 7, 2, 0, 0) + codec.attribute(2, A) + codec.attribute(5, codec.U16.pack(12))
    data = codec.message(RTM_NEWNEIGH, 0, 0, body)
    assert neighbor_watch._event(data, RTM_NEWNEIGH, 0, len(data)).vlan == 12
    told = neighbor_watch._event(data, RTM_NEWNEIGH, 0, size)
    assert (told and told.key) == (A if size == 40 else None)
    assert neighbor_watch._event(data, RTM_GETNEIGH, 0, len(data)) is None

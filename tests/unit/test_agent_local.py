# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own endpoints: what the bridge's rows and the addresses that were heard make together."""

import logging

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import local
from ansible_collections.vtep.fabric.plugins.module_utils._agent.local import LocalEndpoints
from ansible_collections.vtep.fabric.plugins.module_utils._agent.snoop import IDLE, Heard
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.bridge_rows import Row
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.neighbor_watch import Event
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError

A, B = bytes.fromhex("505433000001"), bytes.fromhex("505433000002")
V4, V6 = bytes((192, 0, 2, 10)), bytes.fromhex("20010db800ff0000") + bytes(7) + b"\x10"
REACHABLE, STALE, NOARP, PERMANENT = 0x02, 0x04, 0x40, 0x80
BRIDGE, VXLAN, P1, P2 = 10, 11, 1, 2
LAYOUT = {BRIDGE: ((100,), {P1: "eth1", P2: "eth2"})}


class Rows(dict):
    """{port: rows}; a port in `broken` cannot be read."""

    broken = ()

    def of(self, port):
        if port in self.broken:
            raise KernelError("list", 16)
        return self.get(port, [])


def row(mac, state=REACHABLE, master=BRIDGE, vlan=0):
    return Row(master, mac, vlan, state, 0)


def event(mac, port=P1, state=REACHABLE, gone=False, master=BRIDGE, family=7, vlan=0):
    return Event(gone, family, port, master, mac, mac, vlan, state, 0, 0, None)


class Host:
    def __init__(self, layout=None, **rows):
        self.rows, self.heard, self.told = Rows(rows), Heard(), []
        logger = logging.Logger("test")
        logger.handle = lambda record: self.told.append(record.getMessage())
        self.local = LocalEndpoints(self.rows, self.heard, logger)
        self.local.layout(LAYOUT if layout is None else layout)

    def hears(self, mac, address, port=P1, now=0.0):
        if self.heard.put(port, mac, address, now):
            self.local.changed()

    def event(self, *arguments, **more):
        return self.local.events([event(*arguments, **more)])

    @property
    def found(self):
        return self.local.endpoints()


@pytest.fixture
def host():
    return Host()


def test_a_learned_station_with_what_it_was_heard_with(host):
    host.hears(A, V4)
    assert host.found == {}, "that it is there, the bridge tells"
    assert host.event(A)
    assert host.found == {(100, A): (V4,)}
    host.hears(A, V6)
    assert host.found == {(100, A): (V6, V4)}
    assert host.event(B, P2)
    assert host.found == {(100, A): (V6, V4), (100, B): ()}
    assert not host.event(B, P2, state=STALE), "it is the same"
    assert host.event(A, gone=True)
    assert host.found == {(100, B): ()}


def test_static_rows_are_endpoints_too(host):
    assert host.event(A, state=NOARP)
    assert host.found == {(100, A): ()}


@pytest.mark.parametrize(
    "what",
    [
        event(A, state=PERMANENT),  # the port's own address
        event(A, state=PERMANENT | NOARP),
        event(A, master=0),  # the VXLAN device's own row
        event(A, VXLAN),  # the bridge's, towards the VXLAN device
        event(A, BRIDGE),
        event(A, 77),
        event(A, master=99),
        event(b"\x33\x33\0\0\0\1"),
        event(bytes(6)),
        event(V6, family=10),
        event(V4, family=2),
    ],
)
def test_what_is_no_endpoint(host, what):
    assert host.local.events([what]) is False and host.found == {}


def test_one_that_moves_between_ports_stays(host):
    host.event(A)
    host.hears(A, V4)
    host.event(A, P2)
    assert host.found == {(100, A): (V4,)}
    assert not host.event(A, P1, gone=True), "of the place where it was"
    host.event(A, P2, gone=True)
    assert host.found == {}


@pytest.mark.parametrize("port, state", [(VXLAN, REACHABLE), (P1, PERMANENT)])
def test_one_that_moves_elsewhere_is_gone(host, port, state):
    host.event(A)
    assert host.event(A, port, state=state)
    assert host.found == {}


def test_vlans_of_a_station_are_rows_of_their_own(host):
    host.event(A, vlan=0)
    host.event(A, P2, vlan=5)
    host.event(A, P2, vlan=5, gone=True)
    assert host.found == {(100, A): ()}
    host.event(A, vlan=0, gone=True)
    assert host.found == {}


def test_an_address_is_of_the_station_heard_last(host):
    host.event(A)
    host.event(B, P2)
    host.hears(A, V4, now=1)
    host.hears(B, V4, P2, now=2)
    assert host.found == {(100, A): (), (100, B): (V4,)}
    host.event(B, P2, gone=True)
    assert host.found == {(100, A): (V4,)}, "the other one is no station any more"


def test_rows_at_the_start_and_of_ports_that_come():
    host = Host({})
    host.rows[P1] = [row(A), row(B, PERMANENT), row(bytes.fromhex("505433000003"), master=99)]
    host.rows[P2] = [row(B, NOARP)]
    assert host.local.layout({BRIDGE: ((100,), {P1: "eth1"})})
    assert host.found == {(100, A): ()}
    assert host.local.layout(LAYOUT)
    assert host.found == {(100, A): (), (100, B): ()}
    assert host.local.layout(LAYOUT) is False
    assert host.local.layout({BRIDGE: ((200,), {P2: "eth2"})})
    assert host.found == {(200, B): ()}
    assert host.local.layout({})
    assert host.found == {} and host.local._count == 0 and not host.local._learned


def test_after_a_loss_of_events(host):
    host.event(A)
    host.event(B, P2)
    host.rows[P2] = [row(A), row(bytes.fromhex("505433000003"))]
    assert host.local.resync()
    assert host.found == {(100, A): (), (100, bytes.fromhex("505433000003")): ()}
    assert not host.local.resync()


def test_a_station_that_moved_to_a_port_that_is_read_first(host):
    host.event(A, P2)
    host.rows[P1] = [row(A)]
    host.local.resync()
    assert host.found == {(100, A): ()}


def test_rows_that_cannot_be_read(host):
    host.event(A)
    host.rows.broken = (P1,)
    host.rows[P1] = [row(B)]
    assert not host.local.resync()
    assert not host.local.resync()
    assert host.found == {(100, A): ()}
    assert len(host.told) == 1 and "Device or resource busy" in host.told[0]
    host.rows.broken = ()
    assert host.local.tick(1)
    assert host.found == {(100, B): ()}


def test_a_bridge_that_does_not_tell_the_vni():
    host = Host({BRIDGE: ((100, 200), {P1: "eth1"}), 20: ((0,), {P2: "eth2"})})
    assert len(host.told) == 1 and "eth1, eth2" in host.told[0] and "endpoints_file" in host.told[0]
    host.event(A)
    assert host.found == {}
    host.local.layout({BRIDGE: ((100, 200), {P1: "eth1"})})
    assert len(host.told) == 1
    host.local.layout({BRIDGE: ((100, 100), {P1: "eth1"})})
    host.event(A)
    assert host.found == {(100, A): ()}


def test_two_bridges_know_nothing_of_one_another():
    host = Host({BRIDGE: ((100,), {P1: "eth1"}), 20: ((200,), {P2: "eth2"})})
    host.event(A)
    host.event(A, P2, master=20)
    host.hears(A, V4, P1, now=1)
    host.hears(A, V6, P2, now=2)
    assert host.found == {(100, A): (V4,), (200, A): (V6,)}
    host.event(A, P2)  # a port of the other one, and so none of this one's access ports
    assert host.found == {(200, A): (V6,)}


def test_bounds(host, monkeypatch):
    monkeypatch.setattr(local, "MOST_LEARNED", 3)
    monkeypatch.setattr(local, "MOST", 5)
    macs = [bytes((2, 0, 0, 0, 0, number)) for number in range(10)]
    for one in macs[:5]:
        host.event(one)
    assert len(host.found) == 3
    host.event(macs[5], state=NOARP)
    host.event(macs[6], P2)
    host.event(macs[7], P2)
    assert set(host.found) == {(100, macs[number]) for number in (0, 1, 2, 5, 6)}
    assert len(host.told) == 1
    host.event(macs[0], P2)
    assert (100, macs[0]) in host.found, "one that is known may move"
    host.event(macs[1], gone=True)
    host.event(macs[8])
    assert (100, macs[8]) in host.found


def test_one_that_was_left_out_comes_in_when_there_is_room(host, monkeypatch):
    monkeypatch.setattr(local, "MOST_LEARNED", 3)
    flood = [bytes((2, 0, 0, 0, 0, number)) for number in range(3)]
    for one in [*flood, A]:
        host.event(one)
    host.rows[P1] = [row(one) for one in [*flood, A]]
    assert not host.local.tick(1) and (100, A) not in host.found, "there is none yet"
    del host.rows[P1][:3]
    for one in flood:
        host.event(one, gone=True)
    assert host.local.tick(2) and host.found == {(100, A): ()}, "it goes on talking, of which nothing is told"
    assert not host.local.tick(3) and len(host.told) == 1
    for one in flood:
        host.event(one)
    assert len(host.told) == 2, "another flood is another thing"
    host.local.layout({})
    assert not host.local.tick(4) and not host.local._crowded


def test_a_flood_that_goes_on_is_told_once(host, monkeypatch):
    monkeypatch.setattr(local, "MOST_LEARNED", 3)
    macs = [bytes((2, 0, 0, 0, 0, number)) for number in range(10)]
    for number in range(6):
        host.rows[P1] = [row(one) for one in macs[number : number + 4]]
        for one in macs[: number + 4]:
            host.event(one, gone=one not in macs[number:])
        host.local.tick(number)
    assert len(host.found) == 3 and len(host.told) == 1


def test_a_station_is_looked_for_once_and_not_behind_each_port():
    asked = []

    class Counting(Heard):
        def of(self, port):
            asked.append(port)
            return super().of(port)

    ports = {number: f"p{number}" for number in range(20)}
    host = Host({BRIDGE: ((100,), ports)})
    host.local._heard = host.heard = Counting()
    for number in range(50):
        host.event(bytes((2, 0, 0, 0, 0, number)), number % 20)
    host.hears(bytes((2, 0, 0, 0, 0, 7)), V4, 7)
    host.hears(A, V6, 7)
    assert len(host.found) == 50 and host.found[100, bytes((2, 0, 0, 0, 0, 7))] == (V4,)
    assert sorted(asked) == list(ports)


def test_what_the_bridge_keeps_is_not_idle(host):
    host.event(A)
    host.hears(A, V4)
    host.hears(B, V6)
    assert host.local.tick(IDLE)
    assert host.found == {(100, A): (V4,)} and len(host.heard) == 1
    host.event(A, gone=True)
    assert host.local.tick(2 * IDLE) and len(host.heard) == 0


def test_endpoints_are_made_once_a_version(host):
    host.event(A)
    assert host.found is host.found
    before = host.found
    host.hears(A, V4)
    assert host.found is not before and before == {(100, A): ()}

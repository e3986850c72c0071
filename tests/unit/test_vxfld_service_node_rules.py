# SPDX-License-Identifier: GPL-3.0-or-later
"""Upstream's rules, and ours on top, one by one; test_vxfld_service_node.py has whole exchanges."""

import dataclasses
import ipaddress
import random

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, config, messages, pacing
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import (
    ASKED,
    STATIC,
    Extension,
    Malformed,
    Refresh,
    Sync,
)
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.registrar import Device, Registrar
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.service_node import (
    CONFIRM,
    LARGEST,
    WINDOW,
    ServiceNode,
)


def ip(text):
    return ipaddress.ip_address(text).packed


PORT = 10001
A, B, C = (ip(f"192.0.2.{n}") for n in (1, 2, 3))
A6, B6 = (ip(f"2001:db8::{n}") for n in (1, 2))
ID = 0x020000000001
OWN, ANYCAST = ip("198.51.100.1"), ip("203.0.113.100")
PEER, OTHER = (ip("198.51.100.2"), PORT), (ip("198.51.100.3"), PORT)
PROXY1, PROXY2 = (ip("198.51.100.21"), 10009), (ip("198.51.100.22"), PORT)

# Upstream's vectors.
R1 = bytes.fromhex("03010801105a1801208180808080402a0d086412090a070a05c001000201")
R2 = bytes.fromhex("03010801105a208180808080402a0d086412090a070a05c001000201")
R3 = bytes.fromhex("03010800105a1800208180808080402a0d086412090a070a05c001000201")
R4 = bytes.fromhex("03010800105a180020002a23086412090a070a05c00100020112090a070a05c00100020312090a070a05c001000202")
R5 = bytes.fromhex("030108011000208180808080402a0d086412090a070a05c001000201")
R6 = bytes.fromhex("0301080010001800208180808080402a0d086412090a070a05c001000201")
R7 = bytes.fromhex(
    "0301080110ac02180120d6e8c880c0ca142a0c080a12080a060a040a0000012a1108ffffff07120a0a080a06c6013364c801"
)
R8 = bytes.fromhex("03010801105a18022000")
S1 = bytes.fromhex("03031802")
S2 = bytes.fromhex("03031800")
S3 = bytes.fromhex(
    "0303123e086412120a070a05c00100020310551883808080804012120a070a05c00100020210551882808080804012120a070a05c0010002011055188180808080401800"
)
S4 = bytes.fromhex("030312110864120d0a070a05c001000202105a18001800")
S5 = bytes.fromhex("0303121408f503120f0a070a05c00100020910ffff0318001800")
S6 = bytes.fromhex("0303121208f503120d0a070a05c001000209100018001800")
P1 = bytes.fromhex("0302188a9b0322070a05c00100020128013a1a0800000000006400ffffffffffff02000000007788b578787878")
P2 = bytes.fromhex("03020803188a9b0322070a05c00100020128013a1a0800000000006400ffffffffffff02000000007788b578787878")
V1 = bytes.fromhex("01010001005a000003850002c0000201c6120001")
V2A = bytes.fromhex("02010001005a0001000003860002c0000201c6120002")
V2B = bytes.fromhex("02010000005a0000000003860002c0000201c6120002")


class Bench:
    """A service node with two peers, and what it sends."""

    def __init__(self, most=1000, **keys):
        keys = {"src_ip": {4: OWN}, "svcnode_ip": {4: ANYCAST}, "svcnode_peers": (PEER, OTHER), **keys}
        self.now, self.wall = 1000.0, 5e9
        self.node = ServiceNode(config.Vxsnd(**keys), 77, random.Random(1), most)
        self.told = {}  # key: text, of alarms
        self.tick()
        self.syncs = self.take("syncs")

    def take(self, name):
        found = list(getattr(self.node, name))
        getattr(self.node, name).clear()
        return found

    def tick(self):
        return self.node.tick(self.now, self.wall)

    def wait(self, seconds):
        """Let time go by as the daemon does."""
        end = self.now + seconds
        due = self.tick()
        while due <= end:
            self.wall += due - self.now
            self.now = due
            due = self.tick()
            assert due > self.now, "a wake-up that is due already"
        self.wall += end - self.now
        self.now = end
        self.tick()

    def hear(self, data, source):
        data = data if isinstance(data, bytes) else messages.encode(data)
        source = source if isinstance(source, tuple) else (source, PORT)
        self.node.datagram(data, source, self.now, self.wall)

    def register(self, address, identifier, *vnis, new=True, source=None, holdtime=90, asked=ASKED, machine=None):
        message = Refresh(
            originator=True,
            holdtime=holdtime,
            response_type=asked,
            identifier=identifier,
            vteps={vni: [address] for vni in vnis or [100]},
            extension=Extension(machine=machine) if new else None,
        )
        self.hear(message, source or address)

    def withdraw(self, address, identifier, *vnis, new=True):
        self.register(address, identifier, *vnis, new=new, holdtime=0, asked=None)

    def sent(self, to=None):
        """What was sent to an address since the last look, or to all but peers."""
        found = self.take("outbox")
        self.rest = [one for one in found if to and one[1][0] != to]
        return [
            messages.decode(data) for data, end in found if end[0] == to or (to is None and end not in (PEER, OTHER))
        ]

    def octets(self, *ends):
        return [data for data, end in self.take("outbox") if end in ends]

    def alarms(self):
        found = self.take("alarms")
        self.told.update(found)
        return found

    def state(self):
        return list(self.node.dump(self.now))


@pytest.fixture
def bench():
    return Bench()


def whole(message):
    """(vteps, generation) of an answer to a new node."""
    assert message.extension.base is None
    return message.vteps, message.extension.generation


# -- REFRESH: relay


@pytest.mark.parametrize(("data", "relay"), [(R1, R3), (R2, R3)])
def test_a_registration_is_relayed_to_each_peer(bench, data, relay):
    bench.hear(data, A)
    assert [one for one in bench.node.outbox if one[1] in (PEER, OTHER)] == [(relay, PEER), (relay, OTHER)]
    assert bench.node.counters["relayed"] == 2
    assert bench.state() == [(100, A, 90, ID)]


def test_a_withdrawal_is_relayed_and_taken_in(bench):
    bench.hear(R1, A)
    bench.node.outbox.clear()
    bench.hear(R5, A)
    assert bench.octets(PEER) == [R6]
    assert bench.state() == []


def test_a_relay_is_taken_in_and_not_relayed_again(bench):
    bench.hear(R3, PEER)
    assert bench.state() == [(100, A, 90, ID)]
    assert bench.node.outbox == []
    bench.hear(R6, PEER)
    assert (bench.state(), bench.node.outbox) == ([], [])


def test_a_relay_keeps_holdtime_identifier_and_extension(bench):
    bench.register(A6, ID, 100, machine=b"m" * 16, holdtime=47)
    relay = messages.decode(bench.octets(PEER)[0])
    assert (relay.originator, relay.response_type, relay.holdtime, relay.identifier) == (False, 0, 47, ID)
    assert relay.vteps == {100: [A6]}
    assert relay.extension == Extension(machine=b"m" * 16)


def test_a_relay_goes_in_the_version_of_the_message(bench):
    bench.hear(V1, A)
    assert bench.octets(PEER) == [bytes.fromhex("01010000005a000003850002c0000201c6120001")]
    bench.hear(V2A, A)
    assert bench.octets(PEER) == [V2B]


def test_no_relay_of_nothing_nor_back_to_where_it_came_from(bench):
    bench.hear(R8, A)
    assert bench.node.outbox == []
    bench.hear(R1, PEER)
    assert [end for _data, end in bench.node.outbox][0] == OTHER
    assert PEER not in [end for data, end in bench.node.outbox if data == R3]


def test_own_addresses_among_the_peers_are_left_out():
    bench = Bench(svcnode_peers=((OWN, PORT), (ANYCAST, PORT), PEER, (OWN, 10002)))
    assert bench.node.peers == (PEER, (OWN, 10002))


def test_what_comes_from_an_own_address_is_not_taken_in(bench):
    bench.hear(R1, OWN)
    assert (bench.state(), bench.node.counters["own"]) == ([], 1)


# -- REFRESH: old answers


def test_an_old_node_gets_all_addresses_of_the_vnis_it_names_itself_included(bench):
    bench.register(A, ID, new=False, asked=None)
    bench.register(C, ID + 2, new=False, asked=None)
    bench.register(B, ID + 1, 101, new=False, asked=None)
    bench.take("outbox")
    bench.register(B, ID + 1, new=False)
    assert bench.octets((B, PORT)) == [R4]


def test_an_answer_tells_the_own_holdtime():
    bench = Bench(holdtime=33)
    bench.hear(R1, A)
    (answer,) = bench.sent(A)
    assert (answer.holdtime, answer.identifier, answer.originator, answer.response_type) == (33, 0, False, 0)


def test_it_goes_to_the_port_that_asked(bench):
    bench.hear(R1, (A, 54321))
    assert len(bench.octets((A, 54321))) == 1


def test_nobody_is_answered_who_does_not_ask(bench):
    bench.hear(R2, A)
    bench.hear(Refresh(originator=True, response_type=7, identifier=9, vteps={100: [B]}), B)
    bench.wait(40)
    assert bench.sent() == []


def test_asking_for_all_gets_all(bench):
    bench.hear(R7, A)
    bench.hear(R1, B)
    bench.take("outbox")
    bench.hear(R8, C)
    (answer,) = bench.sent(C)
    assert answer.vteps == {10: [ip("10.0.0.1")], 0xFFFFFF: [ip("198.51.100.200")], 100: [A]}


def test_vnis_without_addresses_are_left_out_of_old_answers(bench):
    bench.hear(R1, A)
    bench.take("outbox")
    bench.hear(Refresh(originator=True, response_type=ASKED, identifier=5, holdtime=0, vteps={100: [B], 101: [B]}), B)
    (answer,) = bench.sent(B)
    assert answer.vteps == {100: [A]}
    bench.hear(Refresh(originator=True, response_type=ASKED, identifier=5, holdtime=0, vteps={101: [B]}), B)
    assert bench.sent(B) == []


def test_old_nodes_hear_nothing_of_ipv6(bench):
    bench.register(A6, ID)
    bench.hear(R1, A)
    (answer,) = bench.sent(A)
    assert (answer.vteps, answer.extension) == ({100: [A]}, None)


def test_versions_1_and_2_are_answered_in_their_own(bench):
    bench.hear(V2A, A)
    assert bench.octets((A, PORT)) == [V2B]
    bench.hear(V1, B)
    (data,) = bench.octets((B, PORT))
    assert data[0] == 1
    assert messages.decode(data).vteps == {902: [A, ip("198.18.0.2")], 901: [A, ip("198.18.0.1")]}, (
        "version 1 asks for all"
    )


def test_old_answers_are_split_by_vni_and_stay_below_the_limit():
    bench = Bench(most=10_000)
    for n in range(1, 60):
        bench.register(bytes([10, 0, 0, n]), n, *range(200, 230), new=False, asked=None)
    bench.take("outbox")
    bench.register(A, ID, *range(200, 230), new=False)
    data = bench.octets((A, PORT))
    assert len(data) > 1 and max(map(len, data)) + 42 < 1500
    parts = [messages.decode(one).vteps for one in data]
    assert sorted(vni for part in parts for vni in part) == list(range(200, 230))
    assert all(len(addresses) == 60 for part in parts for addresses in part.values())


def test_a_vni_that_does_not_fit_goes_as_one_longer_datagram_and_is_named(bench):
    crowd(bench, 200, new=False)
    bench.alarms()
    bench.register(A, ID, new=False)
    (data,) = bench.octets((A, PORT))
    assert len(messages.decode(data).vteps[100]) == 201
    assert f"max_packet_size {len(data) + 42}" in dict(bench.alarms())["long", 100]


def test_a_vni_that_fits_no_datagram_is_not_sent_to_old_nodes_but_named(bench):
    bench = Bench(most=10_000)
    for n in range(1, 6000):
        bench.register(bytes([10, 200, 200 + n // 200, 1 + n % 200]), n, new=False, asked=None)
    bench.take("outbox")
    bench.register(A, ID, 100, 101, new=False)
    (data,) = bench.octets((A, PORT))
    assert messages.decode(data).vteps == {101: [A]}
    assert "cannot be sent" in dict(bench.alarms())["long", 100]
    assert LARGEST < 65536 - 28


def crowd(bench, count, new=True, asked=None, vni=100):
    for n in range(1, count + 1):
        bench.register(bytes([10, 1, n >> 8, n & 255]), 1000 + n, vni, new=new, asked=asked)
    bench.take("outbox")


# -- REFRESH: new answers


def test_a_new_node_gets_the_generation_after_the_window(bench):
    bench.register(A, ID)
    assert bench.sent(A) == [], "between two generations there is none to name"
    bench.wait(WINDOW)
    (answer,) = bench.sent(A)
    assert whole(answer) == ({100: [A]}, 1)
    assert answer.extension.source == 77
    bench.wait(5)
    bench.take("outbox")
    bench.register(B, ID + 1, 101)
    bench.wait(WINDOW)
    assert whole(bench.sent(B)[0]) == ({101: [B]}, 2)


def test_each_vni_is_answered_in_messages_of_its_own(bench):
    bench.register(A, ID, 100, 101)
    bench.wait(WINDOW)
    assert [whole(one)[0] for one in bench.sent(A)] == [{100: [A]}, {101: [A]}]


def test_a_question_without_a_change_is_answered_at_once(bench):
    bench.register(A, ID)
    bench.wait(WINDOW)
    bench.take("outbox")
    bench.register(A, ID)
    assert whole(bench.sent(A)[0]) == ({100: [A]}, 1)


def test_a_refresh_of_a_node_in_step_gets_a_confirmation_and_the_whole_when_it_asks_again(bench):
    bench.register(A, ID)
    bench.wait(30)
    bench.take("outbox")
    bench.register(A, ID)
    (answer,) = bench.sent(A)
    assert (answer.vteps, answer.extension.base, answer.extension.generation) == ({100: []}, 1, 1)
    bench.wait(1)
    bench.register(A, ID)
    assert whole(bench.sent(A)[0]) == ({100: [A]}, 1)


def test_whoever_registered_elsewhere_meanwhile_gets_the_whole(bench):
    bench.register(A, ID)
    bench.wait(10)
    bench.hear(R3, PEER)
    bench.wait(20)
    bench.take("outbox")
    bench.register(A, ID)
    assert whole(bench.sent(A)[0]) == ({100: [A]}, 1)


def test_both_families_and_2000_vteps_come_in_parts_that_fit():
    bench = Bench(most=10_000)
    everybody = [bytes([10, 200, 200 + n // 200, 1 + n % 200]) for n in range(1000)]
    everybody += [bytes.fromhex("20010db8") + n.to_bytes(12, "big") for n in range(1, 1001)]
    for n, address in enumerate(everybody, 1):
        bench.register(address, n, asked=None)
    bench.wait(3)
    bench.take("outbox")
    bench.register(everybody[0], 1)
    bench.wait(3)
    data = bench.octets((everybody[0], PORT))
    assert len(data) > 16 and max(map(len, data)) + 42 + 20 <= 1500
    parts = [messages.decode(one) for one in data]
    assert [one.extension.part for one in parts] == list(range(len(parts)))
    assert {one.extension.parts for one in parts} == {len(parts)}
    reassembly = messages.Reassembly()
    random.Random(3).shuffle(parts)
    (answer,) = filter(None, [reassembly.add(one, 0) for one in parts])
    assert sorted(answer.vteps[100]) == sorted(everybody)


# -- Pushes


def three(bench, new=True):
    """A, B and C in VNI 100, all told of one another."""
    for n, address in enumerate((A, B, C)):
        bench.register(address, ID + n, new=new)
    bench.wait(20)
    bench.take("outbox")


def test_a_change_is_told_to_new_nodes_as_a_change(bench):
    three(bench)
    generation = bench.node.registrations.vni(100).generation
    bench.register(A6, 500)
    bench.wait(WINDOW)
    for address in (A, B, C):
        (push,) = [messages.decode(data) for data, end in bench.node.outbox if end[0] == address]
        assert push.vteps == {100: [A6]}
        assert (push.extension.base, push.extension.generation) == (generation, generation + 1)
    assert [whole(messages.decode(data)) for data, end in bench.node.outbox if end[0] == A6] == [
        ({100: [A, B, C, A6]}, generation + 1)
    ]


def test_who_goes_is_told_as_gone_and_hears_nothing_any_more(bench):
    three(bench)
    bench.withdraw(B, ID + 1)
    bench.wait(WINDOW)
    assert bench.sent(B) == []
    (push,) = [messages.decode(data) for data, end in bench.rest if end[0] == A]
    assert (push.vteps.get(100, []), push.extension.gone) == ([], {100: [B]})


def test_a_death_is_told_when_the_holdtime_is_over(bench):
    three(bench)
    for _turn in range(2):
        bench.wait(30)
        bench.register(A, ID)
        bench.register(C, ID + 2)
    bench.take("outbox")
    bench.wait(9)
    assert bench.sent() == []
    bench.wait(1.1)
    assert [one.extension.gone for one in bench.sent(A)] == [{100: [B]}]


def test_changes_in_the_window_are_one_push_and_those_that_cancel_out_none(bench):
    three(bench)
    generation = bench.node.registrations.vni(100).generation
    bench.register(A6, 500, asked=None)
    bench.wait(0.02)
    bench.register(B6, 501, asked=None)
    bench.wait(0.03)
    (push,) = bench.sent(A)
    assert (push.vteps, push.extension.generation) == ({100: [A6, B6]}, generation + 1)
    bench.wait(3)
    bench.take("outbox")
    bench.withdraw(A6, 500)
    bench.register(A6, 500, asked=None)
    bench.wait(3)
    assert bench.sent() == []


def test_a_change_is_confirmed_after_a_second(bench):
    three(bench)
    bench.register(A6, 500)
    bench.wait(WINDOW)
    bench.take("outbox")
    bench.wait(CONFIRM - 0.01)
    assert bench.sent(A) == []
    bench.wait(0.01)
    (push,) = bench.sent(A)
    generation = bench.node.registrations.vni(100).generation
    assert (push.vteps, push.extension.base, push.extension.generation) == ({100: []}, generation, generation)
    bench.wait(5)
    assert bench.sent(A) == []


def test_who_asks_soon_after_a_push_gets_the_whole_since_it_lost_that(bench):
    three(bench)
    bench.register(A6, 500)
    bench.wait(2)
    bench.take("outbox")
    bench.register(A, ID)
    assert whole(bench.sent(A)[0])[0] == {100: [A, B, C, A6]}


def test_old_nodes_are_pushed_whole_sets(bench):
    three(bench, new=False)
    bench.register(ip("192.0.2.9"), 500, new=False)
    bench.take("outbox")
    bench.wait(WINDOW)
    for address in (A, B, C):
        (push,) = [messages.decode(data) for data, end in bench.node.outbox if end[0] == address]
        assert (push.vteps, push.extension) == ({100: [A, B, C, ip("192.0.2.9")]}, None)
    bench.take("outbox")
    bench.wait(5)
    assert bench.sent() == []


def test_old_nodes_of_version_2_are_pushed_version_2(bench):
    bench.hear(V2A, A)
    bench.wait(1)
    bench.take("outbox")
    bench.register(B, ID, 902)
    bench.wait(WINDOW)
    (data,) = bench.octets((A, PORT))
    assert data[0] == 2
    assert messages.decode(data).vteps == {902: [A, ip("198.18.0.2"), B]}


def test_large_sets_are_pushed_to_old_nodes_with_rests(bench):
    crowd(bench, 900, new=False, asked=ASKED)
    bench.wait(40)
    bench.take("outbox")
    before = bench.node.counters["push octets"]
    for n in range(40):
        bench.register(bytes([10, 2, 0, n + 1]), 5000 + n, new=False, asked=None)
        bench.wait(0.25)
    pushed = bench.node.counters["push octets"] - before
    assert 3e6 < pushed < 6e7, "10 s at 4 MB/s, and one round more"
    bench.wait(30)
    last = [messages.decode(data) for data, end in bench.take("outbox") if end[0] == bytes([10, 1, 0, 1])][-1]
    assert len(last.vteps[100]) == 940


def test_push_may_be_off():
    bench = Bench(push=False)
    three(bench)
    bench.register(A6, 500)
    bench.register(ip("192.0.2.9"), 501, new=False)
    bench.wait(5)
    assert bench.sent(A) == []
    bench.register(A, ID)
    assert set(whole(bench.sent(A)[0])[0][100]) == {A, B, C, A6, ip("192.0.2.9")}


def test_service_node_mode_and_relayed_nodes_are_pushed_nothing(bench):
    bench.register(A, ID, asked=None)
    bench.hear(Refresh(originator=False, response_type=0, identifier=ID + 1, vteps={100: [B]}), PEER)
    bench.wait(2)
    bench.register(C, ID + 2)
    bench.wait(5)
    assert {end[0] for _data, end in bench.node.outbox} - {PEER[0], OTHER[0]} == {C}


def test_a_vtep_that_registers_at_another_service_node_is_pushed_from_there(bench):
    three(bench)
    bench.hear(R3, PEER)
    bench.register(A6, 500)
    bench.wait(2)
    assert bench.sent(A) == []


def test_a_mass_start_does_not_melt_down():
    """2,000 VTEPs of one VNI in 5 s: pushes are gathered, and octets stay below what one change after the other would take."""
    bench = Bench(most=10_000)
    addresses = [bytes.fromhex("20010db8") + n.to_bytes(12, "big") for n in range(1, 2001)]
    sent, peak, window, last = 0, 0, 0, 0.0
    members, ends = {}, {address: messages.Reassembly() for address in addresses}

    def receive():
        nonlocal sent, window, peak, last
        if bench.now - last >= 1:
            last, window = bench.now, 0
        for data, end in bench.take("outbox"):
            if end in (PEER, OTHER):
                continue
            sent += len(data)
            window += len(data)
            peak = max(peak, window)
            if end[0] in (addresses[0], addresses[1000]):
                message = ends[end[0]].add(messages.decode(data), bench.now)
                if message:
                    apply(members, end[0], message)

    for n, address in enumerate(addresses, 1):
        bench.register(address, n)
        if n % 4 == 0:
            bench.wait(0.01)
            receive()
    for _turn in range(2000):
        bench.wait(0.01)
        receive()
    assert members[addresses[0]] == members[addresses[1000]] == set(addresses)
    one_by_one = sum(20 * n for n in range(2000)) + sum(
        100 * n for n in range(2000)
    )  # sets to joiners, a datagram each
    print(
        f"{sent / 1e6:.0f} MB in all, {peak / 1e6:.0f} MB in a second at most, {bench.node.counters['pushes']} pushes"
    )
    assert sent < one_by_one / 1.5
    assert peak < 1.2 * pacing.PAGE_OF_ALL / pacing.PAUSE
    assert bench.node.counters["pushes"] < 2000 * 2000 / 15
    assert bench.node.counters["datagrams left out"] == 0


def apply(members, address, message):
    """What a vxrd makes of a message, strictly: a change must begin where it is."""
    extension, (told,) = message.extension, message.vteps.values()
    if extension.base is None:
        members[address] = set(told)
    elif extension.base == members.get((address, "generation")):
        members[address] = (members[address] | set(told)) - set(extension.gone.get(100, ()))
    else:
        raise AssertionError("a gap without a loss")
    members[address, "generation"] = extension.generation


def test_every_change_reaches_a_strict_vxrd_in_whatever_order_things_happen():
    """Answers, changes and confirmations always fit together, as long as no datagram is lost."""
    chance = random.Random(9)
    bench, members = Bench(), {}
    there = {}
    for _turn in range(1500):
        n = chance.randrange(1, 30)
        address = bytes([10, 0, 0, n])
        if n in there and chance.random() < 0.3:
            bench.withdraw(address, n)
            del there[n]
            members.pop(address, None)
            members.pop((address, "generation"), None)
        else:
            bench.register(address, n)
            there[n] = address
        bench.wait(chance.choice([0, 0.01, 0.04, 0.3, 2]))
        for data, end in bench.take("outbox"):
            if end[0][0] == 10 and end[0][3] in there:
                apply(members, end[0], messages.decode(data))
    bench.wait(3)
    for data, end in bench.take("outbox"):
        if end[0][0] == 10 and end[0][3] in there:
            apply(members, end[0], messages.decode(data))
    live = {row[1] for row in bench.state()}
    assert len(live) > 5
    assert all(members[address] == live for address in live)


# -- Pace


def test_no_destination_gets_more_than_a_page_at_once_and_nobody_waits_for_another():
    bench = Bench(most=100_000)
    for n in range(1, 6001):
        bench.register(bytes.fromhex("20010db8") + n.to_bytes(12, "big"), n, asked=None)
    bench.wait(2)
    bench.take("outbox")
    bench.register(A6, 1)
    bench.wait(1)
    bench.take("outbox")
    bench.register(A6, 1)
    bench.register(B6, 2, 200)
    bench.wait(WINDOW)
    first = bench.take("outbox")
    assert 0 < sum(end[0] == A6 for _data, end in first) <= 2 * 32
    assert any(end[0] == B6 for _data, end in first)
    bench.wait(0.5)
    parts = [messages.decode(data) for data, end in first + bench.take("outbox") if end[0] == A6]
    whole_set = [one for one in parts if one.extension.base is None]
    assert len(whole_set) == whole_set[0].extension.parts > 64


def test_what_waits_is_bounded_and_the_rest_is_counted():
    outbox = []
    pacer = pacing.Pacer(outbox)
    data = [bytes(1400)] * 20_000
    octets, left_out = pacer.add("one", data, 0.0)
    assert len(outbox) == 32
    assert octets == (20_000 - left_out) * 1400
    assert pacer.waiting <= pacing.MOST
    for n in range(20):
        pacer.add(n, data, 0.0)
    assert pacer.waiting <= pacing.MOST_OF_ALL
    assert len(outbox) <= 1000
    now = 0.0
    while pacer.tick(now) < 1e9:
        before = len(outbox)
        now += pacing.PAUSE
        pacer.tick(now)
        assert 0 < len(outbox) - before <= 1000
    assert (pacer.waiting, pacer._held, pacer._queues) == (0, {}, {})


def test_a_datagram_larger_than_a_page_goes_alone():
    outbox = []
    pacer = pacing.Pacer(outbox)
    pacer.add("one", [bytes(60_000)] * 3, 0.0)
    assert len(outbox) == 1
    pacer.tick(pacing.PAUSE)
    assert len(outbox) == 2


def test_asking_for_all_again_while_the_answer_is_on_its_way_gets_nothing_more():
    bench = Bench(most=100_000)
    for n in range(1, 2000):
        bench.register(bytes([10, 0, n >> 8, n & 255]), n, *range(100, 140), new=False, asked=None)
    bench.take("outbox")
    for _turn in range(5):
        bench.hear(R8, A)
    assert bench.node.counters["answers"] == 1
    assert bench.node.counters["answers refused"] == 4


# -- Who is believed


def test_whoever_is_not_in_the_allow_list_is_neither_believed_nor_answered():
    bench = Bench(allow=config.prefixes("192.0.2.0/31 2001:db8::/32"))
    bench.hear(R1, C)
    assert (bench.state(), bench.node.outbox, bench.node.counters["denied"]) == ([], [], 1)
    assert "192.0.2.3" in dict(bench.alarms())["denied"]
    assert bench.node.sync_request(S1, (C, 1), bench.now, bench.wall) is None
    bench.node.learned(100, C, bench.now)
    assert bench.state() == []
    bench.hear(R1, A)
    bench.node.learned(100, B6, bench.now)
    assert len(bench.state()) == 2


@pytest.mark.parametrize(
    "data", [b"", b"\x03", b"\x04\x01", b"\x03\x09", R1[:-1], bytes.fromhex("03012a05086412010a"), bytes(70_000)]
)
def test_what_cannot_be_read_is_counted_and_dropped(bench, data):
    bench.hear(data, A)
    assert (bench.node.counters["malformed"], bench.state(), bench.node.outbox) == (1, [], [])
    assert "192.0.2.1 is malformed" in dict(bench.alarms())["malformed"]
    assert bench.node.sync_request(data, PEER, bench.now, bench.wall) is None


def test_vnis_that_are_none_are_dropped_and_counted(bench):
    bench.hear(bytes.fromhex("030108012a1108ffffffff0f12090a070a05c001000201") + R1[15:], A)
    assert bench.state() == [(100, A, 90, 0)]
    assert bench.node.counters["vnis dropped"] == 1


def test_sync_and_other_things_by_udp_are_not_taken_in(bench):
    bench.hear(S5, A)
    assert (bench.state(), bench.node.counters["unexpected"]) == ([], 1)
    assert bench.node.sync_request(R1, PEER, bench.now, bench.wall) is None
    assert bench.node.counters["unexpected"] == 2


KEY = b"k" * 32


def test_with_a_key_only_what_is_sealed_is_believed_and_everything_sent_is_sealed():
    bench = Bench(auth_key=KEY)
    other = auth.Authenticator(KEY)
    bench.hear(R1, A)
    assert (bench.state(), bench.node.outbox, bench.node.counters["refused"]) == ([], [], 1)
    register = dataclasses.replace(messages.decode(R1), extension=Extension(machine=b"m" * 16))
    sealed = other.seal(register, bench.wall)
    bench.hear(sealed, A)
    bench.hear(sealed, A)
    assert len(bench.state()) == 1
    assert bench.node.counters["refused"] == 2, "the second one is a replay"
    bench.hear(other.seal(dataclasses.replace(register, identifier=8, vteps={100: [B]}), bench.wall), B)
    bench.wait(2)
    bench.hear(other.seal(register, bench.wall), A)
    bench.node.static_add(100, C, bench.now)
    bench.wait(3)
    receivers = {}
    for data, end in [*bench.syncs, *bench.take("pushes"), *bench.take("outbox")][::1]:
        data, end = (end, data) if isinstance(data, tuple) else (data, end)
        message = receivers.setdefault(end, auth.Authenticator(KEY)).open(data, bench.now, bench.wall)
        if isinstance(message, Refresh) and message.identifier:
            assert message.extension.machine in (b"m" * 16, None)
    assert {PEER, OTHER, (A, PORT), (B, PORT)} <= set(receivers)


def test_without_a_key_a_relay_has_no_mac(bench):
    sealed = auth.Authenticator(KEY).seal(dataclasses.replace(messages.decode(R1), extension=Extension()), bench.wall)
    bench.hear(sealed, A)
    relay = messages.decode(bench.octets(PEER)[0])
    assert (relay.extension.mac, relay.extension.time, relay.extension.nonce) == (None, None, None)


def test_registrations_beyond_the_most_are_refused_and_told():
    bench = Bench(most=2)
    bench.register(A, 1, 100, 101, 102)
    assert len(bench.state()) == 2
    assert bench.node.counters["entries refused"] == 1
    assert "2 registrations are the most" in dict(bench.alarms())["entries refused"]


def test_two_hosts_with_one_node_id_are_named(bench):
    bench.register(A, ID, machine=b"1" * 16)
    assert bench.alarms() == []
    bench.register(B, ID, machine=b"2" * 16)
    text = dict(bench.alarms())["clash", ID]
    assert str(ID) in text and "192.0.2.1" in text and "192.0.2.2" in text
    assert bench.node.counters["clashes"] == 1


@pytest.mark.parametrize("way", ["directly", "by relay", "by SYNC"])
def test_who_is_evicted_by_an_equal_node_id_is_told(bench, way):
    bench.register(A, ID, machine=b"1" * 16)
    bench.register(C, ID + 1)
    bench.wait(5)
    bench.sent()
    if way == "directly":
        bench.register(B, ID, machine=b"2" * 16)
    elif way == "by relay":
        relay = Refresh(originator=False, holdtime=90, identifier=ID, vteps={100: [B]}, extension=Extension())
        bench.hear(relay, PEER)
    else:
        news = messages.encode(Sync(vteps={100: [(B, 90, ID)]}, response_type=0))
        bench.node.sync_request(news, PEER, bench.now, bench.wall)
    bench.wait(0.1)
    told = bench.sent(A)
    assert [set(whole(one)[0][100]) for one in told] == [{B, C}]
    bench.wait(20)
    assert bench.sent(A) == [], "once: it is no subscriber any more"


def test_an_evicted_old_node_gets_the_ordinary_answer(bench):
    bench.register(A, ID, new=False)
    bench.wait(5)
    bench.sent()
    bench.register(B, ID, machine=b"2" * 16)
    bench.wait(0.1)
    (told,) = bench.sent(A)
    assert (told.vteps, told.extension) == ({100: [B]}, None)
    bench.wait(20)
    assert bench.sent(A) == [] and not bench.node._owed_old


@pytest.mark.parametrize("new", [True, False])
def test_a_host_whose_address_changes_is_told_as_usual_and_without_push_nobody_is(new):
    bench = Bench()
    bench.register(A, ID, new=new, source=C)
    bench.wait(5)
    bench.sent()
    bench.register(B, ID, new=new, source=C)
    bench.wait(0.5)
    assert len(bench.sent(C)) == (1 if new else 2), "an old node is answered, and pushed the change as ever"
    bench = Bench(push=False)
    bench.register(A, ID, new=new)
    bench.wait(5)
    bench.sent()
    bench.register(B, ID, new=new)
    bench.wait(5)
    assert bench.sent(A) == []
    assert not (bench.node._owed or bench.node._owed_old or bench.node.registrations.evicted)


def test_two_vxrds_with_one_node_id_out_of_step_are_alarmed_and_do_not_fight(bench):
    """Each registers every 30 s, 7 s apart: without being told, each would find itself in the answer to its own registration."""
    hosts = {}
    for number, address in enumerate((A, B)):
        bench.wait(7 * number)
        hosts[address] = Registrar(config.Vxrd(svcnode_ip={4: ANYCAST}), ID, bytes([number + 1]) * 16, bench.now)
        hosts[address].devices([Device("vxlan100", 7, 100, address)], bench.now)
    told, sent, heard = dict.fromkeys(hosts, 0), dict.fromkeys(hosts, 0), dict.fromkeys(hosts, 0)
    steps = 0
    while steps < 10 * 300:
        steps += 1
        for address, host in hosts.items():
            host.tick(bench.now, bench.wall)
            for data, _end in host.outbox:
                sent[address] += 1
                bench.hear(data, address)
            host.outbox.clear()
            told[address] += sum(key == "clash" for key, _text in host.alarms)
            host.alarms.clear()
        bench.wait(0.1)
        for data, end in bench.take("outbox"):
            if end[0] in hosts:
                heard[end[0]] += 1
                hosts[end[0]].datagram(data, end, bench.now, bench.wall)
        if steps == 10 * 60:
            assert min(told.values()) > 0, "each within a minute"
    assert min(told.values()) > 0
    assert any(key == ("clash", ID) for key, _text in bench.alarms())
    # A registration each 30 s of its own accord, and at most one more since the other one registered.
    assert max(sent.values()) <= 2 * 300 / 30 + 10, sent
    assert max(heard.values()) <= 4 * max(sent.values()), heard


# -- SYNC


def test_it_answers_a_sync_request(bench):
    assert bench.node.sync_request(S1, PEER, bench.now, bench.wall) == S2
    for n, address in ((2, C), (1, B), (0, A)):
        bench.register(address, ID + n, new=False)
    bench.wait(5)
    assert bench.node.sync_request(S1, PEER, bench.now, bench.wall) == S3


def test_a_sync_answer_is_taken_in_with_what_is_left(bench):
    peer = bench.syncs[0][0]
    bench.node.sync_answer(S3, peer, bench.now, bench.wall)
    assert bench.state() == [(100, A, 85, ID), (100, B, 85, ID + 1), (100, C, 85, ID + 2)]
    bench.wait(85)
    assert bench.state() == []


def test_ipv6_goes_by_sync_too(bench):
    bench.register(A6, ID)
    answer = bench.node.sync_request(S1, PEER, bench.now, bench.wall)
    other = Bench()
    other.node.sync_answer(answer, other.syncs[0][0], other.now, other.wall)
    assert other.state() == [(100, A6, 90, ID)]


def test_pushes_of_peers_are_taken_in_and_not_answered(bench):
    for data, state in ((S4, [(100, B, 90, 0)]), (S5, [(100, B, 90, 0), (501, ip("192.0.2.9"), STATIC, 0)])):
        assert bench.node.sync_request(data, PEER, bench.now, bench.wall) is None
        assert bench.state() == state
    assert bench.node.sync_request(S6, PEER, bench.now, bench.wall) is None
    assert bench.state() == [(100, B, 90, 0)], "holdtime 0 removes at once"
    assert bench.take("pushes") == []


def test_what_peers_tell_is_pushed_to_vteps(bench):
    three(bench)
    bench.node.sync_request(S5, PEER, bench.now, bench.wall)
    bench.node.sync_request(
        messages.encode(Sync(vteps={100: [(A6, 50, 9)]}, response_type=0)), PEER, bench.now, bench.wall
    )
    bench.wait(WINDOW)
    assert [one.vteps for one in bench.sent(A)] == [{100: [A6]}]


def test_static_entries_are_told_to_peers():
    bench = Bench()
    nine = ip("192.0.2.9")
    bench.node.static_add(501, nine, bench.now)
    bench.tick()
    assert sorted(bench.take("pushes")) == [(PEER, S5), (OTHER, S5)]
    bench.node.pushed(PEER)
    bench.node.pushed(OTHER)
    assert bench.node.static_del(501, nine, bench.now) is True
    bench.tick()
    assert sorted(bench.take("pushes")) == [(PEER, S6), (OTHER, S6)]
    assert bench.state() == []
    assert bench.node.static_del(501, nine, bench.now) is False


def test_deleting_takes_registered_entries_only_by_force(bench):
    bench.register(A, ID)
    assert bench.node.static_del(100, A, bench.now) is False
    assert len(bench.state()) == 1
    assert bench.node.static_del(100, A, bench.now, force=True) is True
    bench.tick()
    pushed = messages.decode(bench.take("pushes")[0][1])
    assert pushed.vteps == {100: [(A, 0, 0), (A, 0, ID)]}


def test_a_list_of_static_entries_replaces_the_former_one(bench):
    bench.node.learned(100, C, bench.now)
    bench.node.static_replace([(100, A), (101, B)], bench.now)
    bench.node.static_replace([(100, A), (102, A6)], bench.now)
    assert [row[:3] for row in bench.state()] == [(100, A, STATIC), (100, C, 90), (102, A6, STATIC)]


def test_a_frame_of_an_unknown_vtep_is_learned_and_told(bench):
    bench.node.learned(100, B, bench.now)
    assert bench.node.targets(100) == (B,)
    bench.tick()
    assert sorted(bench.take("pushes")) == [(PEER, S4), (OTHER, S4)]
    assert bench.node.changed == {100}
    bench.node.pushed(PEER)
    for _turn in range(29):
        bench.wait(1)
        bench.node.learned(100, B, bench.now)
    assert bench.state() == [(100, B, 90, 0)], "data keeps it"
    assert [peer for peer, _data in bench.take("pushes")] == []
    bench.wait(1)
    bench.node.learned(100, B, bench.now)
    bench.tick()
    assert [peer for peer, _data in bench.take("pushes")][:1] == [PEER], "peers hear before they forget"


@pytest.mark.parametrize(("vni", "address"), [(100, bytes(4)), (100, ip("224.0.0.1")), (1 << 24, A), (100, b"")])
def test_what_is_no_vtep_is_not_learned(bench, vni, address):
    bench.node.learned(vni, address, bench.now)
    assert bench.state() == []


def test_a_peer_that_is_down_is_told_later_and_the_others_now(bench):
    bench.node.static_add(100, A, bench.now)
    bench.tick()
    assert {peer for peer, _data in bench.take("pushes")} == {PEER, OTHER}
    bench.node.pushed(OTHER)
    bench.node.push_failed(PEER, bench.now, "connection refused")
    assert "connection refused" in dict(bench.alarms())["push", PEER]
    bench.node.static_del(100, A, bench.now)
    bench.node.static_add(101, A, bench.now)
    bench.tick()
    assert [peer for peer, _data in bench.take("pushes")] == [OTHER]
    gaps, last = [], bench.now
    for _turn in range(5):
        while not any(peer == PEER for peer, _data in bench.node.pushes):
            bench.wait(0.1)
        gaps.append(round(bench.now - last))
        last = bench.now
        (data,) = [data for peer, data in bench.take("pushes") if peer == PEER]
        assert messages.decode(data).vteps == {100: [(A, 0, 0)], 101: [(A, STATIC, 0)]}, "the last word on each"
        bench.node.push_failed(PEER, bench.now, "connection refused")
    assert gaps == [1, 2, 4, 8, 10]
    bench.wait(10)
    bench.node.pushed(PEER)
    bench.take("pushes")
    bench.wait(60)
    assert [peer for peer, _data in bench.take("pushes") if peer == PEER] == []


def test_a_push_that_nobody_reports_on_is_tried_again(bench):
    bench.node.static_add(100, A, bench.now)
    bench.tick()
    bench.take("pushes")
    bench.node.static_add(101, A, bench.now)
    bench.wait(29)
    assert bench.take("pushes") == [], "one at a time"
    bench.wait(3)
    assert {vni for _peer, data in bench.take("pushes") for vni in messages.decode(data).vteps} == {100, 101}


def test_what_a_peer_is_not_told_is_bounded(bench):
    bench.node.push_failed(PEER, bench.now, "x")
    for n in range(10_100):
        bench.node.static_add(100, bytes([10, 1, n >> 8, n & 255]), bench.now)
    assert max(len(one.entries) for one in bench.node.peering._untold.values()) == 10_000
    assert bench.node.counters["untold"] == 200
    assert ("untold", PEER) in dict(bench.alarms())


# -- Whom to ask


def test_at_the_start_one_random_peer_is_asked_and_then_one_every_holdtime(bench):
    ((peer, data),) = bench.syncs
    assert (data, peer in (PEER, OTHER), bench.node.synced) == (S1, True, False)
    bench.node.sync_answer(S2, peer, bench.now, bench.wall)
    assert bench.node.synced
    times, asked = [], set()
    for _turn in range(3000):
        bench.wait(1)
        for peer, _data in bench.take("syncs"):
            times.append(bench.now)
            asked.add(peer)
            bench.node.sync_answer(S2, peer, bench.now, bench.wall)
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert min(gaps) >= 72
    assert max(gaps) <= 110
    assert asked == {PEER, OTHER}


def test_failures_are_retried_at_another_peer_with_growing_pauses(bench):
    ((peer, _data),) = bench.syncs
    tried, gaps, last = [peer], [], bench.now
    for _turn in range(6):
        bench.node.sync_failed(peer, bench.now, "connection timed out")
        while not bench.node.syncs:
            bench.wait(0.1)
        ((peer, _data),) = bench.take("syncs")
        tried.append(peer)
        gaps.append(round(bench.now - last))
        last = bench.now
    assert gaps == [1, 2, 4, 8, 10, 10]
    assert all({tried[i], tried[i + 1]} == {PEER, OTHER} for i in (0, 2, 4))
    assert "timed out" in dict(bench.alarms())["sync", peer]
    assert not bench.node.synced


def test_an_answer_that_cannot_be_used_is_a_failure(bench):
    bench.node.sync_answer(b"\x03\x03\xff", bench.syncs[0][0], bench.now, bench.wall)
    assert not bench.node.synced
    bench.wait(1)
    assert len(bench.take("syncs")) == 1


def test_a_request_that_nobody_reports_on_is_tried_again(bench):
    bench.wait(29)
    assert bench.take("syncs") == []
    bench.wait(3)
    assert len(bench.take("syncs")) == 1


def test_sync_targets_is_the_number_of_answers_wanted():
    bench = Bench(sync_targets=2)
    assert {peer for peer, _data in bench.syncs} == {PEER, OTHER}
    bench.node.sync_answer(S2, PEER, bench.now, bench.wall)
    assert not bench.node.synced
    bench.node.sync_failed(OTHER, bench.now, "x")
    bench.wait(1)
    assert [peer for peer, _data in bench.take("syncs")] == [OTHER]
    bench.node.sync_answer(S2, OTHER, bench.now, bench.wall)
    assert bench.node.synced


@pytest.mark.parametrize("keys", [{"svcnode_peers": ()}, {"sync_targets": 0}])
def test_with_nobody_to_ask_it_is_as_synchronised_as_can_be(keys):
    bench = Bench(**keys)
    assert (bench.syncs, bench.node.synced) == ([], True)


def test_proxies_are_asked_first_where_wanted():
    keys = {"vxfld_proxy_servers": (PROXY1,), "sync_from_proxy": True}
    bench = Bench(**keys)
    assert [peer for peer, _data in bench.syncs] == [PROXY1]
    bench.node.sync_failed(PROXY1, bench.now, "x")
    bench.wait(1)
    assert bench.take("syncs")[0][0] in (PEER, OTHER)
    assert PROXY1 not in [peer for peer, _data in Bench(vxfld_proxy_servers=(PROXY1,)).syncs]


def test_peers_may_change_while_it_runs(bench):
    bench.node.sync_answer(S2, bench.syncs[0][0], bench.now, bench.wall)
    third = (ip("2001:db8:f::3"), 10007)
    bench.node.configure(dataclasses.replace(bench.node.settings, svcnode_peers=(OTHER, third)), bench.now)
    bench.tick()
    assert [peer for peer, _data in bench.take("syncs")] == [third], "the new one is asked at once"
    bench.hear(R1, A)
    assert {end for data, end in bench.take("outbox") if data == R3} == {OTHER, third}
    bench.node.static_add(100, B, bench.now)
    bench.tick()
    assert {peer for peer, _data in bench.take("pushes")} == {OTHER, third}


def test_a_deletion_reaches_a_peer_that_was_away_and_does_not_come_back_from_it():
    one, two = Bench(svcnode_peers=(PEER,)), Bench(src_ip={4: PEER[0]}, svcnode_peers=((OWN, PORT),))
    one.node.static_add(100, A, one.now)
    one.tick()
    two.node.sync_request(one.take("pushes")[0][1], (OWN, 1), two.now, two.wall)
    one.node.pushed(PEER)
    one.node.static_del(100, A, one.now)
    one.tick()
    one.take("pushes")
    one.node.push_failed(PEER, one.now, "unreachable")
    peer = one.syncs[0][0]
    one.node.sync_answer(two.node.sync_request(S1, (OWN, 1), two.now, two.wall), peer, one.now, one.wall)
    assert (one.state(), len(two.state())) == ([], 1)
    one.wait(2)
    two.node.sync_request(one.take("pushes")[0][1], (OWN, 1), two.now, two.wall)
    assert two.state() == []


# -- Snapshot


def test_a_snapshot_restores_what_has_not_expired_meanwhile(bench):
    bench.register(A, ID)
    bench.register(B6, ID + 1, holdtime=20)
    bench.node.static_add(101, B, bench.now)
    bench.node.static_add(101, C, bench.now)
    bench.node.static_del(101, C, bench.now)
    assert bench.node.unsaved
    saved = bench.node.snapshot(bench.now, bench.wall)
    assert not bench.node.unsaved
    other = Bench()
    other.node.restore(saved, other.now, bench.wall + 30)
    assert other.state() == [(100, A, 60, ID), (101, B, STATIC, 0)]
    assert other.node.changed == {100, 101}
    state = messages.encode(Sync(vteps={101: [(C, STATIC, 0)]}, response_type=0))
    other.node.sync_answer(state, other.syncs[0][0], other.now, other.wall)
    assert len(other.state()) == 2, "that it was deleted is not forgotten"


def test_a_snapshot_of_the_future_is_not_aged(bench):
    bench.register(A, ID)
    saved = bench.node.snapshot(bench.now, bench.wall)
    other = Bench()
    other.node.restore(saved, other.now, bench.wall - 1000)
    assert other.state() == [(100, A, 90, ID)]


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8) + b"\x03", bytes(8) + R1])
def test_a_broken_snapshot_is_malformed(bench, data):
    with pytest.raises(Malformed):
        bench.node.restore(data, bench.now, bench.wall)


def test_the_address_of_a_peer_or_proxy_is_never_a_vteps():
    """Without a common svcnode_ip, each would send the other's copies back."""
    bench = Bench(vxfld_proxy_servers=(PROXY1,))
    for far in (PEER[0], PROXY1[0]):
        bench.register(far, ID, 100, 101, source=C)
        bench.register(far, 0, asked=None, source=C)
        bench.hear(Refresh(originator=False, holdtime=90, identifier=ID + 1, vteps={100: [far]}), OTHER)
        news = messages.encode(Sync(vteps={100: [(far, 90, ID), (far, STATIC, 0)]}, response_type=0))
        bench.node.sync_request(news, PEER, bench.now, bench.wall)
        bench.node.learned(100, far, bench.now)
        bench.take("pushes")
        bench.node.static_add(100, far, bench.now)
        bench.wait(1)
        assert bench.take("pushes") == [], "peers are not told either"
    assert bench.state() == [] and bench.node.targets(100) == ()
    assert bench.node.counters["service nodes refused"] == 2 * 8
    assert bench.node.counters["learned"] == 0
    told = dict(bench.alarms())
    assert "198.51.100.2 is the address of a service node" in told["service node refused", PEER[0]]
    assert ("service node refused", PROXY1[0]) in told


def test_who_becomes_a_peer_is_no_target_any_more_and_who_was_one_may_be(bench):
    three(bench)
    bench.register(C, 0, 102, asked=None)
    bench.sent()
    keys = {"src_ip": {4: OWN}, "svcnode_ip": {4: ANYCAST}}
    bench.node.configure(config.Vxsnd(**keys, svcnode_peers=(PEER, (C, PORT))), bench.now)
    assert {100, 102} <= bench.node.changed
    assert C not in bench.node.targets(100) and bench.node.targets(102) == ()
    bench.wait(0.1)
    (told,) = bench.sent(A)
    assert told.extension.gone == {100: [C]}
    bench.register(OTHER[0], ID + 7)
    assert OTHER[0] in bench.node.targets(100)


# -- PROXY

FRAME = bytes.fromhex("0800000000006400ffffffffffff02000000007788b578787878")


def areas(**keys):
    return Bench(src_ip={}, area=1, vxfld_proxy_servers=(PROXY1, PROXY2), svcnode_peers=(), **keys)


def test_a_data_frame_goes_to_the_proxies():
    bench = areas()
    bench.node.frame(FRAME, (A, 52618), bench.now, bench.wall)
    assert bench.take("outbox") == [(P1, PROXY1), (P1, PROXY2)]
    bench = Bench(area=1, vxfld_proxy_servers=(PROXY1,))
    bench.node.frame(FRAME, (A, 52618), bench.now, bench.wall)
    message = messages.decode(bench.octets(PROXY1)[0])
    assert (message.proxy_ips, message.proxy_hops) == ([OWN], 1)
    assert messages.encode(dataclasses.replace(message, proxy_ips=[], proxy_hops=None)) == P1


@pytest.mark.parametrize(("frame", "unsent"), [(FRAME[:7], 0), (b"\0" + FRAME[1:], 0)])
def test_what_is_no_vxlan_goes_to_nobody(frame, unsent):
    bench = areas()
    bench.node.frame(frame, (A, 52618), bench.now, bench.wall)
    assert (bench.take("outbox"), bench.node.counters["proxy unsent"]) == ([], unsent)


def test_frames_that_proxy_cannot_carry_are_counted_and_named():
    bench = areas()
    bench.node.frame(FRAME, (A6, 52618), bench.now, bench.wall)
    bench.node.frame(FRAME + bytes(65_500), (A, 52618), bench.now, bench.wall)
    assert (bench.take("outbox"), bench.node.counters["proxy unsent"]) == ([], 2)
    assert "IPv6" in dict(bench.alarms())["proxy unsent"]
    bench = Bench(vxfld_proxy_servers=(PROXY1,))
    bench.node.frame(FRAME, (A, 52618), bench.now, bench.wall)
    assert "no area" in dict(bench.alarms())["proxy unsent"]


def test_a_proxied_frame_of_the_own_area_is_forwarded_and_not_flooded():
    bench = areas()
    bench.hear(P1, B)
    assert bench.take("outbox") == [(P2, PROXY1), (P2, PROXY2)]
    assert bench.take("frames") == []


def test_a_proxied_frame_of_another_area_is_flooded_with_its_source_and_not_learned():
    bench = Bench(area=2, vxfld_proxy_servers=(PROXY1,))
    bench.hear(P1, B)
    assert bench.take("frames") == [(100, A, 52618, FRAME)]
    assert bench.take("outbox") == [], "proxy_local_only"
    assert bench.state() == []
    bench = Bench(area=2, enable_flooding=False, proxy_local_only=False, vxfld_proxy_servers=(PROXY1,))
    bench.hear(P1, B)
    assert bench.take("frames") == []
    (data,) = bench.octets(PROXY1)
    message = messages.decode(data)
    assert messages.encode(dataclasses.replace(message, proxy_ips=[], proxy_hops=None)) == P2


def test_it_is_not_forwarded_when_ttl_is_used_up():
    bench = areas()
    bench.hear(dataclasses.replace(messages.decode(P1), ttl=1), B)
    assert bench.take("outbox") == []
    bench.hear(dataclasses.replace(messages.decode(P1), ttl=2), B)
    assert [messages.decode(data).ttl for data, _end in bench.take("outbox")] == [1, 1]


def test_a_ttl_from_the_wire_is_4_at_most():
    bench = areas()
    bench.hear(dataclasses.replace(messages.decode(P1), ttl=4_000_000_000), B)
    assert [messages.decode(data).ttl for data, _end in bench.take("outbox")] == [3, 3]


def test_it_is_not_sent_to_where_it_was():
    bench = areas()
    bench.hear(dataclasses.replace(messages.decode(P1), proxy_ips=[PROXY2[0]], proxy_hops=1), PROXY1)
    assert bench.take("outbox") == []


def test_a_circle_of_proxies_ends_with_the_own_address_in_it():
    first = Bench(area=1, proxy_local_only=False, vxfld_proxy_servers=(PROXY1,))
    second = Bench(src_ip={4: PROXY1[0]}, area=1, proxy_local_only=False, vxfld_proxy_servers=(PROXY2,))
    first.hear(dataclasses.replace(messages.decode(P1), ttl=4_000_000_000), B)
    (data,) = first.octets(PROXY1)
    second.hear(data, OWN)
    (data,) = second.octets(PROXY2)
    assert messages.decode(data).proxy_ips == [OWN, PROXY1[0]]
    assert messages.decode(data).proxy_hops == 2
    first.hear(data, PROXY2)
    assert (first.take("outbox"), first.node.counters["proxy looped"]) == ([], 1)


@pytest.mark.parametrize("change", [{"srcip": None}, {"vxlan_pkt": FRAME[:7]}, {"vxlan_pkt": bytes(30)}])
def test_a_proxied_frame_that_is_none_is_dropped(change):
    bench = Bench(area=2, vxfld_proxy_servers=(PROXY1,), proxy_local_only=False)
    bench.hear(dataclasses.replace(messages.decode(P1), **change), B)
    assert (bench.take("frames"), bench.take("outbox"), bench.node.counters["malformed"]) == ([], [], 1)


def test_refreshes_go_to_proxies_where_wanted_as_from_a_vxrd():
    bench = Bench(vxfld_proxy_servers=(PROXY1,))
    bench.hear(R2, A)
    assert bench.octets(PROXY1) == []
    bench = Bench(vxfld_proxy_servers=(PROXY1,), refresh_proxy_servers=True)
    bench.hear(R1, A)
    (data,) = bench.octets(PROXY1)
    assert data == R3.replace(b"\x08\x00", b"\x08\x01", 1)


def test_refreshes_that_go_round_in_a_circle_of_proxies_come_to_rest():
    ends = [(ip(f"198.51.100.3{n}"), PORT) for n in range(3)]
    nodes = [
        Bench(src_ip={4: ends[n][0]}, svcnode_peers=(), vxfld_proxy_servers=(ends[n - 1],), refresh_proxy_servers=True)
        for n in range(3)
    ]
    nodes[0].hear(R2, A)
    passed = 0
    for _turn in range(100):
        for n, node in enumerate(nodes):
            for data, end in node.take("outbox"):
                passed += 1
                nodes[ends.index(end)].hear(data, ends[n])
    assert 3 <= passed <= 9
    assert sum(node.node.counters["circling"] for node in nodes) == 1
    nodes[0].now += 30
    nodes[0].hear(R2, A)
    assert len(nodes[0].octets(ends[2])) == 1, "the next refresh goes on"


# -- Everything else


def test_targets_and_registered_are_the_replicators(bench):
    bench.node.learned(100, A, bench.now)
    assert (bench.node.targets(100), bench.node.registered(100)) == ((A,), ())
    bench.node.changed.clear()
    bench.register(A, ID)
    assert bench.node.changed == {100}, "it is registered now, though the set is the same"
    assert (bench.node.targets(100), bench.node.registered(100)) == ((A,), (A,))
    bench.node.changed.clear()
    bench.register(A, ID)
    assert bench.node.changed == set()


def test_expired_entries_are_never_used(bench):
    bench.register(A, ID, asked=None)
    bench.now += 91  # without a tick
    assert bench.state() == []
    bench.register(A, ID, asked=None)
    bench.now += 91
    bench.register(B, ID + 1, new=False)
    assert [one.vteps for one in bench.sent(B)] == [{100: [B]}]
    bench.now += 91
    assert bench.node.sync_request(S1, PEER, bench.now, bench.wall) == S2


def test_settings_may_change_while_it_runs(bench):
    bench.node.configure(
        dataclasses.replace(bench.node.settings, holdtime=30, allow=config.prefixes("192.0.2.2/32")), bench.now
    )
    bench.hear(R1, A)
    assert bench.state() == []
    bench.register(B, ID, new=False)
    assert bench.sent(B)[0].holdtime == 30


def test_it_wakes_up_for_the_first_thing_due(bench):
    bench.node.sync_answer(S2, bench.syncs[0][0], bench.now, bench.wall)
    assert bench.tick() == bench.now + 30
    bench.register(A, ID, asked=None)
    assert bench.tick() == bench.now + WINDOW
    bench.wait(2)
    bench.hear(Refresh(originator=False, identifier=3, holdtime=5, vteps={100: [B]}), PEER)
    bench.wait(WINDOW + CONFIRM)
    assert bench.now < bench.tick() <= bench.now + 5


def test_nothing_is_left_when_all_have_gone(bench):
    chance = random.Random(2)
    for _turn in range(3000):
        n = chance.randrange(1, 200)
        address = bytes([10, 0, 0, n]) if n % 2 else bytes.fromhex("20010db8") + n.to_bytes(12, "big")
        bench.register(address, n, chance.randrange(100, 140), new=n % 3 > 0, holdtime=chance.choice([0, 5, 60]))
        if chance.random() < 0.1:
            bench.wait(chance.random())
            bench.take("outbox")
    bench.wait(120)
    node = bench.node
    assert node.registrations.count == len(node.registrations.touched) == len(node._subscribers) == 0
    assert (len(node._owed), len(node._timed), node._pacer.waiting) == (0, 0, 0)
    assert node._timers == []

# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxsnd answers, relays and tells, without network and clock."""

import ipaddress
import random
import time
import tracemalloc

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, config, messages
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import STATIC, Extension, Refresh
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.service_node import ServiceNode


def vector(text):
    return bytes.fromhex(text)


def ip(text):
    return ipaddress.ip_address(text).packed


R1 = vector("03010801105a1801208180808080402a0d086412090a070a05c001000201")
R3 = vector("03010800105a1800208180808080402a0d086412090a070a05c001000201")
R4 = vector("03010800105a180020002a23086412090a070a05c00100020112090a070a05c00100020312090a070a05c001000202")
R5 = vector("030108011000208180808080402a0d086412090a070a05c001000201")
R6 = vector("0301080010001800208180808080402a0d086412090a070a05c001000201")
S1, S2 = vector("03031802"), vector("03031800")
S3 = vector(
    "0303123e086412120a070a05c00100020310551883808080804012120a070a05c00100020210551882808080804012120a070a05c001000201"
    "1055188180808080401800"
)
S5 = vector("0303121408f503120f0a070a05c00100020910ffff0318001800")
S6 = vector("0303121208f503120d0a070a05c001000209100018001800")
P1 = vector("0302188a9b0322070a05c00100020128013a1a0800000000006400ffffffffffff02000000007788b578787878")
V2A = vector("02010001005a0001000003860002c0000201c6120002")

OWN, PEER, PEER2 = ip("198.51.100.1"), (ip("198.51.100.2"), 10001), (ip("198.51.100.3"), 10001)
A, B, C = (ip(f"192.0.2.{number}") for number in (1, 2, 3))
NODE = 0x020000000000


def at(address):
    return address, 10001


class Bench:
    def __init__(self, **keys):
        self.now = 1000.0
        self.keys = {"src_ip": {4: OWN}, "svcnode_peers": (PEER,), **keys}
        self.node = ServiceNode(config.Vxsnd(**self.keys), 7, random.Random(1))

    def hear(self, message, source):
        data = message if isinstance(message, bytes) else messages.encode(message)
        self.node.datagram(data, source, self.now, self.now)
        return self.sent()

    def sent(self):
        told, self.node.outbox[:] = list(self.node.outbox), []
        return told

    def till(self, seconds):
        """Let time go by; what was sent."""
        end, seen = self.now + seconds, []
        while True:
            due = self.node.tick(self.now, self.now)
            assert due > self.now, "a wake-up that is due already would spin"
            seen += self.sent()
            if due > end:
                break
            self.now = due
        self.now = end
        return seen

    def pushes(self):
        self.node.tick(self.now, self.now)
        told, self.node.pushes[:] = list(self.node.pushes), []
        for peer, _data in told:
            self.node.pushed(peer)
        return told

    def alarms(self):
        told, self.node.alarms[:] = list(self.node.alarms), []
        return told

    def sync(self, data, peer=PEER):
        return self.node.sync_request(data, peer, self.now, self.now)

    def dump(self):
        return list(self.node.dump(self.now))


def register(address, number, vni=100, new=True, holdtime=90, ask=1, machine=None):
    extension = Extension(machine=machine) if new else None
    return Refresh(
        originator=True,
        holdtime=holdtime,
        response_type=ask,
        identifier=NODE + number,
        vteps={vni: [address]},
        extension=extension,
    )


def to(address, sent):
    return [messages.decode(data) for data, destination in sent if destination == at(address)]


# -- The vectors, as exchanges


def test_a_registration_is_relayed_and_answered_and_a_withdrawal_relayed():
    bench = Bench()
    bench.hear(messages.encode(register(C, 3, new=False)), at(C))
    bench.hear(messages.encode(register(B, 2, new=False)), at(B))
    sent = bench.hear(R1, at(A))
    assert (R3, PEER) in sent
    (answer,) = to(A, sent)
    assert sorted(answer.vteps[100]) == [A, B, C]
    assert (len(sent), len(messages.encode(answer))) == (2, len(R4))
    assert bench.hear(R5, at(A)) == [(R6, PEER)]
    assert sorted(bench.node.targets(100)) == [B, C]


def test_the_answer_of_the_vector():
    bench = Bench(svcnode_peers=())
    bench.hear(R1, at(A))
    for number, address in ((3, C), (2, B)):
        bench.hear(register(address, number, new=False), at(address))
    assert bench.hear(R1, at(A)) == [(R4, at(A))]


def test_a_relay_is_not_relayed_again_nor_answered():
    bench = Bench()
    assert bench.hear(R3, PEER) == []
    assert bench.node.targets(100) == (A,)


def test_a_registration_of_version_2_is_answered_in_it():
    bench = Bench()
    sent = bench.hear(V2A, at(A))
    assert (vector("02010000005a0000000003860002c0000201c6120002"), at(A)) in sent


def test_a_database_is_given():
    bench = Bench()
    assert bench.sync(S1) == S2
    assert bench.sync(S3) is None
    assert bench.sync(S1) == S3
    assert [row[2] for row in bench.dump()] == [0x55] * 3


def test_static_entries_are_told_to_peers():
    bench, other = Bench(), Bench()
    address = ip("192.0.2.9")
    bench.node.static_add(501, address, bench.now)
    assert bench.pushes() == [(PEER, S5)]
    other.sync(S5)
    assert other.dump() == [(501, address, STATIC, 0)]
    assert bench.node.static_del(501, address, bench.now)
    assert bench.pushes() == [(PEER, S6)]
    other.sync(S6)
    assert other.dump() == [] == bench.dump()
    assert other.node.targets(501) == ()


def test_a_proxied_frame_is_forwarded_with_our_address_and_flooded():
    proxy = (ip("198.51.100.77"), 10002)
    bench = Bench(vxfld_proxy_servers=(proxy,), area=2, proxy_local_only=False)
    ((data, destination),) = bench.hear(P1, at(ip("198.51.100.50")))
    message = messages.decode(data)
    assert (destination, message.ttl, message.proxy_ips, message.proxy_hops) == (proxy, 3, [OWN], 1)
    assert message.vxlan_pkt == messages.decode(P1).vxlan_pkt
    assert bench.node.frames == [(100, A, 52618, message.vxlan_pkt)]
    assert bench.hear(data, at(ip("198.51.100.50"))) == [], "it was here before"
    assert bench.node.counters["proxy looped"] == 1


def test_without_an_own_address_a_forwarded_frame_is_that_of_upstream():
    proxy = (ip("198.51.100.77"), 10002)
    bench = Bench(src_ip={}, vxfld_proxy_servers=(proxy,), area=2, proxy_local_only=False)
    p2 = P1[:2] + b"\x08\x03" + P1[2:]
    assert bench.hear(P1, at(ip("198.51.100.50"))) == [(p2, proxy)]


# -- Pushes


def test_changes_are_gathered_and_told_as_one_delta():
    bench = Bench(svcnode_peers=())
    vteps = [ip(f"192.0.2.{number}") for number in range(1, 11)]
    for number, address in enumerate(vteps):
        bench.hear(register(address, number), at(address))
    bench.till(10)
    joins = [ip("192.0.2.101"), ip("192.0.2.102")]
    for number, address in enumerate(joins):
        bench.hear(register(address, 100 + number), at(address))
    bench.hear(register(vteps[9], 9, holdtime=0, ask=None), at(vteps[9]))
    before = bench.node.registrations.vni(100).generation
    sent = bench.till(0.06)
    (delta,) = to(vteps[0], sent)
    assert sorted(delta.vteps[100]) == joins
    assert delta.extension.gone == {100: [vteps[9]]}
    assert (delta.extension.base, delta.extension.source) == (before, 7)
    assert delta.extension.generation == bench.node.registrations.vni(100).generation > before
    assert to(vteps[9], sent) == []
    (told,) = to(joins[0], sent)
    assert len(told.vteps[100]) == 11, "who came gets the whole"


def test_old_nodes_are_pushed_the_whole_set_and_nobody_without_push():
    for push in (True, False):
        bench = Bench(svcnode_peers=(), push=push)
        bench.hear(register(A, 1, new=False), at(A))
        bench.till(5)
        bench.hear(register(B, 2), at(B))
        told = [sorted(message.vteps[100]) for message in to(A, bench.till(0.06))]
        assert told == ([[A, B]] if push else [])


@pytest.mark.parametrize("family", [4, 6])
def test_2000_vteps_in_a_vni(family):
    bench = Bench(svcnode_peers=())
    base = ip("10.0.0.1" if family == 4 else "2001:db8::1")
    vteps = [(int.from_bytes(base, "big") + number).to_bytes(len(base), "big") for number in range(2000)]
    for number, address in enumerate(vteps):
        bench.hear(register(address, number, ask=0), at(address))
    bench.till(1)
    bench.alarms()
    asker = vteps[0]
    sent = bench.hear(register(asker, 0), at(asker)) + bench.till(5)
    assert {destination for _data, destination in sent} == {at(asker)}
    assert all(len(data) + messages.HEADERS <= 1500 for data, _destination in sent)
    parts = messages.Reassembly()
    whole, *confirmations = filter(None, (parts.add(messages.decode(data), 0.0) for data, _destination in sent))
    assert whole.extension.base is None
    assert set(whole.vteps[100]) == set(vteps)
    assert all(one.extension.base == whole.extension.generation for one in confirmations)
    old = vteps[5] if family == 4 else A
    sent = bench.hear(register(old, 5 if family == 4 else 5000, new=False), at(old))
    long = [text for key, text in bench.alarms() if key == ("long", 100)]
    (answer,) = to(old, sent)
    if family == 4:
        assert set(answer.vteps[100]) == set(vteps)
        assert long
        assert "max_packet_size" in long[0]
    else:
        assert (answer.vteps, long) == ({100: [A]}, []), "an old node knows no IPv6"


# -- Entries


def test_ageing_is_exact():
    bench = Bench()
    bench.hear(R1, at(A))
    bench.till(89.9)
    assert bench.node.targets(100) == (A,)
    bench.till(1.1)
    assert bench.node.targets(100) == ()
    assert bench.dump() == []
    assert bench.node.counters["expired"] == 1


def test_static_stays_static():
    bench = Bench()
    bench.node.static_add(100, A, bench.now)
    bench.node.learned(100, A, bench.now)
    bench.sync(messages.encode(messages.Sync(vteps={100: [(A, 30, 0)]}, response_type=0)))
    bench.hear(Refresh(originator=True, holdtime=30, vteps={100: [A]}), at(A))
    bench.till(1000)
    assert bench.dump() == [(100, A, STATIC, 0)]


def test_forced_removal_takes_what_is_registered():
    bench = Bench()
    bench.hear(R1, at(A))
    assert not bench.node.static_del(100, A, bench.now)
    assert bench.node.targets(100) == (A,)
    bench.pushes()
    assert bench.node.static_del(100, A, bench.now, force=True)
    assert bench.node.targets(100) == ()
    ((_peer, data),) = bench.pushes()
    assert messages.decode(data).vteps == {100: [(A, 0, 0), (A, 0, NODE + 1)]}


def test_static_replace_tells_what_differs():
    bench = Bench()
    bench.node.static_replace([(100, A), (100, B)], bench.now)
    bench.pushes()
    bench.node.static_replace([(100, B), (200, C)], bench.now)
    ((_peer, data),) = bench.pushes()
    assert messages.decode(data).vteps == {100: [(A, 0, 0)], 200: [(C, STATIC, 0)]}


def test_a_sync_entry_of_holdtime_0_removes_at_once():
    bench = Bench()
    bench.hear(R1, at(A))
    bench.sync(messages.encode(messages.Sync(vteps={100: [(A, 0, NODE + 1)]}, response_type=0)))
    assert bench.node.targets(100) == ()


def test_what_is_learned_is_told_again_before_peers_forget_it():
    bench = Bench()
    bench.node.learned(100, A, bench.now)
    ((_peer, data),) = bench.pushes()
    assert messages.decode(data).vteps == {100: [(A, 90, 0)]}
    bench.node.learned(100, A, bench.now + 1)
    assert bench.pushes() == []
    bench.till(31)
    bench.node.learned(100, A, bench.now)
    assert len(bench.pushes()) == 1
    assert (bench.node.targets(100), bench.node.registered(100)) == ((A,), ())
    bench.till(91)
    assert bench.node.targets(100) == ()


def test_two_hosts_with_one_node_id_are_named():
    bench = Bench()
    bench.hear(register(A, 1, machine=bytes(16)), at(A))
    assert bench.alarms() == []
    bench.hear(register(B, 1, machine=bytes(15) + b"\x01"), at(B))
    ((key, text),) = bench.alarms()
    assert key == ("clash", NODE + 1)
    assert all(word in text for word in (str(NODE + 1), "192.0.2.1", "192.0.2.2"))
    assert bench.node.counters["clashes"] == 1


# -- Peers, and who is believed


def test_peers_change_at_run_time():
    bench = Bench()
    bench.till(0)
    bench.node.syncs.clear()
    bench.node.sync_answer(S2, PEER, bench.now, bench.now)
    own = (OWN, 10001)
    bench.node.configure(config.Vxsnd(**{**bench.keys, "svcnode_peers": (PEER2, own)}), bench.now)
    bench.till(0)
    assert [peer for peer, _data in bench.node.syncs] == [PEER2]
    assert [destination for _data, destination in bench.hear(R1, at(A))] == [PEER2, at(A)]


def test_the_allow_list():
    bench = Bench(allow=(config.Prefix(ip("192.0.2.0"), 31), config.Prefix(ip("198.51.100.0"), 24)))
    bench.hear(R1, at(A))
    assert bench.hear(register(B, 2), at(B)) == []
    assert bench.node.targets(100) == (A,)
    assert bench.node.counters["denied"] == 1
    assert bench.sync(S1, at(B)) is None
    bench.node.learned(100, B, bench.now)
    assert bench.node.targets(100) == (A,)


def test_with_a_key_nothing_else_is_believed_nor_sent():
    key = b"k" * 32
    bench, outside = Bench(auth_key=key), auth.Authenticator(key)
    assert bench.hear(R1, at(A)) == []
    assert bench.sync(S1) is None
    assert bench.node.counters["refused"] == 2
    data = outside.seal(register(A, 1), bench.now)
    sent = bench.hear(data, at(A)) + bench.till(0.1)
    assert {destination for _data, destination in sent} == {PEER, at(A)}
    for octets, _destination in sent:
        auth.Authenticator(key).open(octets, bench.now, bench.now)
    assert bench.hear(data, at(A)) == [], "a replay"
    assert bench.node.counters["refused"] == 3


def test_snapshot_and_restore_reckon_with_the_time_between():
    bench, later = Bench(), Bench()
    bench.hear(R1, at(A))
    bench.node.static_add(100, B, bench.now)
    data = bench.node.snapshot(bench.now, 5000.0)
    later.node.restore(data, later.now, 5030.0)
    assert later.dump() == [(100, A, 60, NODE + 1), (100, B, STATIC, 0)]
    gone = Bench()
    gone.node.restore(data, gone.now, 5090.0)
    assert gone.dump() == [(100, B, STATIC, 0)]


# -- Size


def test_100_000_registrations_refreshed():
    tracemalloc.start()
    bench = Bench(svcnode_peers=())
    datagrams = []
    for host in range(1000):
        address = ip(f"10.1.{host // 250}.{host % 250 + 1}")
        vteps = {1000 + (host + more) % 1000: [address] for more in range(100)}
        message = Refresh(originator=True, holdtime=90, response_type=0, identifier=NODE + host, vteps=vteps)
        datagrams.append((messages.encode(message), at(address)))
    empty = tracemalloc.get_traced_memory()[0]
    for data, source in datagrams:
        bench.node.datagram(data, source, bench.now, bench.now)
    bench.till(1)
    held = tracemalloc.get_traced_memory()[0] - empty
    tracemalloc.stop()
    assert bench.node.registrations.count == 100_000
    began = time.process_time()
    bench.till(30)
    for data, source in datagrams:
        bench.node.datagram(data, source, bench.now, bench.now)
    bench.till(1)
    print(f"100,000 registrations: {held / 1e6:.0f} MB; refreshed in {time.process_time() - began:.2f} s of CPU")
    bench.till(85)
    assert bench.node.registrations.count == 100_000
    assert bench.node.counters["expired"] == 0
    bench.till(10)
    assert bench.node.registrations.count == 0
    assert bench.node.counters["expired"] == 100_000

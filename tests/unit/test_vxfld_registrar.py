# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxrd registers when, and what answers make of its flood lists, without network, kernel or clock."""

import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, config, messages
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.messages import Extension, Refresh
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.registrar import Device, Registrar
from hypothesis import given, settings
from hypothesis import strategies as st

NODE, MACHINE = 0x020000000001, bytes(range(16))
R1 = bytes.fromhex("03010801105a1801208180808080402a0d086412090a070a05c001000201")
R2 = bytes.fromhex("03010801105a208180808080402a0d086412090a070a05c001000201")
R4 = bytes.fromhex("03010800105a180020002a23086412090a070a05c00100020112090a070a05c00100020312090a070a05c001000202")
R5 = bytes.fromhex("030108011000208180808080402a0d086412090a070a05c001000201")
V2B = bytes.fromhex("02010000005a0000000003860002c0000201c6120002")


def ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


A, B, C, D = (ip(f"192.0.2.{n}") for n in (1, 2, 3, 4))
A6, B6, C6 = (ip(f"2001:db8::{n}") for n in (1, 2, 3))
SERVERS = {4: ip("203.0.113.100"), 6: ip("2001:db8:100::1")}
FROM, FROM6 = (ip("203.0.113.1"), 10001), (ip("2001:db8:100::2"), 10001)
VX100 = Device("vxlan100", 7, 100, A)
VX6 = Device("vxlan6", 8, 600, A6)


class Bench:
    """A Registrar with its clock."""

    def __init__(self, *devices, **keys):
        self.now = 1000.0
        self.registrar = Registrar(config.Vxrd(**{"svcnode_ip": SERVERS, **keys}), NODE, MACHINE, self.now)
        if devices:
            self.devices(*devices)

    def devices(self, *devices):
        self.registrar.devices(devices, self.now)

    def sent(self):
        """What was sent since the last call: (holdtime, response_type, {vni: addresses}, where to)."""
        told, self.registrar.outbox[:] = list(self.registrar.outbox), []
        made = []
        for data, (address, port) in told:
            message = messages.decode(data)
            assert port == 10001
            assert (message.originator, message.identifier) == (True, NODE)
            assert (message.extension.revision, message.extension.machine) == (1, MACHINE)
            made.append((message.holdtime, message.response_type, message.vteps, address))
        return made

    def alarms(self):
        told, self.registrar.alarms[:] = [text for _key, text in self.registrar.alarms], []
        return told

    def changed(self):
        told = set(self.registrar.changed)
        self.registrar.changed.clear()
        return told

    def till(self, when):
        """Let time go by; [(when, what was sent)]"""
        seen = []
        while True:
            due = self.registrar.tick(self.now, 0.0)
            assert due > self.now, "a wake-up that is due already would spin"
            seen += [(self.now, one) for one in self.sent()]
            if due > when:
                break
            self.now = due
        self.now = when
        return seen

    def hear(self, message, source=FROM):
        data = message if isinstance(message, bytes) else messages.encode(message)
        self.registrar.datagram(data, source, self.now, 0.0)
        return self.registrar.floods

    def count(self, name):
        return self.registrar.counters[name]


def answer(vteps, **extension):
    message = Refresh(originator=False, holdtime=90, response_type=0, identifier=0, vteps=vteps)
    if extension:
        message.extension = Extension(**{"source": 5, **extension})
    return message


def test_a_register_is_upstreams_with_the_extension_behind():
    bench = Bench(VX100)
    ((data, to),) = bench.registrar.outbox
    assert data.startswith(R1) and data[len(R1)] == 0x7A
    assert to == (SERVERS[4], 10001)
    bench.registrar.withdraw(bench.now)
    data, to = bench.registrar.outbox[-1]
    assert data.startswith(R5) and data[len(R5)] == 0x7A
    assert to == (SERVERS[4], 10001)
    bench = Bench(Device("vxlan100", 7, 100, A, remote=SERVERS[4]), head_rep=False)
    assert bench.registrar.outbox[0][0].startswith(R2)


def test_registers_at_the_start_a_second_later_and_thrice_a_holdtime():
    bench = Bench(VX100)
    assert bench.sent() == [(90, 1, {100: [A]}, SERVERS[4])]
    bench.hear(R4)
    times = [when - 1000 for when, _one in bench.till(1070)]
    assert times == [1, 31, 61]
    bench = Bench(VX100, holdtime=10, refresh_rate=4)
    bench.hear(R4)
    bench.sent()
    assert [when - 1000 for when, _one in bench.till(1006)] == [1, 3, 5]


def test_nothing_is_sent_without_devices():
    bench = Bench()
    assert bench.till(1200) == []
    bench.devices()
    assert bench.till(1400) == []


def test_a_device_that_comes_changes_or_goes_is_told_at_once():
    bench = Bench(VX100)
    bench.hear(R4)
    bench.till(1005)
    bench.devices(VX100, Device("vxlan200", 9, 200, A))
    assert bench.sent() == [(90, 1, {200: [A]}, SERVERS[4])]
    # Unanswered, it is told once more a second later.
    assert bench.till(1006) == [(1006, (90, 1, {200: [A]}, SERVERS[4]))]
    bench.hear(answer({200: [A]}))
    bench.devices(VX100, Device("vxlan200", 9, 200, B))
    assert bench.sent() == [(90, 1, {200: [B]}, SERVERS[4])], "the new address replaces the old one of the same node id"
    bench.devices(VX100, Device("vxlan200", 9, 200, B, up=False))
    assert bench.sent() == [(0, None, {200: [B]}, SERVERS[4])]
    bench.devices(Device("vxlan200", 9, 200, B))
    assert bench.sent() == [(0, None, {100: [A]}, SERVERS[4]), (90, 1, {200: [B]}, SERVERS[4])]
    bench.devices(Device("vxlan200", 9, 200, A6))
    assert bench.sent() == [(0, None, {200: [B]}, SERVERS[4]), (90, 1, {200: [A6]}, SERVERS[6])]
    assert bench.alarms() == []


def test_each_family_has_its_service_node():
    bench = Bench(VX100, VX6)
    assert bench.sent() == [(90, 1, {100: [A]}, SERVERS[4]), (90, 1, {600: [A6]}, SERVERS[6])]
    bench.hear(answer({600: [A6, B6, C]}, generation=1), FROM6)
    assert bench.registrar.floods == {"vxlan100": None, "vxlan6": {B6}}


def test_registers_are_split_by_size():
    devices = [Device(f"vxlan{vni}", vni, vni, A) for vni in range(1, 501)]
    bench = Bench(*devices)
    sizes = [len(data) for data, _to in bench.registrar.outbox]
    assert len(sizes) > 5 and max(sizes) + 42 <= 1500
    assert {vni for _h, _r, vteps, _to in bench.sent() for vni in vteps} == set(range(1, 501))
    assert bench.count("registers") == len(sizes)


def test_service_node_mode():
    own = ip("203.0.113.7")
    devices = Device("a", 1, 100, A, remote=own), Device("b", 2, 200, A, remote=B), Device("c", 3, 300, A)
    bench = Bench(*devices, head_rep=False, svcnode_ip={})
    assert bench.sent() == [(90, None, {100: [A]}, own), (90, None, {200: [A]}, B)]
    assert bench.alarms() == [
        "c has no remote, and in service-node mode that is where BUM frames go; make it with 'remote ADDRESS'"
    ]
    bench.hear(R4)
    assert bench.count("unexpected") == 1
    assert not any(bench.registrar.floods.values())
    assert len(bench.till(1300)) == 2 * 10, "no contact is lost where none is expected"
    assert bench.alarms() == []
    assert Bench(devices[0], head_rep=False).sent() == [(90, None, {100: [A]}, SERVERS[4])]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (Device("x", 1, 100), "x has no local address"),
        (Device("x", 1, 100, A6), "x has an IPv6 address, and svcnode_ip names no service node of IPv6"),
        (Device("x", 1, 0, A, flags=frozenset(["external"])), "x is made with 'external'"),
        (Device("x", 1, 100, A, flags=frozenset(["multicast"])), "x floods to a multicast group"),
        (Device("x", 1, 1 << 24, A), "x has VNI 16777216, which is none"),
        (Device("x", 1, 100, ip("224.0.0.1")), "x has the local address 224.0.0.1, which is no VTEP's"),
    ],
)
def test_a_device_that_cannot_take_part_is_named_once_and_the_others_go_on(device, words):
    bench = Bench(device, VX100, svcnode_ip={4: SERVERS[4]}) if device.vni != 100 else Bench(device, svcnode_ip={4: C})
    (told,) = bench.alarms()
    assert told.startswith(words)
    bench.devices(device, Device("vxlan200", 9, 200, A))
    assert bench.alarms() == []
    assert {vni for _h, _r, vteps, _to in bench.sent() for vni in vteps} <= {100, 200}
    assert list(bench.registrar.members) == [200]
    assert bench.registrar.floods["x"] == frozenset()
    bench.devices()
    bench.devices(device)
    assert len(bench.alarms()) == 1, "who comes again is named again"


def test_a_device_that_is_down_is_no_fault():
    bench = Bench(Device("x", 1, 100, None, up=False))
    assert bench.alarms() == bench.sent() == []
    assert bench.registrar.floods == {"x": frozenset()}


def test_of_two_devices_with_one_vni_the_lowest_name_wins():
    bench = Bench(Device("vxb", 1, 100, B), Device("vxa", 2, 100, A))
    assert bench.sent() == [(90, 1, {100: [A]}, SERVERS[4])]
    assert bench.alarms() == ["vxb has VNI 100 as vxa has; only vxa is registered"]
    bench.hear(R4)
    assert bench.registrar.floods == {"vxa": {B, C}, "vxb": set()}
    bench.devices(Device("vxb", 1, 100, B))
    assert bench.sent() == [(90, 1, {100: [B]}, SERVERS[4])]
    assert bench.registrar.floods == {"vxb": None}


def test_an_answer_makes_the_flood_list():
    bench = Bench(VX100, Device("vxlan901", 9, 0x386, ip("192.0.2.1")))
    assert bench.changed() == {"vxlan100", "vxlan901"}
    assert bench.registrar.floods == {"vxlan100": None, "vxlan901": None}
    bench.hear(R4)
    assert bench.registrar.floods == {"vxlan100": {B, C}, "vxlan901": None}
    assert bench.changed() == {"vxlan100"}
    bench.hear(R4)
    assert bench.changed() == set(), "nothing new"
    bench.hear(answer({100: [A]}))
    assert bench.registrar.floods["vxlan100"] == set()
    bench.hear(V2B)
    assert bench.registrar.floods["vxlan901"] == {ip("198.18.0.2")}
    bench.devices(VX100)
    assert bench.registrar.floods == {"vxlan100": set()}
    assert "vxlan901" in bench.changed()


def test_vnis_that_are_not_ours_are_ignored():
    bench = Bench(VX100)
    bench.hear(answer({100: [A, B], 101: [A, C]}))
    assert bench.registrar.floods == {"vxlan100": {B}}
    assert bench.count("unknown vnis") == 1


def test_an_old_service_node_says_nothing_of_ipv6():
    bench = Bench(VX6)
    bench.hear(answer({600: [B, C]}), FROM6)
    assert bench.registrar.floods == {"vxlan6": None}
    assert bench.alarms() == []


def test_what_is_no_answer_is_not_taken_for_one_nor_for_contact():
    bench = Bench(VX100)
    bench.till(1050)
    relay = Refresh(originator=False, holdtime=90, response_type=0, identifier=77, vteps={100: [B]})
    register = Refresh(originator=True, holdtime=90, identifier=77, vteps={100: [B]})
    for message in (relay, register, bytes.fromhex("03031802")):
        bench.hear(message)
    assert bench.count("unexpected") == 3
    for data in (b"", b"\3", b"\4\1", b"\3\1\x2a\xff", R4[:-1], bytes(70000)):
        bench.hear(data)
    assert bench.count("malformed") == 6
    assert bench.alarms() and bench.registrar.floods == {"vxlan100": None}
    bench.till(1092)
    assert any("Lost contact" in one for one in bench.alarms())


def test_lost_contact_flushes_and_withdraws_and_an_answer_fills_again():
    bench = Bench(VX100, VX6)
    bench.till(1010)
    bench.hear(R4)
    bench.changed()
    seen = bench.till(1099)
    assert not any(one[0] == 0 and one[3] == SERVERS[4] for _when, one in seen)
    # The IPv6 service node never answered: that counts from the first registration.
    assert [when for when, one in seen if one == (0, None, {600: [A6]}, SERVERS[6])] == [pytest.approx(1090, abs=0.1)]
    bench.alarms()
    seen = bench.till(1102)
    assert [one for _when, one in seen if one[0] == 0] == [(0, None, {100: [A]}, SERVERS[4])]
    assert bench.registrar.floods == {"vxlan100": set(), "vxlan6": set()}
    assert bench.changed() == {"vxlan100", "vxlan6"}
    assert bench.alarms() == ["Lost contact: nothing heard from 203.0.113.100 for 90 s; the flood lists are emptied"]
    assert any(one[0] == 90 for _when, one in bench.till(1200)), "it goes on registering"
    assert bench.alarms() == [], "told once"
    bench.hear(R4)
    assert bench.registrar.floods == {"vxlan100": {B, C}, "vxlan6": set()}
    assert bench.alarms() == ["contact with the service node of IPv4 is back"]
    bench.till(1292)
    assert bench.count("lost contact") == 3


def test_lost_contact_may_keep():
    bench = Bench(VX100, lost_contact="keep")
    bench.hear(R4)
    assert not any(one[0] == 0 for _when, one in bench.till(1200))
    assert bench.registrar.floods == {"vxlan100": {B, C}}
    assert len(bench.alarms()) == 1


def test_contact_counts_from_the_first_device():
    bench = Bench(VX100)
    bench.hear(R4)
    bench.devices()
    bench.till(2000)
    bench.devices(VX100)
    bench.till(2089)
    assert bench.alarms() == []


def test_an_answer_without_ourselves_keeps_the_list_and_registers_again():
    bench = Bench(VX100)
    bench.hear(R4)
    bench.till(1010)
    bench.hear(answer({100: [B, C, D]}))
    assert bench.registrar.floods == {"vxlan100": {B, C}}
    (told,) = bench.alarms()
    assert "VNI 100 lack 192.0.2.1" in told and f"node id {NODE}" in told
    assert bench.till(1010) == [(1010, (90, 1, {100: [A]}, SERVERS[4]))]
    # However many such answers come, it registers ever more slowly.
    times = [1010]
    while bench.now < 1090:
        for _dummy in range(10):
            bench.hear(answer({100: [B, C, D]}))
        times += [when for when, _one in bench.till(bench.now + 0.5)]
    waits = [later - earlier for earlier, later in zip(times, times[1:])]
    assert waits[:3] == [2, 4, 8] and len(waits) <= 8
    bench.alarms()
    bench.hear(answer({100: [A, D]}))
    assert bench.registrar.floods == {"vxlan100": {D}}


def test_an_answer_that_crossed_the_first_registration_is_no_alarm():
    bench = Bench(VX100)
    bench.hear(answer({100: [B]}))
    assert bench.alarms() == [] and bench.registrar.floods == {"vxlan100": None}
    bench.till(1001)
    bench.now = 1003
    bench.hear(answer({100: [B]}))
    assert len(bench.alarms()) == 1


def test_two_hosts_with_one_node_id_notice_and_do_not_fight():
    """A service node that keeps one address a node id, and pushes each change."""
    first, second = Bench(VX100), Bench(Device("vxlan100", 7, 100, B))
    told = {first: 0, second: 0}
    registers = 0
    for _dummy in range(1200):
        for bench in (first, second):
            for _when, (holdtime, _asked, vteps, _to) in bench.till(bench.now + 0.1):
                registers += 1
                assert holdtime == 90
                for other in (first, second):
                    other.hear(answer(vteps))
            told[bench] += len(bench.alarms())
    assert min(told.values()) > 0
    assert registers < 40, "some of them in the first seconds, and then what refreshes bring"


def test_changes_follow_their_generation():
    bench = Bench(VX100)
    assert bench.hear(answer({100: [A, B]}, generation=7)) == {"vxlan100": {B}}
    assert bench.hear(answer({100: [C]}, base=7, generation=9)) == {"vxlan100": {B, C}}
    assert bench.hear(answer({}, base=9, generation=10, gone={100: [B]})) == {"vxlan100": {C}}
    # What comes twice or late changes nothing.
    bench.hear(answer({100: [C]}, base=7, generation=9))
    bench.hear(answer({}, base=9, generation=10, gone={100: [B]}))
    assert bench.hear(answer({100: [A, B]}, generation=7)) == {"vxlan100": {C}}
    assert bench.count("stale") == 2 and bench.count("deltas") == 2 and bench.count("gaps") == 0
    bench.sent()
    bench.till(1010)
    # A change is missing: the whole set is asked for, once a second at most.
    for _dummy in range(10):
        bench.hear(answer({100: [D]}, base=12, generation=13))
    assert bench.registrar.floods == {"vxlan100": {C}}
    assert bench.till(1010) == [(1010, (90, 1, {100: [A]}, SERVERS[4]))]
    bench.hear(answer({100: [D]}, base=12, generation=13))
    assert [when for when, _one in bench.till(1011)] == [1011]
    assert bench.hear(answer({100: [A, D]}, generation=13)) == {"vxlan100": {D}}
    # Another service node counts by itself, and its changes mean nothing before its whole set has come.
    bench.hear(answer({100: [B]}, base=13, generation=14, source=6))
    assert bench.registrar.floods == {"vxlan100": {D}}
    assert bench.hear(answer({100: [A, B]}, generation=2, source=6)) == {"vxlan100": {B}}
    assert bench.hear(answer({100: [C]}, base=2, generation=3, source=6)) == {"vxlan100": {B, C}}
    assert bench.alarms() == []


def test_a_change_that_removes_us_is_not_taken_in():
    bench = Bench(VX100)
    bench.hear(answer({100: [A, B]}, generation=1))
    bench.till(1010)
    bench.hear(answer({}, base=1, generation=2, gone={100: [A, B]}))
    assert bench.registrar.floods == {"vxlan100": {B}}
    assert len(bench.alarms()) == 1
    assert bench.till(1010) == [(1010, (90, 1, {100: [A]}, SERVERS[4]))]


def test_2000_vteps_in_parts_of_any_order():
    peers = [b"\x0a" + number.to_bytes(3, "big") for number in range(1, 2001)]
    whole = answer({100: [A, *peers]}, generation=1)
    parts = messages.split_answer(whole, 1500)
    assert len(parts) > 10
    bench = Bench(VX100)
    bench.hear(R4)
    for part in parts[:0:-1]:
        bench.hear(part)
    assert bench.registrar.floods == {"vxlan100": {B, C}}, "no part alone changes anything"
    assert bench.hear(parts[0]) == {"vxlan100": set(peers)}
    assert bench.count("answers") == 2


def test_the_rest_of_an_answer_is_asked_for():
    whole = answer({100: [A, *(b"\x0a" + number.to_bytes(3, "big") for number in range(1, 501))]}, generation=1)
    parts = messages.split_answer(whole, 1500)
    bench = Bench(VX100)
    bench.hear(R4)
    bench.till(1010)
    for part in parts[1:]:
        bench.hear(part)
    assert [when for when, _one in bench.till(1020)] == [1012]


def test_the_end_withdraws_and_empties():
    bench = Bench(VX100, VX6)
    bench.hear(R4)
    bench.sent()
    bench.registrar.withdraw(bench.now)
    assert bench.sent() == [(0, None, {100: [A]}, SERVERS[4]), (0, None, {600: [A6]}, SERVERS[6])]
    assert bench.registrar.floods == {"vxlan100": set(), "vxlan6": set()}
    bench.hear(R4)
    bench.devices(VX100)
    assert bench.till(2000) == []
    assert bench.registrar.floods == {"vxlan100": set(), "vxlan6": set()}


def test_another_service_node_at_run_time():
    bench = Bench(VX100, VX6)
    bench.hear(R4)
    bench.till(1010)
    bench.registrar.configure(config.Vxrd(svcnode_ip={4: D, 6: SERVERS[6]}, holdtime=30), bench.now)
    assert bench.sent()[:2] == [(0, None, {100: [A]}, SERVERS[4]), (30, 1, {100: [A]}, D)]
    assert bench.registrar.floods == {"vxlan100": None, "vxlan6": None}, "kept until the new one answers"
    assert [when - 1010 for when, one in bench.till(1022) if one[3] == SERVERS[6]] == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
    ]


def test_a_reload_with_the_same_key_forgets_no_nonce():
    key = b"k" * 16
    bench = Bench(VX100, auth_key=key)
    data = auth.Authenticator(key).seal(messages.decode(R4), 0.0)
    bench.hear(data)
    bench.registrar.configure(config.Vxrd(svcnode_ip=SERVERS, auth_key=key, holdtime=30), bench.now)
    bench.hear(data)
    assert (bench.count("answers"), bench.count("refused")) == (1, 1)
    other = b"o" * 16
    bench.registrar.configure(config.Vxrd(svcnode_ip=SERVERS, auth_key=other), bench.now)
    bench.hear(auth.Authenticator(other).seal(messages.decode(R4), 0.0))
    bench.registrar.configure(config.Vxrd(svcnode_ip=SERVERS), bench.now)
    bench.hear(R4)
    assert (bench.count("answers"), bench.count("refused")) == (3, 1)


def test_lost_contact_that_becomes_flush_counts_at_once():
    bench = Bench(VX100, VX6, lost_contact="keep")
    bench.hear(R4)
    bench.till(1095)
    bench.hear(answer({600: [A6, B6]}, generation=1), FROM6)
    bench.till(1100)
    assert bench.registrar.lost == {4}
    bench.sent()
    bench.changed()
    bench.registrar.configure(config.Vxrd(svcnode_ip=SERVERS), bench.now)
    assert bench.registrar.floods == {"vxlan100": set(), "vxlan6": {B6}}
    assert bench.changed() == {"vxlan100"}
    assert bench.sent() == [(0, None, {100: [A]}, SERVERS[4])]
    assert [one for when, one in bench.till(1100)] == [
        (90, 1, {100: [A]}, SERVERS[4]),
        (90, 1, {600: [A6]}, SERVERS[6]),
    ]
    bench.registrar.configure(config.Vxrd(svcnode_ip=SERVERS), bench.now)
    assert bench.sent() == [], "only once"
    bench.hear(R4)
    assert bench.registrar.floods["vxlan100"] == {B, C}


def test_a_network_that_takes_nothing_is_tried_again_within_a_second():
    bench = Bench(VX100)
    bench.hear(R4)
    bench.till(1001)
    bench.now = 1002
    bench.registrar.unsent(bench.now)
    assert [when for when, _one in bench.till(1030)] == [1003]


def test_a_device_that_was_made_anew_gets_its_list_at_once():
    bench = Bench(VX100)
    bench.hear(R4)
    bench.changed()
    bench.devices(Device("vxlan100", 17, 100, A))
    assert bench.changed() == {"vxlan100"}
    assert bench.registrar.floods == {"vxlan100": {B, C}}
    bench.devices(Device("other", 17, 100, A))
    assert bench.changed() == {"vxlan100", "other"}
    assert bench.registrar.floods == {"other": {B, C}}
    assert bench.sent() == [(90, 1, {100: [A]}, SERVERS[4])], "the registration is the same all along"


def test_whom_to_believe():
    key = b"0123456789abcdef"
    bench = Bench(VX100, auth_key=key, allow=(config.Prefix(ip("203.0.113.0"), 24),))
    node = auth.Authenticator(key)
    assert node.open(bench.registrar.outbox[0][0], 0.0, 0.0).vteps == {100: [A]}
    bench.hear(R4)
    sealed = node.seal(answer({100: [A, B]}), 0.0)
    bench.hear(sealed, (ip("198.51.100.1"), 10001))
    assert bench.registrar.floods == {"vxlan100": None} and bench.count("refused") == 2
    assert bench.hear(sealed) == {"vxlan100": {B}}
    bench.hear(sealed)
    assert bench.count("refused") == 3, "sent once more"
    assert len(bench.alarms()) == 3


NAMES = ["vxa", "vxb", "vxc"]
ADDRESSES = [A, B, C, D, A6, B6, C6]
DEVICES = st.lists(
    st.builds(
        Device,
        name=st.sampled_from(NAMES),
        index=st.integers(1, 3),
        vni=st.sampled_from([100, 200]),
        local=st.sampled_from([A, A6, B, None]),
        remote=st.sampled_from([None, D]),
        up=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda device: device.name,
)
SETS = st.dictionaries(st.sampled_from([100, 200, 300]), st.lists(st.sampled_from(ADDRESSES), max_size=5), max_size=2)
ANSWERS = st.one_of(
    st.builds(answer, SETS),
    st.builds(
        lambda vni, come, **more: answer({vni: come}, **more),
        st.sampled_from([100, 200]),
        st.lists(st.sampled_from(ADDRESSES), max_size=5, unique=True),
        generation=st.integers(0, 3),
        base=st.one_of(st.none(), st.integers(0, 3)),
        source=st.integers(1, 2),
    ),
)
STEPS = st.one_of(
    st.tuples(st.just("devices"), DEVICES),
    st.tuples(st.just("hear"), ANSWERS),
    st.tuples(st.just("noise"), st.binary(max_size=40)),
    st.tuples(st.just("till"), st.floats(0, 100)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_whatever_happens(steps):
    """Flood lists are of the devices that there are, of one family, and without ourselves; each change is told."""
    bench = Bench()
    there, seen = [], {}
    for step, what in steps:
        if step == "devices":
            there = what
            bench.devices(*what)
        elif step == "hear":
            bench.hear(what)
        elif step == "noise":
            bench.hear(b"\3\1" + what)
        else:
            bench.till(bench.now + what)
        floods, changed = bench.registrar.floods, bench.changed()
        assert set(floods) == {device.name for device in there}
        for device in there:
            for peer in floods[device.name] or ():
                assert device.up and len(peer) == len(device.local) and peer != device.local
        now = {device.name: (device.index, floods[device.name]) for device in there}
        assert {name for name in {*now, *seen} if now.get(name) != seen.get(name)} == changed
        seen = now
        for holdtime, asked, vteps, to in bench.sent():
            assert (holdtime, asked) in ((90, 1), (0, None)) and vteps
            assert {len(address) for addresses in vteps.values() for address in addresses} == {len(to)}

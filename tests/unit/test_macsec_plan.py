# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec from what is wanted to operations in the order that loses nothing, without a kernel."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import macsec as base
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import macsec as files
from ansible_collections.vtep.fabric.plugins.module_utils._model import link, macsec
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    FabricError,
    InputError,
    MissingError,
    RefusedError,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec as planning

ROOT = Path(__file__).parents[2]
OWN, PEER, OTHER = "0200000000010001", "0200000000020001", "0200000000030001"
KEYS = {name: f"{number:02x}" * 16 for number, name in enumerate("abcdef", 0x11)}
HAS = {
    "mtu": 1468, "address": "02:00:00:00:00:01", "alias": "", "addrgenmode": "eui64", "master": "", "up": True, "dev": "eth0",
    "sci": OWN, "port": 1, "icvlen": 16, "cipher": "gcm-aes-128", "window": 0, "encodingsa": 0, "encrypt": True, "protect": True,
    "send_sci": True, "end_station": False, "scb": False, "replay": False, "validate": "strict", "offload": "off",
}  # fmt: skip
ETH0 = link.Found("eth0", 1, "", {"mtu": 1500, "address": "02:00:00:00:00:01", "alias": "", "master": "", "up": True})


def key_id(name):
    return macsec.key_id(bytes.fromhex(KEYS[name]))


def sa(an, name, **more):
    return {"an": an, "key": KEYS[name], **more}


def had(an, name, active=True, received=3):
    return macsec.FoundAssociation(an, active, 9, key_id(name), statistics={"InPktsOK": received})


def secy(tx=(), rx=None, encodingsa=0):
    channels = {
        sci: macsec.FoundChannel(sci, True, {one.an: one for one in associations})
        for sci, associations in (rx or {}).items()
    }
    return macsec.Secy(2, OWN, "gcm-aes-128", encodingsa, True, "off", {one.an: one for one in tx}, channels)


def used(name, pn=None, an=0, sci=OWN):
    return macsec.Used(sci, key_id(name), an, key_id(name), pn=pn)


def plan(secy_=None, record=(), purge="none", purge_devices="none", has=None, others=(), **options):
    """A plan for macsec0, which exists where a secy is given."""
    found = [link.Found("macsec0", 2, "macsec", {**HAS, **(has or {})}, lower="eth0")] if secy_ else []
    state = link.State({one.name: one for one in [ETH0, *others, *found]}, "6.18.0")
    kind = planning.Kind(state, {"macsec0": secy_} if secy_ else {}, record, purge)
    desired = macsec.devices([{"name": "macsec0", **options}], None)
    return planning.plan(desired, kind, purge_devices)


def order(plan_):
    """The operations in short."""
    words = []
    for operation in plan_.operations:
        name = type(operation).__name__
        where = "" if getattr(operation, "sci", None) is None else f" rx {operation.sci[11:12]}"
        one = getattr(operation, "sa", None)
        an = one.an if one else getattr(operation, "an", "")
        values = " ".join(getattr(operation, "values", {}))
        words.append(f"{name}{where} {an}{values}".strip())
    return words


NEW = {"dev": "eth0", "up": True, "tx": [sa(0, "a")], "rx": [{"sci": PEER, "sa": [sa(0, "b")]}]}


def test_a_new_device_receives_then_sends_then_comes_up():
    made = plan(**NEW)
    assert order(made) == [
        "Create encrypt dev", "AddChannel rx 2", "AddAssociation rx 2 0", "AddAssociation 0", "Set up",
    ]  # fmt: skip
    assert made.operations[0].values["encrypt"] is True
    assert made.changes[0].after["tx an 0"] == f"on key {key_id('a')}"


def test_what_is_there_needs_nothing():
    there = secy([had(0, "a")], {PEER: [had(0, "b")]})
    made = plan(there, record=[used("a")], **NEW)
    assert not made and made.changes[0].action == "none"


def test_a_rotation_step_by_step():
    now = secy([had(0, "a")], {PEER: [had(0, "b")]})
    record = [used("a")]
    receive = {"tx": [sa(0, "a")], "rx": [{"sci": PEER, "sa": [sa(0, "b"), sa(1, "d")]}]}
    assert order(plan(now, record, **receive)) == ["AddAssociation rx 2 1"]

    now = secy([had(0, "a")], {PEER: [had(0, "b"), had(1, "d")]})
    transmit = {**receive, "tx": [sa(0, "a"), sa(1, "c")], "encodingsa": 1}
    assert order(plan(now, record, **transmit)) == ["AddAssociation 1", "Set encodingsa"]

    now = secy([had(0, "a"), had(1, "c")], {PEER: [had(0, "b"), had(1, "d")]}, encodingsa=1)
    drop = {"tx": [sa(1, "c")], "rx": [{"sci": PEER, "sa": [sa(1, "d")]}], "encodingsa": 1}
    record.append(used("c", an=1))
    made = plan(now, record, purge="listed", has={"encodingsa": 1}, **drop)
    assert order(made) == ["RemoveAssociation 0", "RemoveAssociation rx 2 0"]
    assert not plan(now, record, has={"encodingsa": 1}, **drop)


def test_all_at_once_what_receives_comes_before_what_sends_and_goes_after_it():
    now = secy([had(0, "a")], {PEER: [had(0, "b")], OTHER: [had(0, "e")]})
    made = plan(
        now,
        [used("a")],
        purge="listed",
        encodingsa=1,
        tx=[sa(1, "c")],
        rx=[{"sci": PEER, "sa": [sa(1, "d")]}],
    )
    assert order(made) == [
        "AddAssociation rx 2 1", "AddAssociation 1", "Set encodingsa", "RemoveAssociation 0", "RemoveAssociation rx 2 0",
        "RemoveChannel rx 3",
    ]  # fmt: skip


def test_switching_on_comes_early_and_off_comes_late():
    now = secy([had(0, "a"), had(1, "c", active=False)], {PEER: [had(0, "b"), had(1, "d", active=False)]})
    record = [used("a"), used("c", an=1)]
    made = plan(
        now,
        record,
        encodingsa=1,
        tx=[sa(0, "a", active=False), sa(1, "c")],
        rx=[{"sci": PEER, "sa": [sa(0, "b", active=False), sa(1, "d")]}],
    )
    assert order(made) == [
        "SetAssociation rx 2 1", "SetAssociation 1", "Set encodingsa", "SetAssociation 0", "SetAssociation rx 2 0",
    ]  # fmt: skip


def test_lists_that_are_not_given_are_never_purged():
    now = secy([had(0, "a")], {PEER: [had(0, "b")]})
    assert not plan(now, [used("a")], purge="listed", mtu=1468)
    assert not plan(now, [used("a")], purge="listed", rx=[{"sci": PEER}])
    assert order(plan(now, [used("a")], purge="listed", rx=[{"sci": PEER, "sa": []}])) == ["RemoveAssociation rx 2 0"]


def test_a_channel_is_switched_only_when_told_so():
    now = secy([], {PEER: []})
    assert not plan(now, rx=[{"sci": PEER}])
    assert order(plan(now, rx=[{"sci": PEER, "active": False}])) == ["SetChannel rx 2"]
    assert plan(now, rx=[{"sci": OTHER}]).operations == [planning.AddChannel("macsec0", OTHER, True)]


def test_replay_protection_and_its_window_go_in_one_request():
    now = secy()
    assert plan(now, replay=True, window=7).operations[0].values == {"replay": True, "window": 7}
    had_ = {"replay": True, "window": 7}
    assert plan(now, has=had_, window=9).operations[0].values == {"window": 9}
    assert plan(now, replay=True, window=0).operations[0].values == {"replay": True, "window": 0}


# Keys


def test_a_key_that_is_lost_is_refused_and_check_mode_knows_it():
    with pytest.raises(RefusedError, match="macsec0: tx an 0: key .* not known any more"):
        plan(record=[used("a")], **NEW)
    with pytest.raises(RefusedError, match="macsec0: tx an 0"):
        plan(secy([]), record=[used("a")], tx=[sa(0, "a")])
    assert plan(record=[used("a", pn=99)], **NEW)
    assert plan(record=[used("a", sci=PEER)], **NEW)


def test_a_device_whose_address_is_not_known_yet_takes_no_chances():
    with pytest.raises(RefusedError, match="not known any more"):
        plan(record=[used("a", sci=PEER)], **{**NEW, "dev": "eth9"})
    assert plan(record=[used("a", sci=PEER)], **{**NEW, "dev": "eth9", "sci": OWN})


@pytest.mark.parametrize(
    ("options", "own"),
    [
        ({}, OWN),
        ({"port": 7}, "0200000000010007"),
        ({"address": "02:00:00:00:00:09", "port": 7}, "0200000000090007"),
        ({"sci": OTHER}, OTHER),
    ],
)
def test_the_sci_of_a_new_device_is_known_beforehand(options, own):
    plan(record=[used("a", sci=PEER)], **NEW, **options)
    with pytest.raises(RefusedError, match="not known any more"):
        plan(record=[used("a", sci=own)], **NEW, **options)


def test_a_device_that_goes_is_sealed_before():
    there = secy([had(0, "a")])
    assert order(plan(there, [used("a")], state="absent")) == ["Seal", "Remove"]
    assert order(plan(secy(), state="absent")) == ["Remove"]
    again = plan(there, [used("a")], recreate=True, cipher="gcm-aes-128", icvlen=12, tx=[sa(0, "a")])
    assert [word.split()[0] for word in order(again)[:3]] == ["Seal", "Remove", "Create"]
    assert again.operations[0].fingerprints == ((key_id("a"), key_id("a")),)
    with pytest.raises(RefusedError, match="not known any more"):  # another hand's: no association of it is there
        plan(there, [used("a"), used("b", an=1)], recreate=True, icvlen=12, tx=[sa(0, "b")])


def test_a_purged_device_is_sealed_too():
    there = link.Found("macsec0", 2, "macsec", {**HAS, "alias": "vtep.fabric"}, lower="eth0")
    state = link.State({"eth0": ETH0, "macsec0": there}, "6.18.0")
    kind = planning.Kind(state, {"macsec0": secy([had(0, "a")])}, [used("a")])
    assert order(planning.plan((), kind, "owned")) == ["Seal", "Remove"]


def test_one_key_under_two_numbers_is_refused_also_without_a_record():
    with pytest.raises(RefusedError, match="tx an 1: key .* is in use as an 0"):
        plan(secy([had(0, "a")]), tx=[sa(1, "a")], encodingsa=1)


def test_a_key_in_use_is_replaced_with_recreate_only():
    there = secy([had(0, "a")], {PEER: [had(0, "b")]})
    for options in ({"tx": [sa(0, "c")]}, {"rx": [{"sci": PEER, "sa": [sa(0, "c")]}]}):
        with pytest.raises(RefusedError, match="it is in use with key .* under another an .* recreate: true"):
            plan(there, [used("a")], **options)
        made = plan(there, [used("a")], recreate=True, **options)
        assert [word.split()[0] for word in order(made)] == ["RemoveAssociation", "AddAssociation"]
        assert "which loses packets" in made.changes[0].notes[0]


def test_a_key_out_of_use_is_replaced_without_a_word():
    idle = secy([had(0, "a"), had(1, "c")], {PEER: [had(0, "b", received=0)]})
    made = plan(idle, [used("a"), used("c", an=1)], tx=[sa(1, "d")], rx=[{"sci": PEER, "sa": [sa(0, "e")]}])
    assert order(made) == [
        "RemoveAssociation rx 2 0",
        "AddAssociation rx 2 0",
        "RemoveAssociation 1",
        "AddAssociation 1",
    ]
    assert made.changes[0].notes == []


def test_an_association_that_is_used_up_is_not_switched_on_again():
    empty = secy([macsec.FoundAssociation(0, False, 0, key_id("a"))])
    with pytest.raises(RefusedError, match="tx an 0: key .* has no packet numbers left"):
        plan(empty, [used("a")], tx=[sa(0, "a")])
    assert order(plan(secy([had(0, "a", active=False)]), [used("a")], tx=[sa(0, "a")])) == ["SetAssociation 0"]


def offloaded(*how, **more):
    return replace(secy(*how, **more), offload="mac")


def test_a_key_whose_packets_a_card_counts_is_not_begun_again():
    there = offloaded([had(0, "a"), had(1, "c", active=False)], {PEER: [had(0, "b", received=0)]})
    record = [used("a"), used("c", an=1)]
    anew = {"recreate": True, "icvlen": 12}
    for rows in (record, []):
        with pytest.raises(
            RefusedError, match=r"tx an 0: key .* a card counted them \(offload\).* a key that was never used"
        ):
            plan(there, rows, **anew, tx=[sa(0, "a")])
    assert plan(there, record, **anew, tx=[sa(0, "d")])
    with pytest.raises(RefusedError, match="tx an 1: key .* was counted by a card"):
        plan(there, record, tx=[sa(1, "c")])
    with pytest.raises(RefusedError, match=f"rx {PEER} an 0: it is in use with key"):
        plan(there, record, rx=[{"sci": PEER, "sa": [sa(0, "e")]}])
    assert not plan(there, record, tx=[sa(0, "a")])


def test_an_own_packet_number_below_that_of_what_goes_is_refused_beforehand():
    there = secy([had(0, "a")])
    with pytest.raises(RefusedError, match="pn: 7 may have been used with key .* give 1033 or more"):
        plan(there, [used("a")], recreate=True, icvlen=12, tx=[sa(0, "a", pn=7)])
    assert plan(there, [used("a")], recreate=True, icvlen=12, tx=[sa(0, "a", pn=2000)])


class Counting:
    """In place of the kernel: a SecY."""

    def __init__(self, secy_):
        self.secy, self.first = secy_, {}

    def stop(self, name, an):
        pass

    def read_one(self, name):
        return self.secy

    def remove_association(self, operation):
        self.secy.tx.pop(operation.an)

    def add_association(self, operation, pn, xpn):
        self.first[operation.sa.an] = pn


def resource(tmp_path, monkeypatch, secy_, record=()):
    monkeypatch.setattr(files, "DIRECTORY", tmp_path / "vtep.fabric")
    made = base.Macsecs()
    made.associations, made.record = Counting(secy_), list(record)
    return made


@pytest.mark.parametrize(("offload", "pn"), [("off", 9 + macsec.MARGIN), ("phy", 1 << 32), ("mac", 1 << 32)])
def test_what_goes_is_recorded_with_the_packet_numbers_that_are_left(tmp_path, monkeypatch, offload, pn):
    made = resource(tmp_path, monkeypatch, replace(secy([had(0, "a")]), offload=offload), [used("a")])
    made.remove(planning.RemoveAssociation("macsec0", None, 0))
    assert files.load() == [used("a", pn=pn)]


HAND = "01" + 30 * "0"  # a key id as `ip macsec` has them


def by_hand(an, pn=9):
    return macsec.FoundAssociation(an, True, pn, HAND)


def test_a_key_begins_above_what_another_hand_may_have_sent_with_it(tmp_path, monkeypatch):
    [device] = macsec.devices(
        [{"name": "macsec0", "tx": [sa(0, "a"), sa(1, "c", epoch="ab" * 16), sa(2, "b", pn=5)]}], None
    )
    for an in (0, 3):  # it gives way to the new one, or stays beside it
        made = resource(tmp_path, monkeypatch, secy([by_hand(an)]))
        if an == 0:
            made.remove(planning.RemoveAssociation("macsec0", None, 0))
        for one in device.tx:
            made.add(planning.AddAssociation("macsec0", None, one))
        assert made.associations.first == {0: 9 + macsec.MARGIN, 1: 1, 2: 5}
        files.path().unlink()
    made = resource(tmp_path, monkeypatch, secy([had(3, "d")]), [used("d", an=3)])  # ours, of another key
    made.add(planning.AddAssociation("macsec0", None, device.tx[0]))
    assert made.associations.first == {0: 1}


def test_what_another_hand_made_and_is_used_up_is_refused_beforehand():
    there = secy([by_hand(3, pn=0)])
    with pytest.raises(RefusedError, match="tx an 0: key .* may be that of an association that another hand made"):
        plan(there, tx=[sa(0, "a")])
    assert plan(there, tx=[sa(0, "a", pn=1)])
    assert plan(there, tx=[sa(0, "a", epoch="ab" * 16)])


def test_an_association_without_a_row_is_recorded():
    made = plan(secy([had(0, "a")]), tx=[sa(0, "a")])
    assert order(made) == ["Record 0"] and "was not in the record" in made.changes[0].notes[0]
    assert order(plan(secy([had(0, "a")]), [used("a", pn=44)], tx=[sa(0, "a")])) == ["Record 0"]


# Refusals


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"dev": None}, "macsec0: dev: a new MACsec device needs it"),
        ({"sci": OTHER, "send_sci": False}, "macsec0: sci: it needs send_sci: true"),
        ({"scb": True}, "macsec0: send_sci, scb: only one of them can be true"),
        ({"replay": True}, "macsec0: replay: it needs window"),
        ({"tx": [sa(1, "a")]}, "encodingsa: 0 has no active association in tx, and the device would send nothing; active are: 1"),
        ({"tx": [sa(0, "a", active=False)]}, "active are: none"),
        ({"tx": [{"an": 0, "key": "11" * 32}]}, "tx an 0: key: it has 256 bits, and gcm-aes-128 takes 128"),
        ({"rx": [{"sci": OWN, "sa": []}]}, f"rx {OWN}: that is the device's own SCI"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options, fault):
    with pytest.raises(InputError) as caught:
        plan(**{**NEW, **options})
    assert any(fault in line for line in caught.value.faults), caught.value.faults


def test_flags_that_a_device_has_are_known():
    with pytest.raises(InputError, match="send_sci, end_station: only one"):
        plan(secy(), end_station=True)
    assert plan(secy(), end_station=True, send_sci=False)
    with pytest.raises(InputError, match="encodingsa: 0 has no active"):
        plan(secy([had(0, "a")]), [used("a")], purge="listed", tx=[sa(1, "c")])


def test_a_kernel_without_macsec():
    state = link.State({"eth0": ETH0}, "6.18.0", lacking=frozenset({"macsec"}))
    with pytest.raises(MissingError, match="^kernel has no MACsec: CONFIG_MACSEC$"):
        planning.plan(macsec.devices([{"name": "macsec0", **NEW}], None), planning.Kind(state, {}))


def test_two_devices_with_one_sci_and_a_port_of_a_bridge():
    bridge = link.Found("br0", 7, "bridge", {**ETH0.has})
    port = link.Found("eth1", 8, "", {**ETH0.has, "master": "br0"})
    with pytest.raises(InputError, match=f"macsec0: sci: {OWN} is that of macsec9 on eth0 already"):
        plan(others=[link.Found("macsec9", 9, "macsec", HAS, lower="eth0")], **NEW)
    made = plan(others=[bridge, port], **{**NEW, "dev": "eth1"})
    assert made.checks == [
        "macsec0: dev: eth1 is a port of br0, and the kernel hands what it receives to one of the two only"
    ]
    assert plan(**NEW, mtu=1469).checks == ["macsec0: mtu: 1469 does not fit eth0 of mtu 1500; at most 1468 does"]


def together(*listed, secys=None, record=(), others=()):
    """A plan for several devices of one task, macsec1 and on."""
    state = link.State({one.name: one for one in [ETH0, *others]}, "6.18.0")
    entries = [
        {"name": f"macsec{number}", "dev": "eth0", "port": number, **options}
        for number, options in enumerate(listed, 1)
    ]
    return planning.plan(macsec.devices(entries, None), planning.Kind(state, secys or {}, record))


def test_two_devices_that_are_told_one_sender_are_refused_before_either_is_made():
    hears = {"rx": [{"sci": PEER, "sa": [sa(0, "b")]}]}
    with pytest.raises(InputError, match=f"^macsec2: rx {PEER}: macsec1 on eth0 receives from it; take it from there"):
        together(hears, hears)
    assert together(hears, {"rx": [{"sci": OTHER}]})
    eth1 = link.Found("eth1", 8, "", {**ETH0.has, "address": "02:00:00:00:00:08"})
    assert together(hears, {**hears, "dev": "eth1"}, others=[eth1])


@pytest.mark.parametrize("rx", [None, []])
def test_a_sender_that_a_device_of_before_hears_is_refused(rx):
    there = link.Found("macsec0", 2, "macsec", HAS, lower="eth0")
    hears = {"rx": [{"sci": PEER}]}
    secys = {"macsec0": secy([], {PEER: [had(0, "b")]})}
    with pytest.raises(InputError, match=f"rx {PEER}: macsec[0-9] on eth0 receives from it"):
        if rx is None:
            together({"port": 7, **hears}, secys=secys, others=[there])
        else:
            state = link.State({"eth0": ETH0, "macsec0": there}, "6.18.0")
            entries = [{"name": "macsec0", "rx": rx}, {"name": "macsec1", "dev": "eth0", "port": 7, **hears}]
            planning.plan(macsec.devices(entries, None), planning.Kind(state, secys, (), "listed"))
    theirs = link.Found("macsec9", 9, "macsec", {**HAS, "sci": OTHER}, lower="eth0")
    both = {**secys, "macsec9": secy([], {PEER: []})}
    assert together({"port": 7}, secys=both, others=[there, theirs])  # which is none of ours


def test_two_devices_of_one_task_with_one_key_are_refused_where_packet_numbers_would_meet():
    sends = {"tx": [sa(0, "a")]}
    assert together(sends, sends)  # another SCI is another nonce
    eth1 = link.Found("eth1", 8, "", dict(ETH0.has))
    with pytest.raises(RefusedError, match="^macsec2: tx an 0: macsec1 has key [0-9a-f]+ too, and would use it with"):
        together(sends, {**sends, "dev": "eth1", "port": 1}, others=[eth1])
    extended = [{"cipher": "gcm-aes-xpn-128", "tx": [sa(0, "a", ssci=ssci, salt="ab" * 12)]} for ssci in (1, 2)]
    with pytest.raises(RefusedError, match="macsec2: tx an 0: macsec1 has key"):
        together(*extended)


def test_a_device_made_anew_keeps_what_it_had():
    again = plan(secy(), recreate=True, icvlen=12, has={"replay": True, "window": 5, "alias": "x", "sci": OTHER})
    [create] = [operation for operation in again.operations if type(operation).__name__ == "Create"]
    assert (create.values["sci"], create.values["window"], create.values["icvlen"]) == (OTHER, 5, 12)
    assert "port" not in create.values and "mtu" not in create.values
    again = plan(secy(), recreate=True, icvlen=12, has={"send_sci": False, "mtu": 1400})
    [create] = [operation for operation in again.operations if type(operation).__name__ == "Create"]
    assert "sci" not in create.values and create.values["port"] == 1
    assert any(getattr(operation, "values", {}).get("mtu") == 1400 for operation in again.operations)


def test_without_sci_the_device_has_the_one_that_receivers_make_up():
    with pytest.raises(RefusedError, match="send_sci"):
        plan(secy(), send_sci=False, has={"sci": OTHER})
    again = plan(secy(), recreate=True, send_sci=False, has={"sci": OTHER})
    [create] = [operation for operation in again.operations if type(operation).__name__ == "Create"]
    assert "sci" not in create.values and create.values["send_sci"] is False
    kept = plan(secy(), recreate=True, send_sci=False, has={"sci": OWN, "port": 1})
    assert not [operation for operation in kept.operations if type(operation).__name__ == "Create"]


@pytest.mark.parametrize(("cipher", "most"), [("gcm-aes-128", 94), ("gcm-aes-xpn-128", 88)])
def test_more_channels_than_the_kernel_can_tell_are_refused(cipher, most):
    def heard(numbers):
        return [{"sci": f"02000001{number:04x}0001", "sa": both(number)} for number in numbers]

    def both(number):
        words = {"ssci": number + 1, "salt": "ab" * 12} if "xpn" in cipher else {}
        return [sa(an, name, **words) for an, name in enumerate("ab")]

    has = {"cipher": cipher}
    assert plan(dev="eth0", cipher=cipher, rx=heard(range(most)))
    with pytest.raises(
        InputError,
        match=f"^macsec0: rx: {most + 1} channels with {2 * most + 2} associations.* some {most} with two each",
    ):
        plan(dev="eth0", cipher=cipher, rx=heard(range(most + 1)))
    sent = [macsec.FoundAssociation(an, True, 9, "00" * 16) for an in range(2)]
    there = secy([], {one["sci"]: sent for one in heard(range(most))})
    assert plan(there, has=has, rx=[{"sci": heard([0])[0]["sci"], "active": False}])
    for purge in ("none", "listed"):  # what is not listed goes after what is new has come
        with pytest.raises(InputError, match=f"rx: {most + 1} channels"):
            plan(there, has=has, purge=purge, rx=heard([most]))


def test_a_device_whose_channels_are_not_told_is_refused():
    there = link.Found("macsec0", 2, "macsec", HAS, lower="eth0")
    state = link.State({"eth0": ETH0, "macsec0": there}, "6.18.0")
    assert planning.unreadable(state, {}) == ["macsec0"]
    with pytest.raises(InputError, match="macsec0: the kernel does not tell its channels"):
        planning.refuse_unreadable(macsec.devices([{"name": "macsec0", "tx": [sa(0, "a")]}], None), state, {})
    planning.refuse_unreadable(macsec.devices([{"name": "macsec0", "mtu": 1400}], None), state, {})


def test_no_key_is_in_a_plan_or_a_diff():
    made = plan(**NEW)
    assert not [key for key in KEYS.values() if key in repr(made) or key in repr(made.changes)]


# Files


def test_the_record_comes_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "DIRECTORY", tmp_path / "vtep.fabric")
    assert files.load() == []
    rows = [used("a"), macsec.Used(PEER, key_id("b"), 3, "00" * 16, ssci=5, epoch="ab" * 16, boot="x", pn=2**63)]
    files.store(rows)
    assert files.load() == rows
    assert files.path().stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"sci": "x"}]', '[{"sci": 1, "fingerprint": 2, "an": "x", "key_id": 3}]', "{}x"]
)
def test_a_damaged_record_is_an_error(tmp_path, monkeypatch, text):
    monkeypatch.setattr(files, "DIRECTORY", tmp_path)
    files.path().write_text(text)
    with pytest.raises(FabricError, match="is damaged"):
        files.load()


def test_key_files(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(ValueError, match="No such file or directory; write the key to that file on the host first"):
        files.read_key(str(path))
    with pytest.raises(ValueError, match="^a word of 32 characters: No such file"):  # written in place of a file
        files.read_key(KEYS["a"])
    path.write_text(KEYS["a"] + "\n")
    path.chmod(0o600)
    assert files.read_key(path).strip() == KEYS["a"]
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(ValueError, match=f"has mode {mode:04o}, so that others can read it; set 0600"):
            files.read_key(path)
    with pytest.raises(ValueError, match="is not a file"):
        files.read_key(tmp_path)


# Documentation


@pytest.mark.parametrize("attribute", [one for one in macsec.ATTRIBUTES if one.high], ids=lambda one: one.option)
def test_ranges_are_documented(attribute):
    words = documented("DOCUMENTATION")["options"][attribute.option]["description"]
    if attribute.option == "icvlen":
        assert ", ".join(map(str, macsec.ICV_LENGTHS[:-1])) in words and f"and {macsec.ICV_LENGTHS[-1]}" in words
    else:
        assert f"{attribute.low} to {attribute.high}" in words


def documented(part, module="macsec"):
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    return yaml.safe_load(re.search(rf'^{part} = r"""(.*?)"""', source, re.S | re.M).group(1))


def test_documentation_and_arguments_agree():
    def same(spec, options, where):
        assert set(spec) == set(options), where
        for name, argument in spec.items():
            for key in ("type", "choices", "default", "elements", "required"):
                assert argument.get(key) == options[name].get(key), f"{where} {name} {key}"
            if "options" in argument:
                same(argument["options"], options[name]["suboptions"], f"{where} {name}")

    same(base.Macsecs.spec(), documented("DOCUMENTATION")["options"], "macsec")
    same(base.INFO, documented("DOCUMENTATION", "macsec_info")["options"], "macsec_info")


def test_live_and_not_live_are_documented():
    options = documented("DOCUMENTATION")["options"]
    for attribute in macsec.ATTRIBUTES:
        words = options[attribute.option]["description"]
        assert ("Changes live" in words) == attribute.live, attribute.option
        assert ("Not live" in words) != attribute.live, attribute.option


def test_the_table_in_the_documentation_is_the_modules():
    rows = {}
    for line in (ROOT / "docs" / "macsec.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1].startswith("IFLA_"):
            rows[cells[0].strip("`")] = cells[1:]
    assert set(rows) == {attribute.option for attribute in macsec.ATTRIBUTES}
    for attribute in macsec.ATTRIBUTES:
        kernel, reach, default, live = rows[attribute.option]
        assert kernel == attribute.kernel and live == ("live" if attribute.live else "new"), attribute.option
        if attribute.words:
            assert reach == ", ".join(attribute.words)
        elif attribute.high and attribute.option != "icvlen":
            assert reach.startswith(f"{attribute.low} to {attribute.high}")
        if attribute.option in macsec.DEFAULTS and attribute.option != "encrypt":
            assert default == link.show(macsec.DEFAULTS[attribute.option])

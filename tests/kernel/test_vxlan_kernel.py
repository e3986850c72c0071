# SPDX-License-Identifier: GPL-3.0-or-later
"""Module vxlan against the kernel, judged by iproute2 where that knows the attribute."""

import json
import os
import sys
import time
from dataclasses import replace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import FdbResource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.vxlan import Vxlans, info
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import flood_lists
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import link as adapter
from ansible_collections.vtep.fabric.plugins.module_utils._model import link as base
from ansible_collections.vtep.fabric.plugins.module_utils._model import vxlan as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    MissingError,
    RefusedError,
    VerifyError,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan import link as planning
from device_support import MARKS, data, ip, link, names, port, private, sh, twice, vxlan

pytestmark = MARKS

# A value of each attribute that is not the default, and the key and value by which iproute2 tells it.
OTHER = {
    "id": (101, "id", 101),
    "group": ("ff05::101", "group6", "ff05::101"),
    "local": ("2001:db8::9", "local6", "2001:db8::9"),
    "dev": ("under1", "link", "under1"),
    "dstport": (4790, "port", 4790),
    "srcport": ("1000-2000", "port_range", {"low": 1000, "high": 2000}),
    "ttl": (9, "ttl", 9),
    "ttl_inherit": (True, None, None),  # `ip -d` tells it as text only
    "tos": ("inherit", "tos", "0x1"),
    "df": ("set", "df", "set"),
    "label": (0x12345, "label", "0x12345"),
    "label_policy": ("inherit", "label_policy", None),
    "ageing": (77, "ageing", 77),
    "limit": (9, "limit", 9),
    "learning": (False, "learning", False),
    "proxy": (True, "proxy", True),
    "rsc": (True, "rsc", True),
    "l2miss": (True, "l2miss", True),
    "l3miss": (True, "l3miss", True),
    "udp_csum": (False, "udp_csum", False),
    "udp_zero_csum6_tx": (True, "udp_zero_csum6_tx", True),
    "udp_zero_csum6_rx": (True, "udp_zero_csum6_rx", True),
    "remcsum_tx": (True, "remcsum_tx", True),
    "remcsum_rx": (True, "remcsum_rx", True),
    "remcsum_nopartial": (True, None, None),  # iproute2 does not tell it
    "gbp": (True, "gbp", None),
    "gpe": (True, "gpe", None),
    "external": (True, "external", True),
    "vnifilter": (True, "vnifilter", True),
    "vnis": ([100, 200], None, None),  # `bridge vni` tells it
    "localbypass": (False, "localbypass", False),
    "reserved_bits": ("0x70000000000000ff", "reserved_bits", "0x70000000000000ff"),
    "mc_route": (True, "mcroute", True),
}
SPACE = f"vxlantest{os.getpid()}"  # namespaces with names are the whole machine's
FILTER = {"external": True, "vnifilter": True}
BASE = {"id": 100, "local": "2001:db8::1", "group": "ff05::100", "dev": "under0"}
# What another attribute needs beside it, and what is left out for it.
WITH = {
    "gpe": {"external": True, "learning": False},
    "vnifilter": {"external": True},
    "vnis": FILTER,
}


@pytest.fixture(autouse=True)
def _namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(flood_lists, "DIRECTORY", tmp_path / "flood-lists")
    with private():
        sh("ip link set lo up")
        sh("ip link add under0 mtu 1600 type veth peer name far0")
        sh("ip link add under1 mtu 1500 type veth peer name far1")
        for name in ("under0", "under1", "far0", "far1"):
            sh(f"ip link set {name} up")
        yield


@pytest.fixture
def links():
    made = adapter.Links()
    yield made
    made.close()


def found(links, name="vxlan100"):
    return links.read().devices[name]


def options(attribute):
    value = OTHER[attribute.option][0]
    made = {**BASE, **WITH.get(attribute.option, {}), attribute.option: value}
    if made.get("external"):
        made = {key: item for key, item in made.items() if key not in ("id", "group", "dev")}
    return made


def told_by_ip(option, name="vxlan100"):
    """Assert that iproute2 tells the same, if this version of it knows the attribute."""
    _value, key, expected = OTHER[option]
    told = data(name)
    if key and key in told and expected is not None:
        assert told[key] == expected


def fdb(name="vxlan100"):
    rows = json.loads(sh(f"bridge -j fdb show dev {name}"))
    return sorted(((row["mac"], row.get("dst"), row.get("viaIf")) for row in rows if "dst" in row), key=str)


def groups(dev):
    told = json.loads(sh(f"ip -j -6 maddr show dev {dev}"))
    return {one["address"] for device in told for one in device.get("maddr", []) if "address" in one}


@pytest.mark.parametrize("attribute", model.ATTRIBUTES, ids=lambda one: one.option)
def test_a_new_device_gets_each_attribute(attribute, links):
    wanted = options(attribute)
    try:
        twice(vxlan, name="vxlan100", **wanted)
    except MissingError as error:
        assert attribute.probed, error
        pytest.skip(f"NOT TESTED: {error}")
    if attribute.reported:
        value = base.normal(attribute, wanted[attribute.option])
        assert base.same(attribute, value, found(links).has.get(attribute.option))
    told_by_ip(attribute.option)


@pytest.mark.parametrize(
    "attribute", [one for one in model.ATTRIBUTES if one.group == "data"], ids=lambda one: one.option
)
def test_the_table_says_what_is_live(attribute, links):
    """The kernel itself is asked, past the plan: it takes what the table calls live, and refuses the rest."""
    vxlan(name="vxlan100", **{key: value for key, value in BASE.items() if attribute.option != "dev" or key != "group"})
    change = planning.Set("vxlan100", "vxlan", {attribute.option: OTHER[attribute.option][0]})
    if attribute.live:
        links.set(change)
        if attribute.reported:
            assert found(links).has[attribute.option] == OTHER[attribute.option][0]
        told_by_ip(attribute.option)
    else:
        with pytest.raises(KernelError) as told:
            links.set(change)
        assert told.value.errno == 95
        assert "annot change" in told.value.text


EVERY = {
    "local": "2001:db8::1",
    "group": "ff05::100",
    "dev": "under0",
    "srcport": "1000-2000",
    "ttl": 9,
    "tos": "8",
    "df": "inherit",
    "label": 7,
    "label_policy": "inherit",
    "ageing": 77,
    "limit": 9,
    "learning": False,
    "proxy": True,
    "rsc": True,
    "l2miss": True,
    "l3miss": True,
    "udp_csum": False,
    "udp_zero_csum6_tx": True,
    "udp_zero_csum6_rx": True,
    "remcsum_tx": True,
    "remcsum_rx": True,
    "remcsum_nopartial": True,
    "gbp": True,
    "localbypass": False,
    "reserved_bits": "0x7000000000000000",
    "mc_route": True,
    "mtu": 1400,
    "address": "02:00:00:00:01:01",
    "alias": "vtep.fabric vni 100",
    "addrgenmode": "none",
    "up": True,
}


def test_every_attribute_at_once(links):
    sh("ip link add br100 type bridge")
    every = {
        **EVERY,
        "id": 100,
        "dstport": 4799,
        "master": "br100",
        "port": {"learning": False, "neigh_suppress": True},
    }
    twice(vxlan, name="vxlan100", **every)
    has = found(links).has
    for option, value in every.items():
        if option not in ("port", "mc_route"):
            assert base.same(model.OPTIONS[option], base.normal(model.OPTIONS[option], value), has[option]), option
    told = ip("vxlan100")
    assert (told["mtu"], told["address"], told["master"]) == (1400, "02:00:00:00:01:01", "br100")
    assert (told["ifalias"], told["inet6_addr_gen_mode"]) == ("vtep.fabric vni 100", "none")
    assert (port("vxlan100")["learning"], port("vxlan100")["neigh_suppress"]) == (False, True)
    for option, expected in {"proxy": True, "ttl": 9, "limit": 9, "port": 4799, "group6": "ff05::100"}.items():
        assert data("vxlan100")[option] == expected
    # And all that can change live, back again, in one call; reserved_bits of one's own would need a new device.
    vxlan(name="vxlan100", state="absent")
    for option in ("reserved_bits", "gbp", "remcsum_rx"):
        del every[option]
    twice(vxlan, name="vxlan100", **every)
    live = {
        attribute.option: attribute.default for attribute in model.ATTRIBUTES if attribute.live and attribute.reported
    }
    back = {**live, "local": "2001:db8::2", "remote": "2001:db8::3", "tos": "0", "dev": "under1"}
    del back["group"]
    twice(vxlan, name="vxlan100", **back)
    assert fdb() == [("00:00:00:00:00:00", "2001:db8::3", "under1")]


def test_a_device_of_each_family_and_kind():
    listed = [
        {"name": "v4", "id": 1, "local": "192.0.2.1", "remote": "192.0.2.2"},
        {"name": "v6", "id": 1, "local": "2001:db8::1", "remote": "2001:db8::2"},
        {"name": "v4m", "id": 2, "local": "192.0.2.1", "group": "239.1.1.1", "dev": "under0"},
        {"name": "any6", "id": 3, "local": "::"},
        {"name": "ll", "id": 4, "local": "fe80::1", "remote": "fe80::2", "dev": "under0"},
        {"name": "ext", "external": True, "dstport": 4791},
        {"name": "gpe", "external": True, "gpe": True, "learning": False},
        {"name": "filter", "external": True, "vnifilter": True, "dstport": 4792},
    ]
    twice(vxlan, devices=listed)
    assert data("v4")["remote"] == "192.0.2.2"
    assert data("v6")["remote6"] == "2001:db8::2"
    assert data("v4m")["group"] == "239.1.1.1"
    assert data("v6")["port"] == 4789
    assert data("gpe")["port"] == 4790
    # An IPv6 device without a source takes an IPv6 destination into its table, and keeps it.
    sh("bridge fdb add 00:00:00:00:00:00 dev any6 dst 2001:db8::7")
    assert fdb("any6") == [("00:00:00:00:00:00", "2001:db8::7", None)]


def test_answers_can_be_given_back():
    vxlan(name="vxlan100", id=100, **{key: value for key, value in EVERY.items() if key != "mc_route"})
    vxlan(devices=[{"name": "ext", "external": True, "dstport": 4791}, {"name": "v4", "id": 1, "remote": "192.0.2.1"}])
    vxlan(name="filter", vnis=[5, 6, 9], **FILTER)
    told = info({"name": None, "id": None})["devices"]
    assert {one["name"]: one["vnis"] for one in told} == {
        "vxlan100": None,
        "ext": None,
        "v4": None,
        "filter": [5, 6, 9],
    }
    entries = [{key: value for key, value in one.items() if key in Vxlans.device} for one in told]
    assert not vxlan(devices=entries).changed
    assert [one["name"] for one in info({"name": None, "id": 100})["devices"]] == ["vxlan100"]
    # The same devices from nothing.
    vxlan(devices=[{"name": one["name"], "state": "absent"} for one in told])
    entries = [{key: value for key, value in one.items() if value is not None} for one in entries]
    vxlan(devices=entries)
    again = info({"name": None, "id": None})["devices"]
    ids = ("ifindex",)
    assert [{k: v for k, v in one.items() if k not in ids} for one in again] == [
        {k: v for k, v in one.items() if k not in ids} for one in told
    ]


# Traps


def test_a_new_multicast_group_is_joined_and_the_old_one_left(monkeypatch):
    for release in ("6.1.0", "6.18.0"):
        monkeypatch.setattr("os.uname", lambda release=release: type("uname", (), {"release": release}))
        vxlan(name="vxlan100", **BASE, mtu=1430, up=True)
        assert "ff05::100" in groups("under0")
        done = twice(vxlan, name="vxlan100", group="ff05::200")
        assert bool(done.warnings) is (release == "6.1.0")
        assert ("ff05::200" in groups("under0"), "ff05::100" in groups("under0")) == (True, False)
        twice(vxlan, name="vxlan100", dev="under1")
        assert ("ff05::200" in groups("under1"), "ff05::200" in groups("under0")) == (True, False)
        assert fdb() == [("00:00:00:00:00:00", "ff05::200", "under1")]
        assert "UP" in ip("vxlan100")["flags"]
        twice(vxlan, name="vxlan100", group="")
        assert "ff05::200" not in groups("under1")
        assert fdb() == []
        vxlan(name="vxlan100", state="absent")


def flood_list(table):
    """Make the flood list of vxlan100 what the table says, as the fdb module does."""
    resource = FdbResource()
    params = {"dev": ["vxlan100"], "entries": None, "table": table, "src": None, "state": "present", "purge": "owned"}
    try:
        converge(resource, {**params, "anew": []}, False)
    finally:
        resource.close()


@pytest.mark.parametrize(("option", "group"), [("remote", "192.0.2.9"), ("group", "239.0.0.1")])
def test_a_new_destination_leaves_the_flood_list_to_its_owner(option, group):
    vxlan(name="vxlan100", id=100, local="192.0.2.1", dev="under0", up=True)
    flood_list("00:00:00:00:00:00 dst 192.0.2.2\n00:00:00:00:00:00 dst 192.0.2.3")
    sh("bridge fdb append 50:54:33:00:00:01 dev vxlan100 dst 192.0.2.7")
    twice(vxlan, name="vxlan100", **{option: group})
    assert sorted(row[1] for row in fdb()) == sorted(["192.0.2.2", "192.0.2.3", "192.0.2.7", group])
    flood_list("")
    assert sorted(row[1] for row in fdb()) == sorted(["192.0.2.7", group])


@pytest.mark.parametrize("theirs_first", [False, True])
def test_a_conversion_takes_our_destinations_and_leaves_theirs(theirs_first):
    """From a flood list to multicast, when somebody has appended a destination to the list, before or after us."""
    vxlan(name="vxlan100", id=100, local="192.0.2.1", dev="under0", up=True)
    theirs = "bridge fdb append 00:00:00:00:00:00 dev vxlan100 dst 192.0.2.8"
    ours = "00:00:00:00:00:00 dst 192.0.2.2\n00:00:00:00:00:00 dst 192.0.2.3"
    for step in (lambda: sh(theirs), lambda: flood_list(ours))[:: 1 if theirs_first else -1]:
        step()
    twice(vxlan, name="vxlan100", group="239.0.0.1")
    assert sorted(row[1] for row in fdb()) == ["192.0.2.2", "192.0.2.3", "192.0.2.8", "239.0.0.1"]
    flood_list("")
    assert sorted(row[1] for row in fdb()) == ["192.0.2.8", "239.0.0.1"]


def test_dev_cannot_be_taken_away_without_a_new_device():
    vxlan(name="vxlan100", id=100, local="2001:db8::1", dev="under0", mtu=1400)
    with pytest.raises(RefusedError, match="dev"):
        vxlan(name="vxlan100", dev="")
    twice(vxlan, name="vxlan100", dev="", recreate=True)
    assert "link" not in data("vxlan100")
    assert ip("vxlan100")["mtu"] == 1400


def test_reserved_bits_survive_every_change(links):
    if not links._knows("vxlan", model.OPTIONS["reserved_bits"]):
        pytest.skip("NOT TESTED: this kernel has no reserved_bits")
    own = "0x70000000000000ff"
    vxlan(name="vxlan100", **BASE, reserved_bits=own)
    assert found(links).has["reserved_bits"] == own
    with pytest.raises(RefusedError, match="ttl"):
        vxlan(name="vxlan100", ttl=7)
    twice(vxlan, name="vxlan100", mtu=1300, up=True)
    twice(vxlan, name="vxlan100", ttl=7, recreate=True)
    assert (found(links).has["reserved_bits"], found(links).has["ttl"]) == (own, 7)
    with pytest.raises(InputError, match="reserved_bits: 0x0800000000000000 of 0xf"):
        vxlan(name="other", id=5, reserved_bits="0xffffffff000000ff")


@pytest.mark.parametrize("option", ["gbp", "remcsum_rx"])
def test_a_device_goes_on_to_take_the_bits_that_it_uses(option, links):
    """On kernels with reserved_bits a live change makes the bits of gbp reserved, and its packets are dropped."""
    vxlan(name="vxlan100", **BASE, **{option: True})
    before = found(links).has.get("reserved_bits")
    if before is None:
        pytest.skip("NOT TESTED: this kernel has no reserved_bits")
    with pytest.raises(RefusedError, match="ttl .* cannot change on a device that exists"):
        vxlan(name="vxlan100", ttl=7)
    twice(vxlan, name="vxlan100", ttl=7, recreate=True)
    assert found(links).has["reserved_bits"] == before
    # One that something else has changed so is mended by a new device too.
    sh("ip link set vxlan100 type vxlan ageing 99")
    assert found(links).has["reserved_bits"] == model.RESERVED_AFTER_A_CHANGE
    twice(vxlan, name="vxlan100", srcport="7-9", recreate=True)
    assert (found(links).has["reserved_bits"], found(links).has["ageing"]) == (before, 99)


@pytest.mark.parametrize("options_", [{}, {"gbp": True}, {"remcsum_rx": True}, {"gpe": True}])
def test_the_default_of_reserved_bits_is_known(options_, links):
    options_ = {**options_, "external": True, "learning": False} if options_.get("gpe") else {**BASE, **options_}
    vxlan(name="vxlan100", **options_)
    has = found(links).has
    if "reserved_bits" not in has:
        pytest.skip("NOT TESTED: this kernel has no reserved_bits")
    assert has["reserved_bits"] == model.default_reserved_bits(has)


def test_an_mtu_that_does_not_fit_is_told_and_nothing_made():
    for local, fits in (("192.0.2.1", 1550), ("2001:db8::1", 1530)):
        with pytest.raises(InputError, match=f"mtu: 1600 does not fit under0 of mtu 1600; at most {fits} does"):
            vxlan(name="vxlan100", id=5, local=local, dev="under0", mtu=1600)
        assert "vxlan100" not in names()
        twice(vxlan, name="vxlan100", id=5, local=local, dev="under0", mtu=fits)
        assert ip("vxlan100")["mtu"] == fits
        vxlan(name="vxlan100", state="absent")
    with pytest.raises(InputError, match="mtu: 1530 does not fit under1 of mtu 1500"):
        vxlan(name="vxlan100", **BASE)
        vxlan(name="vxlan100", dev="under1")
    twice(vxlan, name="vxlan100", dev="under1", mtu=1430)


# The VNI filter


def shown_vnis():
    """{device: its VNIs} as iproute2 sees them."""
    told = json.loads(sh("bridge -j vni show"))
    return {
        one["ifname"]: [n for entry in one["vnis"] for n in range(entry["vni"], entry.get("vniEnd", entry["vni"]) + 1)]
        for one in told
    }


def test_vnis_are_exactly_those_that_are_wanted():
    sh("ip link add vxlan9 type vxlan id 9 dstport 4789")
    twice(vxlan, name="vxlan0", **FILTER, up=True)
    assert shown_vnis() == {}
    twice(vxlan, name="vxlan0", vnis=[200, 100, 101, 102, 16777215])
    assert shown_vnis() == {"vxlan0": [100, 101, 102, 200, 16777215]}
    done = twice(vxlan, name="vxlan0", vnis=[1, 101, 200])
    assert shown_vnis() == {"vxlan0": [1, 101, 200]}
    assert done.before == "vxlan0 type vxlan\nvxlan0 vnis 100-102,200,16777215\n"
    assert done.after == "vxlan0 type vxlan\nvxlan0 vnis 1,101,200\n"
    assert not vxlan(name="vxlan0", up=True).changed
    twice(vxlan, name="vxlan0", ageing=99, learning=False)
    assert shown_vnis() == {"vxlan0": [1, 101, 200]}
    twice(vxlan, name="vxlan0", dstport=4799, recreate=True)
    assert shown_vnis() == {"vxlan0": [1, 101, 200]}
    twice(vxlan, name="vxlan0", vnis=[])
    assert shown_vnis() == {}
    with pytest.raises(InputError, match="vxlan9: vnis: it needs vnifilter: true and external: true"):
        vxlan(name="vxlan9", vnis=[9])


def test_many_vnis_take_more_than_one_message_to_tell():
    wanted = list(range(2, 4002, 2))
    twice(vxlan, name="vxlan0", vnis=wanted, **FILTER)
    assert shown_vnis() == {"vxlan0": wanted}
    (told,) = info({"name": None, "id": None})["devices"]
    assert told["vnis"] == wanted


def test_an_entry_that_stays_keeps_its_group():
    vxlan(name="vxlan0", vnis=[100, 101], dev="under0", local="2001:db8::1", **FILTER)
    sh("bridge vni add dev vxlan0 vni 101 group ff05::101")
    twice(vxlan, name="vxlan0", vnis=[101, 102])
    told = json.loads(sh("bridge -j vni show dev vxlan0"))[0]["vnis"]
    assert [(one["vni"], one.get("group")) for one in told] == [(101, "ff05::101"), (102, None)]


def test_a_vni_in_use():
    vxlan(name="vxlan1", vnis=[100, 101], **FILTER)
    with pytest.raises(InputError, match="vxlan2: vnis: 101 is taken by vxlan1"):
        vxlan(name="vxlan2", vnis=[101, 102], **FILTER)
    assert "vxlan2" not in names()
    twice(vxlan, devices=[{"name": "vxlan2", "vnis": [101, 102], **FILTER}, {"name": "vxlan1", "vnis": [100]}])
    assert shown_vnis() == {"vxlan1": [100], "vxlan2": [101, 102]}
    # By a device that the module cannot see: made here, moved to another namespace.
    sh(f"ip netns add {SPACE}")
    try:
        sh(f"ip link set vxlan1 netns {SPACE}")
        with pytest.raises(KernelError) as told:
            vxlan(name="vxlan2", vnis=[99, 100, 102])
        assert str(told.value).startswith("vxlan2: add VNI 99-100: VNI in use")
        sh(f"ip -n {SPACE} link del vxlan1")
    finally:
        sh(f"ip netns del {SPACE}")
    twice(vxlan, name="vxlan2", vnis=[99, 100, 102])


# In one word, since sh() splits at blanks.
SEND = "[__import__('socket').socket(2,2).sendto(b'x',('{address}',9))for(n)in(range({count}))]"


def received(name):
    return json.loads(sh(f"ip -s -j link show dev {name}"))[0]["stats64"]["rx"]["packets"]


def test_devices_with_filters_share_a_port_and_each_gets_its_own_packets():
    """Two segments, each with a device of its own, on one port: as routes with encapsulation use them."""
    vxlan(name="vxlan1", vnis=[100], local="2001:db8::1", udp_zero_csum6_rx=True, up=True, **FILTER)
    vxlan(name="vxlan2", vnis=[200], local="2001:db8::1", udp_zero_csum6_rx=True, up=True, **FILTER)
    sh("ip addr add 2001:db8::1/64 dev under0 nodad")
    sh(f"ip netns add {SPACE}")
    try:
        sh(f"ip link set far0 netns {SPACE}")
        for words in (
            "link set lo up",
            "link set far0 up",
            "addr add 2001:db8::2/64 dev far0 nodad",
            "link add vx type vxlan external dstport 4789 local 2001:db8::2",
            "link set vx address 02:00:00:00:00:99 up",
            "addr add 198.51.100.2/32 dev vx",
            "route add 198.51.100.1/32 encap ip6 id 100 dst 2001:db8::1 via 198.51.100.1 dev vx onlink",
            "route add 203.0.113.1/32 encap ip6 id 200 dst 2001:db8::1 via 203.0.113.1 dev vx onlink",
            "neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev vx",
            "neigh add 203.0.113.1 lladdr 02:00:00:00:00:02 dev vx",
        ):
            sh(f"ip -n {SPACE} {words}")
        for address, count, expected in (("198.51.100.1", 3, [3, 0]), ("203.0.113.1", 5, [3, 5])):
            sh(f"ip netns exec {SPACE} {sys.executable} -c {SEND.format(count=count, address=address)}")
            limit = time.monotonic() + 5
            while [received("vxlan1"), received("vxlan2")] != expected and time.monotonic() < limit:
                time.sleep(0.01)
            assert [received("vxlan1"), received("vxlan2")] == expected
    finally:
        sh(f"ip netns del {SPACE}")


# A kernel that does not know an attribute


@pytest.fixture
def future(monkeypatch):
    """An attribute that no kernel has: what localbypass is to 6.1."""
    attribute = replace(
        model.OPTIONS["localbypass"], number=99, kernel="IFLA_VXLAN_FUTURE", option="future", since="9.9"
    )
    monkeypatch.setattr(model, "ATTRIBUTES", (*model.ATTRIBUTES, attribute))
    monkeypatch.setitem(model.KINDS, "vxlan", model.ATTRIBUTES)
    monkeypatch.setitem(adapter.TABLES, "vxlan", model.ATTRIBUTES)
    monkeypatch.setitem(model.OPTIONS, "future", attribute)
    return attribute


def test_an_unknown_attribute_is_an_error_before_anything_is_made(future, links):
    desired = (base.Device("vxlan100", "vxlan", wanted={"id": 5, "future": False}),)
    state = links.probe(desired, links.read())
    assert state.unknown == {"future"}
    from ansible_collections.vtep.fabric.plugins.module_utils._plan.vxlan import Kind

    with pytest.raises(MissingError) as told:
        planning.plan(desired, state, Kind(links.kernel))
    assert str(told.value) == (
        f"kernel {links.kernel} does not know IFLA_VXLAN_FUTURE (future: false): it came with Linux 9.9"
    )


def test_a_half_made_device_is_removed_again(future, links):
    """Where probing did not tell, reading back does."""
    with pytest.raises(MissingError, match="does not know IFLA_VXLAN_FUTURE"):
        links.create(planning.Create("vxlan100", "vxlan", {"id": 5, "dstport": 4789, "future": False}))
    assert "vxlan100" not in names()
    with pytest.raises(VerifyError, match=r"gave vxlan100 IFLA_MTU \(mtu\) 1550, not 1600; the new device was removed"):
        links.create(planning.Create("vxlan100", "vxlan", {"id": 5, "dstport": 4789, "dev": "under0", "mtu": 1600}))
    assert "vxlan100" not in names()


# Refused


def test_another_kind_is_never_touched():
    sh("ip link add vxlan100 type bridge")
    for more in ({"id": 5}, {"state": "absent"}, {"id": 5, "recreate": True}):
        with pytest.raises(
            RefusedError, match="vxlan100: it is a device of kind bridge, not vxlan, and is not touched"
        ):
            vxlan(name="vxlan100", **more)
    assert ip("vxlan100")["linkinfo"]["info_kind"] == "bridge"


def test_a_change_that_needs_a_new_device_tells_the_loss_also_in_check_mode():
    sh("ip link add br100 type bridge")
    vxlan(name="vxlan100", id=100, local="2001:db8::1", master="br100", mtu=1400, up=True, port={"learning": False})
    for number in range(25):
        sh(f"bridge fdb append 00:00:00:00:00:00 dev vxlan100 dst 2001:db8::{number + 10:x}")
    address = ip("vxlan100")["address"]
    for checking in (True, False):
        with pytest.raises(RefusedError) as told:
            vxlan(checking, name="vxlan100", id=101, proxy=True)
        assert "vxlan100: id (100 -> 101), proxy (false -> true) cannot change" in str(told.value)
        assert "for a moment its place in br100" in str(told.value)
    rows = int(str(told.value).partition("would lose ")[2].split()[0])
    assert rows == len(json.loads(sh("bridge -j fdb show dev vxlan100")))
    done = twice(vxlan, name="vxlan100", id=101, proxy=True, recreate=True)
    (change,) = done.result["devices"]
    assert (change["action"], change["lost"][0]) == ("recreated", f"{rows} FDB rows")
    assert fdb() == []
    told = ip("vxlan100")
    assert (told["mtu"], told["address"], told["master"]) == (1400, address, "br100")
    assert "UP" in told["flags"]
    assert port("vxlan100")["learning"] is False
    assert (data("vxlan100")["id"], data("vxlan100")["local6"]) == (101, "2001:db8::1")


def test_one_vni_and_port_twice():
    sh("ip link add other type vxlan id 5 dstport 4789")
    with pytest.raises(InputError, match="vxlan5: id: VNI 5 on UDP port 4789 over IPv4 is taken by other"):
        vxlan(name="vxlan5", id=5)
    assert "vxlan5" not in names()
    # A device that the module cannot see: made here, moved to another namespace.
    sh(f"ip netns add {SPACE}")
    try:
        sh(f"ip link set other netns {SPACE}")
        with pytest.raises(KernelError) as told:
            vxlan(name="vxlan5", id=5)
        assert "A VXLAN device with the specified VNI already exists: VNI 5 on UDP port 4789, perhaps" in str(
            told.value
        )
    finally:
        sh(f"ip netns del {SPACE}")


def test_what_is_missing_is_told_before_the_first_change():
    sh("ip link add vxlan1 type vxlan id 1 dstport 4789")
    wanted = [
        {"name": "vxlan1", "ttl": 9},
        {"name": "vxlan2", "id": 2, "dev": "eth7", "group": "ff05::2"},
        {"name": "vxlan3", "id": 3, "master": "br3"},
    ]
    assert vxlan(checking=True, devices=wanted).changed
    with pytest.raises(
        InputError, match="vxlan2: dev: there is no device eth7; vxlan3: master: there is no device br3"
    ):
        vxlan(devices=wanted)
    assert data("vxlan1")["ttl"] == 0


def test_purge_takes_ours_only():
    link(links=[{"name": "br1", "type": "bridge", "alias": "vtep.fabric"}])
    vxlan(devices=[{"name": f"vxlan{vni}", "id": vni, "alias": f"vtep.fabric {vni}"} for vni in (1, 2, 3)])
    sh("ip link add other type vxlan id 9 dstport 4789")
    twice(vxlan, devices=[{"name": "vxlan2"}], purge="owned")
    assert names() >= {"vxlan2", "other", "br1"}
    assert not names() & {"vxlan1", "vxlan3"}
    twice(vxlan, devices=[], purge="owned")
    assert "vxlan2" not in names()
    assert names() >= {"other", "br1"}

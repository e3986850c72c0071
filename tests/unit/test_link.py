# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices from what is wanted to operations, without a kernel."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.link import Devices, entries
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.vxlan import Vxlans
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import link as adapter
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import pyroute
from ansible_collections.vtep.fabric.plugins.module_utils._model import link as model
from ansible_collections.vtep.fabric.plugins.module_utils._model import vxlan
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    MissingError,
    RefusedError,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan import link as planning

ROOT = Path(__file__).parents[2]
FRESH = {"mtu": 1500, "address": "02:00:00:00:00:01", "alias": "", "addrgenmode": "eui64", "master": "", "up": False}


def found(name, kind="", index=1, addresses=(), lower="", **has):
    has = {key.replace("__", "."): value for key, value in has.items()}
    return model.Found(name, index, kind, {**FRESH, **has}, tuple(addresses), lower)


def state(*devices, **more):
    return model.State({device.name: device for device in devices}, "6.18.0", **more)


def wanted(*options):
    return model.devices(options)


def plan(desired, there, **more):
    return planning.plan(desired, there, **more)


def order(plan_):
    """The operations in short, to compare their order."""
    return [(type(operation).__name__, operation.name) for operation in plan_.operations]


# Normal forms


def test_every_fault_is_told_at_once():
    with pytest.raises(InputError) as told:
        wanted(
            {"name": "a/b", "type": "bridge"},
            {"name": "v", "type": "vlan", "vlan": {"id": 5000}, "mtu": 10},
            {"name": "d", "type": "dummy", "bridge": {"priority": 1}, "addresses": ["x", "2001:db8::1", "2001:db8::1"]},
            {"name": "d", "address": "01:00:5e:00:00:01", "master": "", "port": {"learning": True}},
            {"name": "e", "state": "absent"},
            {"name": "w", "type": "veth", "veth": {"peer": "w"}},
            {"name": "s", "mtu": 1000, "addresses": ["2001:db8::1/64"]},
        )
    told = "\n".join(told.value.faults)
    for fault in (
        "entry 1: name: 'a/b' is not a device name",
        "v: vlan.id: 5000 is out of range; it must be 1 to 4094",
        "v: mtu: 10 is out of range; it must be 68 to 65536",
        "d: bridge.priority: it goes with type bridge only",
        "d: addresses: 'x' is not an address with a prefix length",
        "d: addresses: '2001:db8::1' is there twice",
        "d: address: '01:00:5e:00:00:01' is not a unicast MAC address",
        "d: port: a device without a master has no port settings",
        "d: name: it is listed twice",
        "e: type: it is needed with state absent",
        "w: veth.peer: it must be another device's name",
        "s: mtu: 1000 is below 1280, IPv6 needs that much",
    ):
        assert fault in told


def test_one_device_or_a_list_but_not_both():
    none = dict.fromkeys(Devices.device) | {"state": "present", "recreate": False, "links": None}
    assert entries({**none, "name": "lo", "mtu": 1500}, "links", Devices.device)[0]["mtu"] == 1500
    assert entries({**none, "links": []}, "links", Devices.device) == []
    with pytest.raises(InputError, match="links: it goes without mtu"):
        entries({**none, "links": [], "mtu": 1500}, "links", Devices.device)
    with pytest.raises(InputError, match="name, links: one of the two is needed"):
        entries(none, "links", Devices.device)


@pytest.mark.parametrize(
    ("alias", "owned"),
    [
        ("vtep.fabric", True),
        ("vtep.fabric vni 100", True),
        ("vtep.fabric:100", True),
        ("vtep.fabrics", False),
        ("my vtep.fabric", False),
        ("vtep-fabric", False),
        ("", False),
        (None, False),
    ],
)
def test_the_alias_says_whose_a_device_is(alias, owned):
    assert model.is_owned(alias) is owned


# Order


def test_masters_and_lower_devices_come_first_and_up_comes_last():
    desired = wanted(
        {"name": "eth1.100", "type": "vlan", "vlan": {"dev": "veth0", "id": 100}, "master": "br100", "up": True},
        {"name": "veth0", "type": "veth", "veth": {"peer": "veth1"}, "up": True, "addresses": ["192.0.2.1/24"]},
        {"name": "veth1", "master": "br100", "port": {"isolated": True}},
        {"name": "br100", "type": "bridge", "up": True},
    )
    told = order(plan(desired, state()))
    assert told == [
        ("Create", "veth0"),
        ("Create", "br100"),
        ("Create", "eth1.100"),
        ("Set", "eth1.100"),
        ("Set", "veth1"),
        ("Set", "veth1"),
        ("Set", "veth0"),
        ("Set", "br100"),
        ("Set", "eth1.100"),
        ("AddAddress", "veth0"),
    ]


def test_devices_go_from_top_to_bottom_and_a_veth_pair_once():
    there = state(
        found("br1", "bridge", alias="vtep.fabric"),
        found("v.1", "vlan", alias="vtep.fabric", lower="br1"),
        found("v.1.2", "vlan", alias="vtep.fabric", lower="v.1"),
        found("a", "veth", alias="vtep.fabric", veth__peer="b"),
        found("b", "veth", alias="vtep.fabric", veth__peer="a"),
        found("mine", "bridge"),
        found("vxlan1", "vxlan", alias="vtep.fabric"),
    )
    gone = plan((), there, purge="owned")
    assert order(gone) == [("Remove", "a"), ("Remove", "v.1.2"), ("Remove", "v.1"), ("Remove", "br1")]
    assert {change.name for change in gone.changes if change.action == "removed"} == {"a", "b", "br1", "v.1", "v.1.2"}


def test_purge_keeps_what_is_listed_and_the_other_end_of_it():
    there = state(
        found("a", "veth", alias="vtep.fabric", veth__peer="b"),
        found("b", "veth", alias="vtep.fabric", veth__peer="a"),
        found("br1", "bridge", alias="vtep.fabric"),
    )
    assert order(plan(wanted({"name": "a", "type": "veth"}), there, purge="owned")) == [("Remove", "br1")]
    assert not plan(wanted({"name": "a", "type": "veth"}, {"name": "br1"}), there, purge="owned")


# Ports of our bridges


BR100 = {"name": "br100", "type": "bridge", "alias": "vtep.fabric vni 100"}


def test_a_port_of_our_bridge_is_marked_before_it_gets_there_and_loses_the_mark_after():
    there = state(found("eth1"), found("br100", "bridge", index=2, alias="vtep.fabric vni 100"))
    comes = plan(wanted(BR100, {"name": "eth1", "master": "br100"}), there)
    assert comes.operations == [
        planning.Set("eth1", "", {"linkgroup": 118}),
        planning.Set("eth1", "", {"master": "br100"}),
    ]
    there.devices["eth1"].has.update(master="br100", linkgroup=118)
    assert not plan(wanted(BR100, {"name": "eth1", "master": "br100"}), there, purge="owned")
    for listed in ([BR100], [BR100, {"name": "eth1", "up": False}]):
        assert plan(wanted(*listed), there, purge="owned").operations == [
            planning.Set("eth1", "", {"master": ""}),
            planning.Set("eth1", "", {"linkgroup": 0}),
        ]
        assert not plan(wanted(*listed), there)
    settings = plan(wanted(BR100, {"name": "eth1", "port": {"learning": False}}), there, purge="owned")
    assert settings.operations == [planning.Set("eth1", "", {"port.learning": False})]


def test_what_an_earlier_task_makes_is_ours_and_gets_no_mark():
    """The end of a pair that this task makes gets one."""
    pair = {"name": "v0", "type": "veth", "veth": {"peer": "v1"}}
    told = plan(wanted(BR100, {"name": "ms0", "master": "br100"}, pair, {"name": "v1", "master": "br100"}), state())
    _before, after = planning.lines(told)
    assert "ms0 master br100" in after
    assert [line for line in after if "linkgroup" in line and not line.startswith(("br100", "v0"))] == [
        "v1 linkgroup 118"
    ]


def test_ports_may_leave_before_their_bridge_goes():
    there = state(
        found("eth1", master="br100", linkgroup=118), found("br100", "bridge", index=2, alias="vtep.fabric vni 100")
    )
    for named in ((), (wanted({"name": "eth1", "master": ""}))):
        left = plan(named, there, purge="ports")
        assert left.operations == [planning.Set("eth1", "", {"master": ""}), planning.Set("eth1", "", {"linkgroup": 0})]
        assert left.unlisted == (("br100", "bridge"),)
    assert plan(wanted({"name": "br100"}), there).unlisted == ()


@pytest.mark.parametrize(
    ("port", "operations"),
    [
        ({"master": "br100"}, []),  # somebody else put it there
        ({"master": "br100", "linkgroup": 7}, []),
        ({"master": "br100", "alias": "vtep.fabric vni 100"}, []),  # a VXLAN device, which its own module removes
        ({"master": "lan", "linkgroup": 118}, [planning.Set("eth1", "", {"linkgroup": 0})]),
    ],
)
def test_what_others_put_somewhere_stays_there(port, operations):
    ours = found("br100", "bridge", index=2, alias="vtep.fabric vni 100")
    there = state(found("eth1", **port), ours, found("lan", "bridge", index=3))
    assert plan(wanted(BR100), there, purge="owned").operations == operations


def test_a_port_of_another_bridge_is_not_marked():
    there = state(found("eth1"), found("lan", "bridge", index=3))
    assert plan(wanted({"name": "eth1", "master": "lan"}), there).operations == [
        planning.Set("eth1", "", {"master": "lan"})
    ]


# Refusals


def test_another_kind_is_never_touched():
    for option in ({"mtu": 1400}, {"state": "absent"}, {"recreate": True}):
        with pytest.raises(RefusedError, match="br1: it is a device of kind vxlan, not bridge, and is not touched"):
            plan(wanted({"name": "br1", "type": "bridge", **option}), state(found("br1", "vxlan")))


def test_what_stands_on_a_device_keeps_it():
    there = state(found("br1", "bridge", alias="vtep.fabric"), found("other", "macvlan", lower="br1"))
    with pytest.raises(RefusedError, match="br1: other is on top of it and would go with it"):
        plan((), there, purge="owned")


def test_a_change_that_needs_a_new_device_is_refused_with_what_would_be_lost():
    there = state(
        found("eth1"),
        found(
            "eth1.5",
            "vlan",
            index=7,
            addresses=[model.Address("192.0.2.1/24"), model.Address("fe80::1/64", link_local=True)],
            lower="eth1",
            master="br5",
            mtu=1400,
            vlan__dev="eth1",
            vlan__id=5,
            vlan__protocol="802.1q",
            port__cost=9,
        ),
    )
    option = {"name": "eth1.5", "type": "vlan", "vlan": {"id": 6}}
    with pytest.raises(RefusedError) as told:
        plan(wanted(option), there, count_rows={7: 12}.get)
    assert str(told.value) == (
        "eth1.5: vlan.id (5 -> 6) cannot change on a device that exists; a new one would lose 12 FDB rows, "
        "its neighbours and routes, for a moment its place in br5, for a moment 192.0.2.1/24; "
        "set recreate: true to accept that"
    )
    new = plan(wanted({**option, "recreate": True}), there, count_rows={7: 12}.get)
    assert new.operations[0] == planning.Remove("eth1.5")
    made = new.operations[1].values
    assert (made["vlan.id"], made["vlan.dev"], made["mtu"], made["address"]) == (6, "eth1", 1400, FRESH["address"])
    assert planning.Set("eth1.5", "vlan", {"master": "br5"}) in new.operations
    assert planning.Set("eth1.5", "vlan", {"port.cost": 9}) in new.operations
    assert new.operations[-1] == planning.AddAddress("eth1.5", model.Address("192.0.2.1/24"))
    assert planning.report(new)[0]["action"] == "recreated"
    assert planning.report(new)[0]["changes"] == {"vlan.id": {"before": 5, "after": 6}}
    assert "12 FDB rows" in planning.warnings(new)[0]


def test_a_new_device_needs_its_essentials():
    with pytest.raises(InputError, match="v: vlan.dev: a new vlan device needs it; v: vlan.id: a new"):
        plan(wanted({"name": "v", "type": "vlan"}), state())
    with pytest.raises(InputError, match="v: vlan.dev: br is removed in the same call"):
        plan(
            wanted({"name": "br", "type": "bridge", "state": "absent"}, {"name": "v", "type": "vlan"}),
            state(found("br", "bridge"), found("v", "vlan", lower="br", vlan__dev="br", vlan__id=3)),
        )


def test_a_low_mtu_does_not_take_ipv6_away():
    there = state(found("eth0", addresses=[model.Address("2001:db8::1/64")]))
    with pytest.raises(RefusedError, match="mtu 1279 is below 1280 and would take IPv6 off the device, with 2001:db8"):
        plan(wanted({"name": "eth0", "mtu": 1279}), there)
    assert plan(wanted({"name": "eth0", "mtu": 1280}), there)
    assert plan(wanted({"name": "eth0", "mtu": 1000}), state(found("eth0", addresses=[model.Address("192.0.2.1/24")])))


def test_what_an_earlier_task_makes_may_be_missing_until_the_run():
    told = plan(
        wanted(
            {"name": "eth1", "master": "br1"},
            {"name": "vxlan1", "port": {"learning": False}},
            {"name": "v", "type": "vlan", "vlan": {"dev": "bond0", "id": 4}},
        ),
        state(found("eth1")),
    )
    assert told
    with pytest.raises(InputError) as faults:
        planning.rehearse(told)
    assert faults.value.faults == [
        "eth1: master: there is no device br1",
        "vxlan1: name: there is no such device, and without a type none is made",
        "v: vlan.dev: there is no device bond0",
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dummy", "kernel has no DUMMY: CONFIG_DUMMY"),
        ("vlan", "kernel has no VLAN_8021Q: CONFIG_VLAN_8021Q"),
        ("vxlan", "kernel has no VXLAN: CONFIG_VXLAN"),
    ],
)
def test_a_kernel_without_a_kind_is_named(kind, words):
    with pytest.raises(MissingError) as told:
        plan((), state(lacking=frozenset([kind])))
    assert str(told.value) == words
    # The same from the kernel's own words, where probing did not tell.
    error = KernelError("x: create", 95, "Unknown device type")
    assert str(adapter._explained(error, kind, {})) == words


def test_an_attribute_that_the_kernel_does_not_report_is_missing():
    there = state(found("br1", "bridge", bridge__priority=1))
    with pytest.raises(MissingError) as told:
        plan(wanted({"name": "br1", "type": "bridge", "bridge": {"vlan_filtering": True}}), there)
    assert "kernel 6.18.0 does not know IFLA_BR_VLAN_FILTERING (bridge.vlan_filtering: true)" in str(told.value)
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in str(told.value)
    assert not plan(wanted({"name": "br1", "type": "bridge", "bridge": {"vlan_filtering": False}}), there)


@pytest.mark.parametrize(
    ("version", "words"), [("0.5.14", "pyroute2 0.5.14 is too old: 0.7.2 or newer is needed"), ("0.7.2", None)]
)
def test_an_old_pyroute2_is_named(version, words, monkeypatch):
    monkeypatch.setattr(importlib.import_module("pyroute2.config.version"), "__version__", version)
    if words:
        with pytest.raises(MissingError) as told:
            pyroute.load()
        assert str(told.value) == words
    else:
        assert pyroute.load()[0] is importlib.import_module("pyroute2.netlink")


def test_a_host_without_pyroute2_is_told_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pyroute2 is not installed .*: apt-get install python3-pyroute2"):
        pyroute.load()


def test_only_what_is_used_of_pyroute2_is_imported_and_the_whole_is_to_be_had_afterwards():
    text = (
        "import sys\n"
        "from ansible_collections.vtep.fabric.plugins.module_utils._kernel import pyroute\n"
        "first = pyroute.load()\n"
        "assert not [name for name in sys.modules if name.startswith(('pyroute2.ndb', 'pyroute2.iproute', 'asyncio'))]\n"
        "assert pyroute.load() == first\n"
        "import pyroute2\n"
        "assert pyroute2.IPRoute and pyroute.load() == first\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, env={**os.environ, "PYTHONPATH": "collections"}, cwd=ROOT)


# Addresses

OURS = model.Address("2001:db8::1/128", owned=True)
THEIRS = model.Address("192.0.2.9/24")


def addresses(plan_):
    return [
        (type(operation).__name__, operation.name, operation.address.text)
        for operation in plan_.operations
        if hasattr(operation, "address")
    ]


def test_addresses_are_added_marked_and_others_left_alone():
    there = state(found("lo", addresses=[OURS, THEIRS]))
    told = plan(wanted({"name": "lo", "addresses": ["192.0.2.9/24", "203.0.113.1"]}), there)
    assert told.operations == [planning.AddAddress("lo", model.Address("203.0.113.1/32", owned=True))]


@pytest.mark.parametrize(
    ("purge", "gone"),
    [
        ("none", []),
        ("listed", [("RemoveAddress", "lo", "2001:db8::1/128")]),
        ("owned", [("RemoveAddress", "eth0", "2001:db8::1/128"), ("RemoveAddress", "lo", "2001:db8::1/128")]),
    ],
)
def test_only_marked_addresses_are_purged(purge, gone):
    there = state(
        found("lo", addresses=[OURS, THEIRS]), found("eth0", addresses=[OURS, THEIRS]), found("eth1", addresses=[OURS])
    )
    told = plan(wanted({"name": "lo", "addresses": []}, {"name": "eth1"}), there, purge_addresses=purge)
    assert sorted(addresses(told)) == gone


def test_another_prefix_length_replaces_ours_and_is_refused_for_theirs():
    option = {"name": "lo", "addresses": ["2001:db8::1/64"]}
    assert addresses(plan(wanted(option), state(found("lo", addresses=[OURS])))) == [
        ("RemoveAddress", "lo", "2001:db8::1/128"),
        ("AddAddress", "lo", "2001:db8::1/64"),
    ]
    with pytest.raises(InputError, match="2001:db8::1/128 is there and not of vtep.fabric; remove it first"):
        plan(wanted(option), state(found("lo", addresses=[model.Address("2001:db8::1/128")])))


# Ports


def test_a_port_that_moves_gets_all_its_settings_again():
    there = state(found("br1", "bridge"), found("eth1", master="br0", port__learning=False))
    told = plan(wanted({"name": "eth1", "master": "br1", "port": {"learning": False}}), there)
    assert told.operations == [
        planning.Set("eth1", "", {"master": "br1"}),
        planning.Set("eth1", "", {"port.learning": False}),
    ]


def test_a_port_whose_bridge_goes_is_no_port():
    there = state(found("br1", "bridge"), found("eth1", master="br1"))
    desired = wanted(
        {"name": "br1", "type": "bridge", "state": "absent"}, {"name": "eth1", "port": {"learning": False}}
    )
    with pytest.raises(InputError, match="eth1: port: it has no master"):
        planning.rehearse(plan(desired, there))


def test_the_mark_is_set_right_after_a_device_is_made():
    """A run that breaks off in between would leave a device that nobody takes for ours."""
    desired = wanted(
        {"name": "br1", "type": "bridge", "alias": "vtep.fabric 1"},
        {"name": "br2", "type": "bridge", "alias": "vtep.fabric 2"},
    )
    assert [(type(one).__name__, one.name) for one in plan(desired, state()).operations] == [
        ("Create", "br1"),
        ("Set", "br1"),
        ("Create", "br2"),
        ("Set", "br2"),
    ]


# Read back


def test_differences_name_what_is_not_as_wanted():
    desired = wanted(
        {"name": "eth1", "mtu": 1600, "addresses": ["192.0.2.1/24"]}, {"name": "gone", "type": "bridge", "mtu": 1500}
    )
    there = state(found("eth1", addresses=[OURS]), found("br9", "bridge", alias="vtep.fabric"))
    told = plan(desired, there, purge="owned", purge_addresses="listed")
    assert planning.differences(desired, there, told) == [
        "eth1 mtu is 1500, not 1600",
        "eth1 has no address 192.0.2.1/24",
        "gone is not there",
        "br9 is still there",
        "eth1 still has the address 2001:db8::1/128",
    ]


def test_the_diff_has_a_line_for_each_attribute():
    there = state(found("eth1"), found("br9", "bridge", alias="vtep.fabric"))
    told = plan(
        wanted({"name": "eth1", "mtu": 1600, "up": True}, {"name": "d", "type": "dummy", "up": True}),
        there,
        purge="owned",
    )
    before, after = planning.lines(told)
    assert before[:2] == ["eth1 mtu 1500", "eth1 up false"]
    assert "br9 alias vtep.fabric" in before
    assert after == ["eth1 mtu 1600", "eth1 up true", "d type dummy", "d up true"]


# What is written twice


def header_numbers():
    """{name: number} of the enumerations in the installed linux/if_link.h, which can be older than our tables."""
    text = re.sub(r"/\*.*?\*/", "", Path("/usr/include/linux/if_link.h").read_text(), flags=re.S)
    numbers = {}
    for body in re.findall(r"enum\s*\w*\s*\{(.*?)\}", text, re.S):
        value = -1
        for entry in filter(None, map(str.strip, body.split(","))):
            name, _equals, given = map(str.strip, entry.partition("="))
            value = int(given, 0) if given.isdigit() else value + 1
            numbers[name] = value
    return numbers


@pytest.mark.skipif(not Path("/usr/include/linux/if_link.h").exists(), reason="NOT TESTED: no kernel headers installed")
def test_the_numbers_are_those_of_the_kernel_header():
    numbers = header_numbers()
    checked = 0
    for table in (model.LINK, model.PORT, *model.KINDS.values(), vxlan.ATTRIBUTES):
        for attribute in table:
            if attribute.kernel in numbers:
                assert attribute.number == numbers[attribute.kernel], attribute.kernel
                checked += 1
            if attribute.number6:
                assert attribute.number6 == numbers[f"{attribute.kernel}6"]
    assert checked > 45


@pytest.mark.parametrize(("module", "resource"), [("link", Devices), ("vxlan", Vxlans)])
def test_documentation_and_arguments_agree(module, resource):
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    told = yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', source, re.S).group(1))["options"]

    def same(spec, options, where):
        assert set(spec) == set(options), where
        for name, argument in spec.items():
            option = options[name]
            for key in ("type", "choices", "default", "elements", "required"):
                assert argument.get(key) == option.get(key), f"{where} {name} {key}"
            if "options" in argument:
                same(argument["options"], option["suboptions"], f"{where} {name}")

    same(resource.spec(), told, module)


RANGED = [
    attribute
    for attribute in (*model.BRIDGE, *model.PORT, *vxlan.ATTRIBUTES)
    if attribute.high and attribute.form not in ("ports", "bits")
]


@pytest.mark.parametrize("attribute", RANGED, ids=lambda one: one.option)
def test_ranges_are_documented(attribute):
    module = "vxlan" if attribute in vxlan.ATTRIBUTES else "link"
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    told = yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', source, re.S).group(1))["options"]
    group, dot, name = attribute.option.rpartition(".")
    words = (told[group]["suboptions"] if dot else told)[name]["description"]
    assert f"{attribute.low} to {attribute.high}" in words

# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with what on a VXLAN device, and how it changes, without a kernel."""

import random
import re
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import link as base
from ansible_collections.vtep.fabric.plugins.module_utils._model import vnis
from ansible_collections.vtep.fabric.plugins.module_utils._model import vxlan as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError, MissingError, RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import link as planning
from ansible_collections.vtep.fabric.plugins.module_utils._plan.vxlan import AddVnis, Kind, RemoveVnis

ROOT = Path(__file__).parents[2]
LINK = {"mtu": 1430, "address": "02:00:00:00:00:01", "alias": "", "addrgenmode": "eui64", "master": "", "up": True}
NEW, OLD = Kind("6.18.44"), Kind("6.1.0-28-amd64")


def found(name="vxlan100", **has):
    own = {**model.DEFAULTS, "id": 100, "group": "", "local": "", "dev": ""}
    del own["mc_route"]
    own = {**LINK, **own, **has}
    own.setdefault("reserved_bits", model.default_reserved_bits(own))
    return base.Found(name, 9, "vxlan", own, lower=own["dev"])


def lower(name="eth0", mtu=1500):
    return base.Found(name, 2, "", {**LINK, "mtu": mtu})


def state(*devices, **more):
    return base.State({device.name: device for device in devices}, "6.18.44", **more)


def wanted(name="vxlan100", **options):
    return model.devices([{"name": name, **options}])


def plan(desired, there, kind=NEW, **more):
    return planning.plan(desired, there, kind, **more)


def values(plan_):
    return [operation.values for operation in plan_.operations]


def test_every_fault_is_told_at_once():
    with pytest.raises(InputError) as told:
        model.devices(
            [
                {"name": "a", "id": 0, "ttl": 256, "group": "ff05::1", "remote": "2001:db8::1", "dstport": 70000},
                {"name": "b", "id": 16777216, "local": "ff05::1", "tos": "yes", "srcport": "5000-5000"},
                {"name": "c", "local": "192.0.2.1", "remote": "2001:db8::1", "label": 1048576, "ageing": 0},
                {"name": "d", "group": "192.0.2.1", "df": "maybe", "reserved_bits": "many"},
                {"name": "e", "remote": "239.0.0.1", "ttl": 5, "ttl_inherit": True, "limit": -1},
            ]
        )
    told = "\n".join(told.value.faults)
    for fault in (
        "a: group, remote: give one of the two",
        "a: id: 0 is out of range; it must be 1 to 16777215",
        "a: ttl: 256 is out of range; it must be 0 to 255",
        "a: dstport: 70000 is out of range",
        "b: id: 16777216 is out of range",
        "b: local: ff05::1 is multicast",
        "b: tos: 'yes' is not a whole number; it must be 0 to 255",
        "b: srcport: '5000-5000' is no range",
        "c: local, group: 192.0.2.1 and 2001:db8::1 are of different families",
        "c: label: 1048576 is out of range; it must be 0 to 1048575",
        "c: ageing: 0 is out of range; it must be 1 to 4294967295",
        "d: group: 192.0.2.1 is not multicast; remote takes it",
        "d: df: 'maybe' is not one of unset, set, inherit",
        "d: reserved_bits: 'many' is not a whole number",
        "e: remote: 239.0.0.1 is multicast; group takes it",
        "e: ttl: with ttl_inherit it has no effect",
        "e: limit: -1 is out of range",
    ):
        assert fault in told


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "id: a new VXLAN device needs it"),
        ({"id": 1, "group": "ff05::1"}, "dev: the multicast group ff05::1 needs it"),
        ({"id": 1, "group": "239.1.1.1"}, "dev: the multicast group 239.1.1.1 needs it"),
        ({"id": 1, "local": "fe80::1"}, "dev: the link-local address fe80::1 needs it"),
        ({"id": 1, "local": "fe80::1", "dev": "eth0", "remote": "2001:db8::1"}, "fe80::1 is link-local and 2001:db8"),
        (
            {"id": 1, "local": "2001:db8::1", "dev": "eth0", "remote": "fe80::1"},
            "fe80::1 is link-local and local is not",
        ),
        ({"id": 1, "label": 5}, "label: it goes with an IPv6 underlay only"),
        ({"id": 1, "local": "192.0.2.1", "label_policy": "inherit"}, "label_policy: it goes with an IPv6 underlay"),
        ({"id": 1, "external": True}, "id: an external device takes the VNI from each packet"),
        ({"id": 1, "vnifilter": True}, "vnifilter: it needs external: true"),
        ({"id": 1, "gpe": True, "learning": False}, "gpe: it needs external: true"),
        ({"external": True, "gpe": True}, "gpe: learning must be false with it"),
        ({"external": True, "gpe": True, "learning": False, "proxy": True}, "gpe: proxy must be false with it"),
        ({"id": 1, "gbp": True, "reserved_bits": "0xf7ffffff000000ff"}, "reserved_bits: 0x80ffffff00000000 of"),
    ],
)
def test_what_does_not_go_together(options, fault):
    with pytest.raises(InputError) as told:
        plan(wanted(**options), state(lower()))
    assert fault in str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        {"id": 1},
        {"external": True},
        {"external": True, "gpe": True, "learning": False, "vnifilter": True},
        {"id": 1, "local": "::", "label": 5},
        {"id": 1, "local": "fe80::1", "remote": "fe80::2", "dev": "eth0"},
        {"id": 1, "local": "2001:db8::1", "group": "ff05::1", "dev": "eth0", "label_policy": "inherit"},
        {"id": 1, "gbp": True, "reserved_bits": "0x77000000000000ff"},
    ],
)
def test_what_goes_together(options):
    assert plan(wanted(**options), state(lower()))


def test_a_new_device_gets_the_assigned_port():
    assert values(plan(wanted(id=5), state()))[0] == {"dstport": 4789, "id": 5}
    assert values(plan(wanted(id=5, dstport=8472), state()))[0]["dstport"] == 8472
    gpe = wanted(external=True, gpe=True, learning=False)
    assert values(plan(gpe, state()))[0]["dstport"] == 4790


def test_only_what_changes_is_sent():
    told = plan(wanted(id=100, ttl=5, learning=True, df="unset"), state(found()))
    assert values(told) == [{"ttl": 5}]
    assert not plan(wanted(id=100, learning=True, label_policy="fixed", remote="", tos="0", mtu=1430), state(found()))


@pytest.mark.parametrize("attribute", model.ATTRIBUTES, ids=lambda one: one.option)
def test_what_is_not_live_needs_a_new_device(attribute):
    other = {
        "ip": "2001:db8::9",
        "dev": "eth1",
        "ports": "5-6",
        "tos": "inherit",
        "bits": "0x1",
        "vnis": [100],
        "word": attribute.words and attribute.words[-1],
        "word32": attribute.words and attribute.words[-1],
    }.get(attribute.form)
    if attribute.form in ("bool", "flag", "inheritflag"):
        other = not attribute.default
    device = found(local="2001:db8::1", dev="eth0", mc_route=False)
    if attribute.option == "id":
        device = found(id=7)
    option = "remote" if attribute.option == "group" else attribute.option
    companions = {"vnifilter": {"external": True}, "gpe": {"external": True, "learning": False}}.get(option, {})
    if option == "vnis":
        device = found(id=0, external=True, vnifilter=True, vnis="")
    if option in ("external", "vnifilter", "gpe"):
        device = found(id=0, external=bool(companions), learning=False)
    desired = wanted(**{option: other if other is not None else 8, **companions})
    there = state(device, lower(), lower("eth1"))
    if attribute.live:
        kinds = {type(operation) for operation in plan(desired, there).operations}
        assert kinds == {AddVnis if option == "vnis" else planning.Set}
    else:
        with pytest.raises(RefusedError, match=f"vxlan100: {attribute.option} .* set recreate: true"):
            plan(desired, there)


def test_recreating_keeps_what_is_not_given():
    device = found(local="2001:db8::1", ttl=9, proxy=True, master="br100", alias="vtep.fabric", label=7)
    told = plan(wanted(id=200, recreate=True), state(device), count_rows=lambda index: 1234)
    made = told.operations[1]
    assert told.operations[0] == planning.Remove("vxlan100")
    assert {
        "id": 200,
        "local": "2001:db8::1",
        "ttl": 9,
        "proxy": True,
        "label": 7,
        "mtu": 1430,
    }.items() <= made.values.items()
    assert made.values["address"] == LINK["address"]
    assert "reserved_bits" not in made.values  # the default depends on the flags
    assert planning.Set("vxlan100", "vxlan", {"master": "br100"}) in told.operations
    assert planning.report(told)[0]["lost"][0] == "1234 FDB rows"


def test_families_do_not_change_live():
    for device, options in (
        (found(local="192.0.2.1"), {"local": "2001:db8::1"}),
        (found(local="2001:db8::1"), {"local": "192.0.2.1"}),
        (found(), {"local": "2001:db8::1"}),
        (found(), {"remote": "2001:db8::1"}),
    ):
        with pytest.raises(RefusedError, match="set recreate: true"):
            plan(wanted(**options), state(device))
    assert values(plan(wanted(local="192.0.2.1"), state(found()))) == [{"local": "192.0.2.1"}]


def test_none_is_said_with_the_family_that_is_there():
    device = found(local="2001:db8::1", group="2001:db8::2")
    assert values(plan(wanted(remote=""), state(device))) == [{"group": "::"}]
    device = found(local="192.0.2.1", group="192.0.2.2")
    assert values(plan(wanted(local=""), state(device))) == [{"local": "0.0.0.0"}]


def test_dev_cannot_be_taken_away_live():
    with pytest.raises(RefusedError, match=r"dev \(eth0 -> none\) cannot change"):
        plan(wanted(dev=""), state(found(dev="eth0"), lower()))


def test_a_multicast_group_changes_with_the_device_down_on_old_kernels_only():
    device = found(local="2001:db8::1", group="ff05::100", dev="eth0")
    desired = wanted(group="ff05::200")
    assert values(plan(desired, state(device, lower()))) == [{"group": "ff05::200"}]
    told = plan(desired, state(device, lower()), OLD)
    assert values(told) == [{"up": False}, {"group": "ff05::200"}, {"up": True}]
    assert "it goes down and up for its multicast group" in planning.warnings(told)[0]
    down = found(local="2001:db8::1", group="ff05::100", dev="eth0", up=False)
    assert values(plan(desired, state(down, lower()), OLD)) == [{"group": "ff05::200"}]
    assert values(plan(wanted(ttl=4), state(device, lower()), OLD)) == [{"ttl": 4}]


def test_a_new_dev_takes_the_default_row_along():
    device = found(local="2001:db8::1", group="ff05::100", dev="eth0")
    told = plan(wanted(dev="eth1"), state(device, lower(), lower("eth1")))
    assert values(told) == [{"group": "::"}, {"dev": "eth1", "group": "ff05::100"}]


def test_reserved_bits_of_ones_own_allow_no_live_change():
    device = found(reserved_bits="0x70000000000000ff")
    with pytest.raises(RefusedError, match=r"ttl \(0 -> 5\) cannot change"):
        plan(wanted(ttl=5), state(device))
    assert values(plan(wanted(mtu=1400), state(device))) == [{"mtu": 1400}]
    told = plan(wanted(ttl=5, recreate=True), state(device))
    assert told.operations[1].values["reserved_bits"] == "0x70000000000000ff"


def test_a_device_that_uses_reserved_bits_allows_no_live_change():
    with pytest.raises(RefusedError, match=r"ttl \(0 -> 5\) cannot change"):
        plan(wanted(ttl=5), state(found(gbp=True)))
    told = plan(wanted(ttl=5, recreate=True), state(found(gbp=True)))
    assert "reserved_bits" not in told.operations[1].values
    # Kernels before 6.14 have no such attribute, and take the change.
    old = found(gbp=True)
    del old.has["reserved_bits"]
    assert values(plan(wanted(ttl=5), state(old))) == [{"ttl": 5}]


def test_two_devices_on_one_vni_and_port():
    there = state(found("vxlan1", id=5))
    with pytest.raises(InputError) as told:
        plan(wanted("vxlan2", id=5), there)
    assert "vxlan2: id: VNI 5 on UDP port 4789 over IPv4 is taken by vxlan1" in str(told.value)
    for different in ({"dstport": 4790}, {"local": "2001:db8::1"}, {"gbp": True}, {"udp_zero_csum6_rx": True}):
        assert plan(wanted("vxlan2", id=5, **different), there)
    mine = state(found("vxlan1", id=5, alias="vtep.fabric"))
    assert plan(wanted("vxlan2", id=5), mine, purge="owned")
    with pytest.raises(InputError):
        plan(model.devices([{"name": "a", "id": 8}, {"name": "b", "id": 8}]), state())


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({"local": "192.0.2.1"}, 1450),
        ({"local": "2001:db8::1"}, 1430),
        ({"external": True, "gpe": True, "learning": False}, 1464),
    ],
)
def test_an_mtu_that_does_not_fit_is_told_before_the_run(options, fits):
    options = {"id": None if "external" in options else 5, "dev": "eth0", **options}
    planning.rehearse(plan(wanted(mtu=fits, **options), state(lower())))
    told = plan(wanted(mtu=fits + 1, **options), state(lower()))
    with pytest.raises(InputError, match=f"mtu: {fits + 1} does not fit eth0 of mtu 1500; at most {fits} does"):
        planning.rehearse(told)


def test_an_unknown_attribute_is_named_with_the_kernel():
    there = base.State({}, "6.1.0", unknown=frozenset(["localbypass"]))
    with pytest.raises(MissingError) as told:
        plan(wanted(id=5, localbypass=False), there, OLD)
    assert str(told.value) == (
        "kernel 6.1.0 does not know IFLA_VXLAN_LOCALBYPASS (localbypass: false): it came with Linux 6.5"
    )
    # What such a kernel does anyway is not refused.
    assert plan(wanted(id=5, localbypass=True), there, OLD)
    device = found()
    del device.has["localbypass"]
    with pytest.raises(MissingError, match="kernel 6.18.44 does not know IFLA_VXLAN_LOCALBYPASS"):
        plan(wanted(localbypass=False), state(device))


def test_what_the_kernel_does_not_tell_is_warned_of():
    told = plan(wanted(mc_route=True), state(found()))
    assert not told
    assert "this kernel does not tell mc_route" in planning.warnings(told)[0]
    assert values(plan(wanted("new", id=5, mc_route=True), state(found()))) == [
        {"dstport": 4789, "id": 5, "mc_route": True}
    ]


FILTER = {"external": True, "vnifilter": True}


def filtering(name="vxlan0", vnis="", **has):
    return found(name, id=0, vnis=vnis, **FILTER, **has)


def vnis_of(plan_):
    return [(type(one), one.name, one.ranges) for one in plan_.operations if isinstance(one, (AddVnis, RemoveVnis))]


def test_vnis_are_made_exactly_those_that_are_wanted():
    there = state(filtering(vnis="100-105,200,300-400"))
    told = plan(wanted("vxlan0", vnis=[200, 104, 99, 103, 100]), there)
    assert vnis_of(told) == [
        (RemoveVnis, "vxlan0", [(101, 102), (105, 105), (300, 400)]),
        (AddVnis, "vxlan0", [(99, 99)]),
    ]
    assert planning.lines(told) == (
        ["vxlan0 type vxlan", "vxlan0 vnis 100-105,200,300-400"],
        ["vxlan0 type vxlan", "vxlan0 vnis 99-100,103-104,200"],
    )
    assert not plan(wanted("vxlan0"), there)
    assert not plan(wanted("vxlan0", vnis=[*range(100, 106), 200, *range(400, 299, -1)]), there)
    assert vnis_of(plan(wanted("vxlan0", vnis=[]), state(filtering(vnis="5")))) == [(RemoveVnis, "vxlan0", [(5, 5)])]


def test_a_new_device_gets_its_vnis_after_it_was_made():
    told = plan(wanted("vxlan0", vnis=[7, 8], up=True, **FILTER), state())
    assert [type(one) for one in told.operations] == [planning.Create, AddVnis, planning.Set]
    assert "vnis" not in told.operations[0].values
    assert vnis_of(told) == [(AddVnis, "vxlan0", [(7, 8)])]


def test_a_device_made_anew_keeps_its_vnis():
    there = state(filtering(vnis="7-9"))
    told = plan(wanted("vxlan0", dstport=4790, recreate=True), there)
    assert vnis_of(told) == [(AddVnis, "vxlan0", [(7, 9)])]
    told = plan(wanted("vxlan0", vnis=[8], dstport=4790, recreate=True), there)
    assert vnis_of(told) == [(AddVnis, "vxlan0", [(8, 8)])]
    # One that becomes a device of one VNI has nowhere to keep them.
    assert vnis_of(plan(wanted("vxlan0", id=7, external=False, vnifilter=False, recreate=True), there)) == []


def test_vnis_need_a_filter():
    for options, there in (
        ({"id": 5}, state()),
        ({"external": True}, state()),
        ({"vnifilter": False}, state()),
        ({}, state(found("vxlan0"))),
    ):
        for some in ([100], []):
            with pytest.raises(InputError, match="vxlan0: vnis: it needs vnifilter: true and external: true"):
                plan(wanted("vxlan0", vnis=some, **options), there)


def test_a_kernel_without_filters_is_named():
    there = base.State({}, "5.10.0", unknown=frozenset(["vnifilter"]))
    with pytest.raises(MissingError) as told:
        plan(wanted("vxlan0", vnis=[100], **FILTER), there, OLD)
    assert str(told.value) == (
        "kernel 5.10.0 does not know IFLA_VXLAN_VNIFILTER (vnifilter: true): it came with Linux 5.18"
    )


def test_faults_of_vnis_are_told_at_once():
    with pytest.raises(InputError) as told:
        wanted(vnis=[0, 5, 16777216, 5, 6], **FILTER)
    assert str(told.value).endswith(
        "vxlan100: vnis: 0 is out of range; it must be 1 to 16777215; 16777216 is out of range; it must be 1 to "
        "16777215; 5 is there twice"
    )


def test_devices_with_filters_share_a_port_but_no_vni():
    there = state(filtering("vxlan1", vnis="100-199"), filtering("vxlan9", vnis="150", dstport=4790))
    assert plan(wanted("vxlan2", vnis=[99, 200], **FILTER), there)
    assert plan(wanted("vxlan2", vnis=[150], local="2001:db8::1", **FILTER), there)
    with pytest.raises(InputError) as told:
        plan(wanted("vxlan2", vnis=[99, 150, 200], **FILTER), there)
    assert "vxlan2: vnis: 150 is taken by vxlan1, which has the same UDP port and family" in str(told.value)
    # What one gives up, another may have in the same call; and it goes before it comes.
    desired = model.devices(
        [{"name": "vxlan2", "vnis": [150], **FILTER}, {"name": "vxlan1", "vnis": [*range(100, 150), *range(151, 200)]}]
    )
    assert vnis_of(plan(desired, there)) == [
        (RemoveVnis, "vxlan1", [(150, 150)]),
        (AddVnis, "vxlan2", [(150, 150)]),
    ]


def test_ranges_of_vnis():
    every = f"1-{2**24 - 1}"
    assert vnis.ranges(every) == [(1, 2**24 - 1)]
    assert vnis.without(vnis.ranges(every), vnis.ranges("1,5-7")) == [(2, 4), (8, 2**24 - 1)]
    assert vnis.without(vnis.ranges("5-7"), vnis.ranges(every)) == []
    for seed in range(200):
        some, others = (set(random.Random(seed * 2 + side).sample(range(1, 30), 12)) for side in (0, 1))
        sides = [vnis.ranges(vnis.folded((one, one) for one in sorted(side))) for side in (some, others)]
        assert [set(counted(side)) for side in sides] == [some, others]
        assert counted(vnis.without(*sides)) == sorted(some - others)


def counted(ranges):
    return [vni for first, last in ranges for vni in range(first, last + 1)]


def test_group_and_remote_are_one_attribute():
    assert wanted(id=1, remote="192.0.2.1")[0].wanted["group"] == "192.0.2.1"
    assert wanted(id=1, group="")[0].wanted["group"] == ""
    assert "group" not in wanted(id=1)[0].wanted


def test_the_table_in_the_documentation_is_the_modules():
    rows = {}
    for line in (ROOT / "docs" / "vxlan.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            rows[re.match(r"`(\w+)`", cells[0]).group(1)] = cells
    assert set(rows) == {attribute.option for attribute in model.ATTRIBUTES}
    for attribute in model.ATTRIBUTES:
        _option, kernel, reach, default, live, since = rows[attribute.option]
        assert kernel.split(",")[0] == attribute.kernel
        assert live == ("live" if attribute.live else "new")
        assert since == attribute.since
        if attribute.words:
            assert reach == ", ".join(attribute.words)
        elif attribute.high and attribute.form not in ("bits", "ports"):
            assert f"{attribute.low} to {attribute.high}" in reach
        if attribute.default is not None and attribute.option != "id":
            assert default == base.show(attribute.default)

# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan, carried out, leaves nothing to plan: for any devices wanted and any there, on a kernel with its quirks."""

from dataclasses import replace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import link as model
from ansible_collections.vtep.fabric.plugins.module_utils._model import vxlan
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import link as planning
from ansible_collections.vtep.fabric.plugins.module_utils._plan.vxlan import Kind
from hypothesis import event, given, settings
from hypothesis import strategies as some

FRESH = {"mtu": 1500, "address": "02:00:00:00:00:01", "alias": "", "addrgenmode": "eui64", "master": "", "up": False}
PORT = {
    attribute.option: attribute.default if attribute.default is not None else attribute.low for attribute in model.PORT
}
BRIDGE = {"bridge.mcast_snooping": True, "bridge.stp_state": False, "bridge.priority": 32768}
CARD = "eth0"


class Kernel:
    """Devices as Linux keeps them, with what it does beside what it is told."""

    def __init__(self, state):
        self.devices = dict(state.devices)
        self.kernel = state.kernel

    def state(self):
        return model.State(dict(self.devices), self.kernel)

    def carry_out(self, plan):
        for operation in plan.operations:
            getattr(self, f"do_{type(operation).__name__}")(operation)

    def do_Remove(self, operation):
        gone = {operation.name, self.devices[operation.name].has.get("veth.peer")}
        assert not [name for name, one in self.devices.items() if one.lower in gone and name not in gone]
        for name in gone & set(self.devices):
            del self.devices[name]
        for name, one in self.devices.items():
            if one.has["master"] in gone:
                self.devices[name] = self.port(replace(one, has={**one.has, "master": ""}))

    def do_Create(self, operation):
        name, kind = operation.name, operation.kind
        assert name not in self.devices
        assert not {"master", "up", "alias", "port.learning"} & set(operation.values)
        own = {"bridge": BRIDGE, "vxlan": {**vxlan.DEFAULTS, "dstport": 8472, "group": "", "local": "", "dev": ""}}
        has = {**FRESH, **own.get(kind, {}), **{k: v for k, v in operation.values.items() if v is not None}}
        if kind == "vlan":
            has.setdefault("vlan.protocol", "802.1q")
        if kind == "vxlan":
            has.setdefault("reserved_bits", vxlan.default_reserved_bits(has))
        lower = has.get("vlan.dev") or has.get("dev") or ""
        assert not lower or lower in self.devices
        self.devices[name] = self.told(model.Found(name, 5, kind, has, lower=lower))
        if kind == "veth":
            peer = has["veth.peer"]
            assert peer not in self.devices
            self.devices[peer] = model.Found(peer, 6, kind, {**FRESH, "veth.peer": name})

    def do_Set(self, operation):
        one = self.devices[operation.name]
        has = {**one.has, **operation.values}
        own = set(operation.values) - set(FRESH) - set(PORT)
        if one.kind == "vxlan" and own:
            assert all(vxlan.OPTIONS[option].live for option in own)
            assert has["reserved_bits"] == vxlan.RESERVED_AFTER_A_CHANGE
            if operation.values.get("dev") == "":
                has["dev"] = one.has["dev"]
        if "port.learning" in operation.values:
            assert has["master"]
        assert not has["master"] or has["master"] in self.devices
        one = replace(one, has=has, lower=has.get("dev") or one.lower)
        self.devices[one.name] = self.told(self.port(one) if "master" in operation.values else one)

    def told(self, one):
        """What the kernel reports of a VXLAN device: no unspecified addresses, and no mc_route."""
        if one.kind != "vxlan":
            return one
        has = {key: value for key, value in one.has.items() if key != "mc_route"}
        for option in ("group", "local"):
            has[option] = "" if has[option] in ("::", "0.0.0.0") else has[option]
        return replace(one, has=has)

    def port(self, one):
        has = {key: value for key, value in one.has.items() if key not in PORT}
        return replace(one, has={**has, **PORT} if has["master"] else has)

    def do_AddAddress(self, operation):
        one = self.devices[operation.name]
        assert operation.address.text not in {address.text for address in one.addresses}
        self.devices[one.name] = replace(one, addresses=(*one.addresses, operation.address))

    def do_RemoveAddress(self, operation):
        one = self.devices[operation.name]
        kept = tuple(address for address in one.addresses if address.text != operation.address.text)
        assert len(kept) == len(one.addresses) - 1
        self.devices[one.name] = replace(one, addresses=kept)


EXAMPLES = 150
ALIASES = some.sampled_from(["", "vtep.fabric", "vtep.fabric 100", "other"])
MASTERS = some.sampled_from(["", "br1", "br2"])
ADDRESSES = some.lists(
    some.sampled_from(["192.0.2.1/24", "192.0.2.1/32", "2001:db8::1/64", "2001:db8::2/128"]), unique=True
)
COMMON = {
    "mtu": some.integers(1280, 1500),
    "alias": ALIASES,
    "master": MASTERS,
    "up": some.booleans(),
    "addrgenmode": some.sampled_from(["none", "eui64"]),
    "port": some.fixed_dictionaries({}, optional={"learning": some.booleans(), "cost": some.integers(1, 9)}),
    "recreate": some.just(True),
    "state": some.sampled_from(["present", "present", "present", "absent"]),
}
LINKS = {
    "br1": ("bridge", {"bridge": some.fixed_dictionaries({}, optional={"priority": some.integers(0, 9)})}),
    "br2": ("bridge", {}),
    "eth0.1": (
        "vlan",
        {"vlan": some.fixed_dictionaries({"dev": some.just(CARD), "id": some.integers(1, 3)})},
    ),
    "eth0.2": (
        "vlan",
        {"vlan": some.fixed_dictionaries({"dev": some.sampled_from([CARD, "br1"]), "id": some.just(2)})},
    ),
    "v0": ("veth", {"veth": some.fixed_dictionaries({"peer": some.sampled_from(["v1", "v2"])})}),
    CARD: (None, {}),
}


@some.composite
def links(draw):
    entries = []
    for name in draw(some.lists(some.sampled_from(sorted(LINKS)), unique=True)):
        kind, own = LINKS[name]
        optional = {**COMMON, "addresses": ADDRESSES}
        if kind is None or name.startswith("br"):
            del optional["master"], optional["port"]
        if kind is None:
            del optional["state"]
        entry = draw(some.fixed_dictionaries(own, optional=optional))
        entries.append({"name": name, "type": kind, **entry})
    return entries


FLAGS = ("proxy", "rsc", "l2miss", "gbp", "external", "vnifilter", "mc_route", "localbypass", "learning", "udp_csum")
SOURCE = some.sampled_from(["", "192.0.2.1", "2001:db8::1", "2001:db8::2", "::"])
VXLAN = {
    **COMMON,
    "local": SOURCE,
    "remote": SOURCE,
    "dev": some.sampled_from(["", CARD, "eth1"]),
    "dstport": some.integers(4789, 4791),
    "ttl": some.integers(0, 9),
    "tos": some.sampled_from(["inherit", "0", "4"]),
    "label": some.integers(0, 3),
    "srcport": some.sampled_from(["0-0", "1-9"]),
    "reserved_bits": some.sampled_from(["0x70000000000000ff", "0xf7ffffff000000ff"]),
    **{flag: some.booleans() for flag in FLAGS},
}
del VXLAN["master"], VXLAN["port"]


@some.composite
def vxlans(draw):
    entries = []
    for name in draw(some.lists(some.sampled_from(["vxlan1", "vxlan2"]), unique=True)):
        entry = draw(some.fixed_dictionaries({"id": some.integers(1, 2)}, optional=VXLAN))
        if entry.get("external"):
            del entry["id"]
        entries.append({"name": name, **entry})
    return entries


def card(name):
    return model.Found(name, 1, "", {**FRESH, "mtu": 1600, "up": True}, (model.Address("198.51.100.1/24"),))


def converge(kernel, desired, kind, **purge):
    """Plan and carry out; the plan, or None for a refusal, which is no counter-example: nothing was changed."""
    try:
        plan = planning.plan(desired, kernel.state(), kind, **purge)
        planning.rehearse(plan)
    except FabricError:
        return None
    kernel.carry_out(plan)
    return plan


def settle(parse, first, second, kind, **purge):
    """Whether the second could be carried out after the first; asserts that nothing is left to do then."""
    try:
        first, second = parse(first), parse(second)
    except FabricError:
        return False
    kernel = Kernel(model.State({name: card(name) for name in (CARD, "eth1")}, "6.18.0"))
    converge(kernel, first, kind)
    plan = converge(kernel, second, kind, **purge)
    if plan is None:
        return False
    assert planning.differences(second, kernel.state(), plan, kind) == []
    again = planning.plan(second, kernel.state(), kind, **purge)
    assert not again, again.operations
    assert {change.action for change in again.changes} <= {"none"}
    return True


@pytest.mark.parametrize("purge", [{}, {"purge": True, "purge_addresses": "owned"}], ids=["keep", "purge"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(first=links(), second=links())
def test_links(first, second, purge):
    event(f"carried out: {settle(model.devices, first, second, planning.Kind(), **purge)}")


@pytest.mark.parametrize("release", ["6.1.0", "6.18.0"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(first=vxlans(), second=vxlans())
def test_vxlans(first, second, release):
    event(f"carried out: {settle(vxlan.devices, first, second, Kind(release), purge='owned')}")

# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN devices: what of them can change while they live, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._model import values, vnis
from .._model import vxlan as model
from . import link

# What vxlan_changelink does not do although it says yes (tried on 6.18, but for the first):
# - before 6.15 a new multicast group is joined, and the old one left, only when the device comes up;
# - the default FDB row keeps the old `dev`, unless the destination changes in the same request;
# - taking `dev` away leaves it in the default destination;
# - since 6.14 any change puts reserved_bits to the default of a device without gbp, gpe and remcsum_rx, so that one with
#   them drops what it is for.


JOINS_LIVE = (6, 15)  # kernel commit d42d54336834; some older stable kernels have it too, and bounce in vain


@dataclass(frozen=True)
class AddVnis:
    name: str
    ranges: list  # of (first, last)


@dataclass(frozen=True)
class RemoveVnis:
    name: str
    ranges: list


class Kind(link.Kind):
    tables = model.KINDS
    marks_members = False  # a VXLAN device says by its alias whose it is

    def __init__(self, kernel=""):
        """kernel: the release, like 6.1.0-28-amd64."""
        numbers = re.match(r"(\d+)\.(\d+)", kernel)
        self.joins_live = bool(numbers) and tuple(map(int, numbers.groups())) >= JOINS_LIVE

    def defaults(self, device):
        return {"dstport": model.port_default(device.wanted)}

    def kernel_defaults(self, device):
        return model.DEFAULTS

    def kept(self, device, found):
        kept = super().kept(device, found)
        if device.wanted.get("external", found.has.get("external")) != found.has.get("external"):
            # One that takes the VNI from routes and one that has its own share a name, and neither VNIs nor a MAC address.
            for option in ("id", "vnifilter", "vnis", "address"):
                kept.pop(option, None)
        if kept.get("reserved_bits") in (model.default_reserved_bits(found.has), model.RESERVED_AFTER_A_CHANGE):
            del kept["reserved_bits"]
        return kept

    def check_final(self, device, final, exists):
        return model.check_final(device, final, exists)

    def needs_new(self, device, found, changes):
        options = super().needs_new(device, found, changes)
        had = {option: found.has.get(option) for option in ("local", "group")}
        if any(had.values()):
            options += [
                option
                for option in ("local", "group")
                if changes.get(option) and values.family(changes[option]) != model.family(had)
            ]
        else:
            # The kernel does not tell the family of a device without addresses; it is IPv4 unless asked otherwise.
            options += [option for option in ("local", "group") if values.family(changes.get(option) or "") == 6]
        if changes.get("dev") == "":
            options.append("dev")
        own = any(option in changes for option in model.DEFAULTS)
        spoilt = found.has.get("reserved_bits") not in (None, model.RESERVED_AFTER_A_CHANGE)
        if own and spoilt and not options:
            options = [option for option in changes if option in model.DEFAULTS]
        return options

    def notes(self, device, found):
        return [
            f"this kernel does not tell {option}, so it cannot be compared: a new device gets it, one that exists keeps "
            "what it has"
            for option in device.wanted
            if not model.OPTIONS[option].reported and found.has.get(option) is None
        ]

    def live(self, device, found, changes):
        """Where a multicast group is joined only when the device comes up, it goes down for a change of group or dev."""
        group = changes.get("group", found.has.get("group"))
        moves = "group" in changes or "dev" in changes
        joins = [one for one in (found.has.get("group"), group) if one and values.is_multicast(one)]
        bounce = bool(moves and joins and found.has.get("up") and not self.joins_live)
        operations, notes = [], []

        def put(values_):
            operations.append(link.Set(device.name, found.kind, values_))

        if bounce:
            put({"up": False})
            notes.append(
                "it goes down and up for its multicast group; learned FDB rows, its neighbours and IPv6 addresses go"
            )
        if "dev" in changes and found.has.get("group"):
            put({"group": any_address(found.has["group"])})
            changes = {**changes, "group": group}
        if changes.get("group") == "":
            changes = {**changes, "group": any_address(found.has.get("group"))}
        if changes.get("local") == "":
            changes = {**changes, "local": any_address(found.has.get("local"))}
        put(changes)
        if bounce and device.wanted.get("up") is not False:
            put({"up": True})
        return operations, notes

    def filters(self, device, found, wanted):
        had = vnis.ranges(found.has.get("vnis")) if found else []
        if "vnis" not in wanted or not (found or wanted.get("vnifilter")):
            return [], []
        wanted = vnis.ranges(wanted["vnis"])
        goes, comes = vnis.without(had, wanted), vnis.without(wanted, had)
        return [RemoveVnis(device.name, goes)] if goes else [], [AddVnis(device.name, comes)] if comes else []

    def judge(self, outlook, plan):
        """Two devices on one VNI and port; and, when it runs, an MTU that the device below does not carry."""
        faults, used = [], {}
        for name, vni, other in model.taken(outlook):
            faults.append(f"{name}: vnis: {vni} is taken by {other}, which has the same UDP port and family")
        for name, has in outlook.items():
            if "dstport" not in has:
                continue
            key = model.socket_key(has)
            if has.get("vnifilter"):
                key = None  # several share a port, as long as their VNIs differ
            if key is not None and key in used:
                faults.append(
                    f"{name}: id: VNI {key[0]} on UDP port {key[1]} over IPv{key[2]} is taken by {used[key]}; "
                    "give one of them another id or dstport"
                )
            elif key is not None:
                used[key] = name
            plan.checks += self._mtu(name, has, outlook)
        return faults

    def _mtu(self, name, has, outlook):
        below = outlook.get(has.get("dev") or "", {}).get("mtu")
        if below and has.get("mtu") and has["mtu"] + model.overhead(has) > below:
            fits = below - model.overhead(has)
            yield f"{name}: mtu: {has['mtu']} does not fit {has['dev']} of mtu {below}; at most {fits} does"


def any_address(text):
    """How the kernel is told "none": the unspecified address of the family that is there."""
    return "::" if values.family(text or "") == 6 else "0.0.0.0"

# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource behind the link and vxlan modules, their common arguments, and what link_info answers."""

from __future__ import annotations

from .._kernel import link as kernel
from .._model import link as model
from .._model.errors import InputError
from .._plan import link as planning
from .run import Outcome, Resource

# Per device, besides its attributes.
DEVICE = {
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "recreate": {"type": "bool", "default": False},
}
PURGE = {"purge": {"type": "str", "choices": ["none", "owned"], "default": "none"}}
ADDRESSES = ["none", "listed", "owned"]
# What an earlier task removes, and a dry run has not.
ASSUME_GONE = {"assume_gone": {"type": "list", "elements": "str", "default": []}}
SHOWN = 1000  # lines of each side of a diff


def argument(attribute):
    spec = {"type": model.FORMS[attribute.form][1]}
    if attribute.form == "vnis":
        spec["elements"] = "int"
    if attribute.words:
        spec["choices"] = list(attribute.words)
    return spec


def arguments(attributes):
    """The arguments for attributes: those with a dot become suboptions."""
    spec = {}
    for attribute in attributes:
        group, dot, name = attribute.option.rpartition(".")
        target = spec.setdefault(group, {"type": "dict", "options": {}})["options"] if dot else spec
        target[name] = argument(attribute)
    return spec


def with_list(name, device):
    """A module's arguments: one device by its options, or a list of devices with the same suboptions."""
    one = dict(device, name={"type": "str", "required": True})
    return {**device, name: {"type": "list", "elements": "dict", "options": one}, **PURGE, **ASSUME_GONE}


def entries(params, listing, device):
    """The devices that a task names, by its list or by its own options."""
    given = [
        option
        for option, spec in device.items()
        if params.get(option) is not None and params[option] != spec.get("default")
    ]
    if params[listing] is not None:
        if given:
            raise InputError([f"{listing}: it goes without {', '.join(given)}; these belong into its entries"])
        return params[listing]
    if params["name"] is None:
        raise InputError([f"name, {listing}: one of the two is needed"])
    return [{option: params[option] for option in device}]


class Devices(Resource):
    listing = "links"
    device = {
        **DEVICE,
        "type": {"type": "str", "choices": list(model.KINDS)},
        "addresses": {"type": "list", "elements": "str"},
        **arguments((*model.LINK, *model.BRIDGE, *model.VLAN, *model.VETH, *model.PORT)),
    }

    def __init__(self):
        self.links = None
        self.params = {}

    @classmethod
    def spec(cls):
        purge_addresses = {"type": "str", "choices": ADDRESSES, "default": "none"}
        purge = {**PURGE["purge"], "choices": ["none", "ports", "owned"]}
        return {**with_list(cls.listing, cls.device), "purge": purge, "purge_addresses": purge_addresses}

    def parse(self, listed):
        return model.devices(listed)

    def kind(self):
        return planning.Kind()

    def normalise(self, params):
        self.params = params
        return self.parse(entries(params, self.listing, self.device))

    def read(self, desired):
        self.links = kernel.Links()
        found = self.links.read()
        for name in self.params.get("assume_gone", ()):
            found.devices.pop(name, None)
        return self.links.probe(desired, found)

    def plan(self, desired, observed):
        return planning.plan(
            desired,
            observed,
            self.kind(),
            purge=self.params["purge"],
            purge_addresses=self.params.get("purge_addresses", "none"),
            count_rows=self.links.count_rows,
        )

    def methods(self):
        return {
            planning.Remove: self.links.remove,
            planning.Create: self.links.create,
            planning.Set: self.links.set,
            planning.AddAddress: self.links.add_address,
            planning.RemoveAddress: self.links.remove_address,
        }

    def apply(self, plan):
        planning.rehearse(plan)
        methods = self.methods()
        for operation in plan.operations:
            methods[type(operation)](operation)

    def verify(self, desired, plan):
        return planning.differences(plan.desired, self.links.read(), plan, self.kind())

    def outcome(self, desired, observed, plan, checking):
        before, after = planning.lines(plan)
        return Outcome(
            changed=bool(plan),
            before=_bounded(before),
            after=_bounded(after),
            header=self.listing,
            result={
                self.listing: planning.report(plan),
                "unlisted": [{"name": name, "type": kind} for name, kind in plan.unlisted],
            },
            warnings=planning.warnings(plan),
        )

    def close(self):
        if self.links:
            self.links.close()


def _bounded(lines):
    more = len(lines) - SHOWN
    return "".join(f"{line}\n" for line in [*lines[:SHOWN], *([f"... and {more} more"] if more > 0 else [])])


# link_info

INFO = {"name": {"type": "str"}, "type": {"type": "str", "choices": list(model.KINDS)}}


def state():
    links = kernel.Links()
    try:
        return links.read()
    finally:
        links.close()


def common(found, table):
    """What is said of a device of any kind: its attributes in the modules' words, and what cannot be set."""
    has = {option: found.has.get(option) for option in table if option != model.MEMBER.option}
    if not found.has.get("master"):
        has = {option: value for option, value in has.items() if not option.startswith("port.")}
    if has["address"] in ("", "00:00:00:00:00:00"):
        has["address"] = None
    return {
        "name": found.name,
        **model.nest(has),
        "addresses": [address.text for address in found.addresses if address.permanent and not address.link_local],
        "owned_addresses": [address.text for address in found.addresses if address.owned],
        "ifindex": found.index,
        "kind": found.kind,
        "operstate": found.operstate,
        "owned": found.owned,
    }


def info(params):
    links = []
    for found in state().devices.values():
        if params["name"] not in (None, found.name) or params["type"] not in (None, found.kind):
            continue
        kind = found.kind if found.kind in model.KINDS else None
        links.append({**common(found, model.table(kind)), "type": kind})
    return {"links": links}

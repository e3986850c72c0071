# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the vxlan module, and what vxlan_info answers."""

from __future__ import annotations

from .._model import link, values, vnis
from .._model import vxlan as model
from .._plan import vxlan as planning
from . import link as base


class Vxlans(base.Devices):
    listing = "devices"
    device = {
        **base.DEVICE,
        **base.arguments((*link.LINK, *model.ATTRIBUTES, *link.PORT)),
        "remote": {"type": "str"},
    }

    @classmethod
    def spec(cls):
        return base.with_list(cls.listing, cls.device)

    def parse(self, listed):
        return model.devices(listed)

    def kind(self):
        return planning.Kind(self.links.kernel)

    def methods(self):
        return {
            **super().methods(),
            planning.AddVnis: self.links.add_vnis,
            planning.RemoveVnis: self.links.remove_vnis,
        }


INFO = {"name": {"type": "str"}, "id": {"type": "int"}}


def info(params):
    devices = []
    for found in base.state().devices.values():
        if found.kind != "vxlan" or params["name"] not in (None, found.name):
            continue
        if params["id"] not in (None, found.has.get("id")):
            continue
        has = base.common(found, model.OPTIONS)
        group = has["group"]
        multicast = bool(group) and values.is_multicast(group)
        has["group"], has["remote"] = (group, None) if multicast else (None, group)
        has["id"] = has["id"] or None  # an external device has none
        if has["vnis"] is not None:
            has["vnis"] = [vni for first, last in vnis.ranges(has["vnis"]) for vni in range(first, last + 1)]
        devices.append(has)
    return {"devices": devices}

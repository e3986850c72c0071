# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the vxlan module, and what vxlan_info answers."""

from __future__ import annotations

from .._model import link, values
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
        devices.append(has)
    return {"devices": devices}

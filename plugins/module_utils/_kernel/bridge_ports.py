# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of the bridges that VXLAN devices are ports of, and word of each change."""

from __future__ import annotations

from typing import NamedTuple

from . import codec
from .vxlan_watch import IFLA_IFNAME, IFLA_INFO_KIND, LinkWatch, link_of, scanned

IFLA_MASTER, IFLA_INFO_SLAVE_KIND = 10, 4  # linux/if_link.h


class Port(NamedTuple):
    index: int
    name: str
    bridge: int  # its index, 0 when the device is no bridge's port
    vxlan: bool


class BridgePorts(LinkWatch):
    """`devices` is {index: Port} of all devices; `ports` and `bridges` are of bridges that have a VXLAN device."""

    @property
    def bridges(self):
        """{index of a VXLAN device: index of its bridge}."""
        return {port.index: port.bridge for port in self.devices.values() if port.vxlan and port.bridge}

    @property
    def ports(self):
        """{index of a bridge: [(index, name) of each of its ports that is no VXLAN device, by index]}."""
        found = {bridge: [] for bridge in self.bridges.values()}
        for index in sorted(self.devices):
            port = self.devices[index]
            if not port.vxlan and port.bridge in found:
                found[port.bridge].append((index, port.name))
        return found

    def _scan(self):
        return scanned(b"", _port, "list the ports of bridges")

    def _device(self, data, start, end):
        return _port(data, start, end)


def _port(data, start, end):
    """The device of an RTM_NEWLINK."""
    index, link, info = link_of(data, start, end) or (0, {}, {})
    if not index:
        return None
    bridge = codec.number(link.get(IFLA_MASTER), 0) if codec.text(info.get(IFLA_INFO_SLAVE_KIND)) == "bridge" else 0
    name = codec.text(link[IFLA_IFNAME])
    return Port(index, name, bridge, codec.text(info.get(IFLA_INFO_KIND)) == "vxlan")

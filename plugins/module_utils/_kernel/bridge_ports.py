# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of the bridges that VXLAN devices are ports of, and word of each change."""

from __future__ import annotations

from typing import NamedTuple

from . import codec
from .vxlan_watch import IFLA_IFNAME, IFLA_INFO_KIND, LinkWatch, link_of, scanned

IFLA_LINK, IFLA_MASTER, IFLA_INFO_SLAVE_KIND = 5, 10, 4  # linux/if_link.h


class Port(NamedTuple):
    index: int
    name: str
    bridge: int  # its index, 0 when the device is no bridge's port
    vxlan: bool
    below: int = 0  # the index of the device that MACsec is on, 0 for devices of other kinds


class BridgePorts(LinkWatch):
    """`devices` is {index: Port} of all devices; `ports` and `bridges` are of bridges that have a VXLAN device."""

    @property
    def bridges(self):
        """{index of a VXLAN device: index of its bridge}. With MACsec on it, that is the port in its stead."""
        above = {port.below: port.bridge for port in self.devices.values() if port.below}
        found = {port.index: port.bridge or above.get(port.index) for port in self.devices.values() if port.vxlan}
        return {index: bridge for index, bridge in found.items() if bridge}

    @property
    def ports(self):
        """{index of a bridge: [(index, name) of each of its ports that is no VXLAN device, nor on one, by index]}."""
        bridges = self.bridges
        found = {bridge: [] for bridge in bridges.values()}
        for index in sorted(self.devices):
            port = self.devices[index]
            if not port.vxlan and port.below not in bridges and port.bridge in found:
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
    kind = codec.text(info.get(IFLA_INFO_KIND))
    below = codec.number(link.get(IFLA_LINK), 0) if kind == "macsec" else 0
    return Port(index, name, bridge, kind == "vxlan", below)

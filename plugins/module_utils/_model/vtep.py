# SPDX-License-Identifier: GPL-3.0-or-later
"""A VTEP: a host that ends VXLAN tunnels, with access ports towards endpoints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from . import node, reading, values


@dataclass(frozen=True)
class Port:
    """An interface towards endpoints."""

    dev: str
    vlan: int | None = None
    vni: int | None = None  # of the segment that it is in; None until the whole fabric is known

    @property
    def name(self):
        return f"{self.dev}.{self.vlan}" if self.vlan else self.dev


@dataclass(frozen=True)
class Vtep(node.Node):
    ports: tuple
    mac: str  # of the VXLAN devices that route

    kind = "vtep"


WORDS = (*node.words_of(Vtep), "vtep_access_ports", "vtep_mac")


def read(host, mapping, faults):
    """A Vtep, or None when a word of this host is faulty."""
    words = reading.Words(faults, host, "", mapping)
    found = node.fields(Vtep, words, "this end of the tunnels", "the other VTEPs")
    vtep = Vtep(
        **found,
        ports=tuple(node.entries(words, "vtep_access_ports", read_port)),
        mac=words.get("vtep_mac", reading.mac, derived_mac(found["addresses"])),
    )
    tagged = [port.name for port in vtep.ports if port.vlan]
    if tagged and vtep.features.get("vlan") is False:
        message = (
            f"{', '.join(tagged)} would be VLAN devices, and the kernel has none (CONFIG_VLAN_8021Q); leave vlan out"
        )
        words.fault("vtep_access_ports", message)
    return vtep if len(faults.found) == words.before else None


def derived_mac(addresses):
    """A locally administered address (IEEE 802, second bit of the first byte) that depends on nothing but the address."""
    if not addresses:
        return None
    digest = hashlib.sha256(values.pack(addresses.get(6) or addresses[4])).digest()
    return "02:" + digest[:5].hex(":")


def read_port(words):
    port = Port(
        dev=words.get("dev", reading.dev, required="name the interface"),
        vlan=words.get("vlan", reading.whole(1, 4094)),
        vni=words.get("vni", reading.vni),
    )
    if port.dev and port.vlan:
        try:
            values.dev(port.name)
        except ValueError as error:
            words.fault("vlan", f"the sub-interface's name {error}; rename {port.dev}")
    return port

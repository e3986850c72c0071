# SPDX-License-Identifier: GPL-3.0-or-later
"""A VTEP: a host that ends VXLAN tunnels, with its loopback addresses, underlay interfaces and access ports."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

from . import reading, routing, values


@dataclass(frozen=True)
class Underlay:
    """An interface towards the other VTEPs."""

    dev: str
    mtu: int | None = None
    network: str | None = None
    cost: int | None = None


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
class Vtep:
    host: str
    addresses: dict  # family -> address
    router_id: str
    loopback: str  # the device that holds the addresses
    underlay: tuple
    ports: tuple
    ospf: routing.Ospf
    mac: str  # of the VXLAN devices that route
    features: dict  # of the kernel, by host_info's names; empty where it was not looked at
    interfaces: dict | None = None  # what the host has, by name; None where it was not looked at


def read(host, mapping, faults):
    """A Vtep, or None when a word of this host is faulty."""
    words = reading.Words(faults, host, "", mapping)
    addresses = (
        words.get("vtep_address", reading.host_addresses, required="give this end of the tunnels an address") or {}
    )
    interfaces, features = read_host(words)
    loopback = words.get("vtep_loopback_device", reading.dev, "vtep0" if features.get("dummy") is True else "lo")
    if loopback not in ("lo", None) and features.get("dummy") is False:
        words.fault("vtep_loopback_device", f"{loopback} would be a dummy device, and the kernel has none; take lo")
    vtep = Vtep(
        host=host,
        addresses=addresses,
        router_id=words.get("vtep_router_id", router_id, derived_router_id(addresses)),
        loopback=loopback,
        underlay=tuple(entries(words, "vtep_underlay_interfaces", read_underlay)),
        ports=tuple(entries(words, "vtep_access_ports", read_port)),
        ospf=routing.read(words, addresses),
        mac=words.get("vtep_mac", reading.mac, derived_mac(addresses)),
        features=features,
        interfaces=interfaces,
    )
    tagged = [port.name for port in vtep.ports if port.vlan]
    if tagged and features.get("vlan") is False:
        message = (
            f"{', '.join(tagged)} would be VLAN devices, and the kernel has none (CONFIG_VLAN_8021Q); leave vlan out"
        )
        words.fault("vtep_access_ports", message)
    if mapping.get("vtep_underlay_interfaces") in (None, []):
        words.fault(
            "vtep_underlay_interfaces", "is missing; name the interfaces towards the other VTEPs, such as [eth0]"
        )
    return vtep if len(faults.found) == words.before else None


def router_id(value):
    found = values.address(reading.text(value), 4)
    if values.is_any(found):
        raise ValueError(f"{found!r} is reserved; take another router id, written like an IPv4 address")
    return found


def derived_router_id(addresses):
    """The IPv4 address, else four bytes that depend on nothing but the IPv6 address."""
    if 4 in addresses or not addresses:
        return addresses.get(4)
    return socket.inet_ntop(socket.AF_INET, hashlib.sha256(values.pack(addresses[6])).digest()[:4])


def derived_mac(addresses):
    """A locally administered address (IEEE 802, second bit of the first byte) that depends on nothing but the address."""
    if not addresses:
        return None
    digest = hashlib.sha256(values.pack(addresses.get(6) or addresses[4])).digest()
    return "02:" + digest[:5].hex(":")


def read_host(words):
    """(interfaces by name, None where not known; kernel features by name) of module host_info's result."""

    def mapping(value):
        if not isinstance(value, dict):
            raise ValueError(f"{reading.shown(value)} is not a result of module vtep.fabric.host_info; leave it out")
        return value

    found = words.get("preflight_host", mapping) or {}
    interfaces, features = found.get("interfaces"), found.get("features")
    if isinstance(interfaces, dict):
        interfaces = {name: known if isinstance(known, dict) else {} for name, known in interfaces.items()}
    else:
        interfaces = None
    return interfaces, features if isinstance(features, dict) else {}


def entries(words, key, read_entry):
    """The sound ones of a list of device names, or of mappings with `dev` and more."""
    value = words.mapping.get(key)
    if value is None:
        return
    for number, entry in enumerate(reading.sequence(words.faults, words.where, key, value), 1):
        if not isinstance(entry, dict):
            entry = {"dev": entry}
        inner = reading.Words(words.faults, words.where, f"{key} row {number}: ", entry)
        made = read_entry(inner)
        if inner.finish():
            yield made


def read_underlay(words):
    return Underlay(
        dev=words.get("dev", reading.dev, required="name the interface"),
        mtu=words.get("mtu", reading.whole(68, 65535)),
        network=words.get("network", reading.choice(*routing.NETWORKS)),
        cost=words.get("cost", reading.whole(1, 65535)),
    )


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the underlay: its loopback addresses, the interfaces that lead to the others, and how it routes.

What kinds of hosts have in common; the words of each begin with the kind's name, as in vtep_address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from dataclasses import dataclass

from . import reading, routing, values

# Words that are the same for every kind.
COMMON_WORDS = (
    "preflight_host",
    "underlay_ospf_area",
    "underlay_ospf_network",
    "underlay_ospf_cost",
    "underlay_ospf_hello_interval",
    "underlay_ospf_dead_interval",
    "underlay_ospf_retransmit_interval",
    "underlay_ospf_lsa_min_arrival",
    "underlay_ospf_authentication",
)


@dataclass(frozen=True)
class Underlay:
    """An interface towards the other hosts."""

    dev: str
    mtu: int | None = None
    network: str | None = None
    cost: int | None = None
    # Of the device that the underlay runs on: this one, or the one of MACsec on it. None: left as they are.
    addresses: tuple | None = None


@dataclass(frozen=True)
class Node:
    host: str
    addresses: dict  # family -> address
    router_id: str
    loopback: str  # the device that holds the addresses
    underlay: tuple
    ospf: routing.Ospf
    features: dict  # of the kernel, by host_info's names; empty where it was not looked at
    interfaces: dict | None  # what the host has, by name; None where it was not looked at

    kind = ""  # what the words begin with
    loopback_cost = None  # OSPF's, where the kind of host has a say in it

    @classmethod
    def word(cls, name):
        return f"{cls.kind}_{name}"


def words_of(kind):
    names = ("address", "underlay_interfaces", "router_id", "loopback_device")
    return (*(kind.word(name) for name in names), *COMMON_WORDS)


def fields(kind, words, purpose, others):
    """The fields of Node. purpose: what its address is for; others: what its interfaces lead to."""
    address, loopback_device, interfaces_word = map(kind.word, ("address", "loopback_device", "underlay_interfaces"))
    addresses = words.get(address, reading.host_addresses, required=f"give {purpose} an address") or {}
    interfaces, features = read_host(words)
    loopback = words.get(loopback_device, reading.dev, "vtep0" if features.get("dummy") is True else "lo")
    if loopback not in ("lo", None) and features.get("dummy") is False:
        words.fault(loopback_device, f"{loopback} would be a dummy device, and the kernel has none; take lo")
    underlay = tuple(entries(words, interfaces_word, read_underlay))
    if words.mapping.get(interfaces_word) in (None, []):
        words.fault(interfaces_word, f"is missing; name the interfaces towards {others}, such as [eth0]")
    return {
        "host": words.where,
        "addresses": addresses,
        "router_id": words.get(kind.word("router_id"), router_id, derived_router_id(addresses)),
        "loopback": loopback,
        "underlay": underlay,
        "ospf": routing.read(words, addresses),
        "features": features,
        "interfaces": interfaces,
    }


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
        addresses=words.get("addresses", link_addresses),
    )


def link_addresses(value):
    if not isinstance(value, list):
        raise ValueError(
            f"{reading.shown(value)} is not a list of addresses with prefix lengths, such as [169.254.1.1/24]"
        )
    return tuple(link_address(reading.text(one)) for one in value)


def link_address(text):
    found = values.interface(text)
    ip = ipaddress.ip_interface(found).ip
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback:
        raise ValueError(f"{found!r} is not an address of one host; take a unicast one, such as 169.254.1.1/24")
    return found

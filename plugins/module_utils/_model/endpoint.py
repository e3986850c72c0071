# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints: the stations behind the VTEPs' access ports. There may be 100 000, so a row is read in some microseconds."""

from __future__ import annotations

import socket
from typing import NamedTuple

from . import reading


class Endpoint(NamedTuple):
    name: str | None
    mac: str
    addresses: tuple  # without prefix lengths
    vtep: str
    port: str  # as the user named it; Vtep.port_named has the device
    vni: int


def read(value, vteps, vnis, faults):
    """The sound endpoints by row number. vteps: the names of all VTEPs; vnis: all segments' VNIs, None where they
    cannot all be told."""
    endpoints = {}
    if value is None:
        return endpoints
    for number, words in reading.rows(faults, "fabric", "fabric_endpoints", value):
        endpoint = Endpoint(
            name=words.get("name", reading.text),
            mac=words.get("mac", reading.mac, required="write it like 50:54:33:00:00:01"),
            addresses=words.get("addresses", addresses, ()),
            vtep=words.get("vtep", reading.text, required="name the host of group vteps that it is attached to"),
            port=words.get("port", reading.text, required="name the access port that it is attached to"),
            vni=words.get("vni", reading.vni, required="name the VNI of its segment"),
        )
        if endpoint.vtep is not None and endpoint.vtep not in vteps:
            words.fault("vtep", f"{endpoint.vtep} is not in group vteps; add the host there or correct the name")
        if vnis and endpoint.vni is not None and endpoint.vni not in vnis:
            words.fault("vni", f"{endpoint.vni} is no segment's VNI; add it to fabric_segments or correct it")
        if words.finish():
            endpoints[number] = endpoint
    return endpoints


def addresses(value):
    if not isinstance(value, list):
        raise ValueError(f"{reading.shown(value)} is not a list; write it as [...]")
    return tuple([address(one) for one in value])


def address(value):
    """One station's address. A prefix length may follow, since hosts need it; it is not part of the address."""
    found, slash, length = reading.text(value).partition("/")
    family, longest = (socket.AF_INET6, 128) if ":" in found else (socket.AF_INET, 32)
    try:
        packed = socket.inet_pton(family, found)
    except (OSError, ValueError):
        raise ValueError(f"{found!r} is not an IP address") from None
    if slash and not (length.isascii() and length.isdigit() and int(length) <= longest):
        raise ValueError(f"{length!r} is not a prefix length; it must be 0 to {longest}")
    if not any(packed) or (packed[0] == 0xFF if family == socket.AF_INET6 else packed[0] >= 224):
        raise ValueError(f"{found!r} is not the address of one station")
    return socket.inet_ntop(family, packed)


def check_duplicates(endpoints, faults):
    """Two stations of a segment with one MAC address, or one address, would take each other's frames."""
    macs = {}
    seen = {}
    for number, endpoint in endpoints.items():
        first = macs.setdefault((endpoint.vni, endpoint.mac), number)
        if first != number:
            told(faults, number, "mac", endpoint.mac, endpoint.vni, first)
        for one in endpoint.addresses:
            first = seen.setdefault((endpoint.vni, one), number)
            if first != number:
                told(faults, number, "addresses", one, endpoint.vni, first)


def told(faults, number, key, value, vni, first):
    message = f"{value} is also in row {first}, in the same VNI {vni}; give each endpoint its own"
    faults.add("fabric", f"fabric_endpoints row {number}: {key}", message)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The overlay of a variant in which a bridge joins each segment's access ports and its VXLAN device."""

from __future__ import annotations

from .._model import values
from . import access, overlay


def compile_vtep(fabric, vtep, settings, rows, copies, neighbors=None):
    """The plan's sections. For a segment: settings(segment) is a dict of VXLAN options, rows(segment) its entries as
    (MAC, destination, flags...), copies(segment) how often the VTEP sends one broadcast of an endpoint,
    neighbors(segment) the lines of its neighbours."""
    segments = fabric.segments_of(vtep)
    rows_of = [(segment, *one) for segment in segments for one in rows(segment)]
    return {
        "access": access.compile_vtep(fabric, vtep),
        "overlay": overlay.compile_vtep(
            vxlans=[vxlan(fabric, segment, vtep, settings(segment)) for segment in segments],
            announce=overlay.announce(fabric, vtep, proxied=False),
            fdb=[row(segment, mac, dst, *flags) for segment, mac, dst, *flags in rows_of],
            neighbors=[line for segment in segments for line in (neighbors(segment) if neighbors else ())],
        ),
        "expect": {
            "broadcast_copies": {str(segment.vni): copies(segment) for segment in segments},
            "paths": overlay.paths(
                (segment.vni, mac, dst) for segment, mac, dst, *flags in rows_of if mac != values.ZERO_MAC and not flags
            ),
        },
    }


def vxlan(fabric, segment, vtep, settings):
    common = overlay.vxlan(fabric, segment, vtep)
    if "remote" in settings:  # the module takes one of the two
        del common["group"]
    # With MACsec on it, that is the bridge's port, and the kernel hands what comes in to one of the two only.
    place = (
        {"master": ""}
        if fabric.encryption.macsec == "inside"
        else {"master": segment.bridge, "port": access.vxlan_port(segment)}
    )
    return {**common, "id": segment.vni, **place, **settings}


def flood_rows(fabric, segment, vtep):
    """The default entry: one row for each VTEP that gets a copy of a broadcast, unknown or multicast frame."""
    return [(values.ZERO_MAC, fabric.local(peer)) for peer in fabric.peers(segment, vtep)]


def mac_rows(fabric, segment, vtep):
    """A row for each endpoint behind another VTEP."""
    return [(endpoint.mac, fabric.local_of(endpoint)) for endpoint in fabric.remote(segment, vtep)]


def neighbors(fabric, segment, vtep):
    """What the VXLAN device's ARP and ND proxy answers: each address of an endpoint behind another VTEP."""
    return [
        overlay.neighbor(address, segment.vxlan, endpoint.mac)
        for endpoint in fabric.remote(segment, vtep)
        for address in endpoint.addresses
    ]


def row(segment, mac, dst, *flags):
    return " ".join([mac, "dev", segment.vxlan, "dst", dst, *flags, "permanent", "self"])

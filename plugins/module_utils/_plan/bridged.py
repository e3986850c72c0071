# SPDX-License-Identifier: GPL-3.0-or-later
"""The overlay of a variant in which a bridge joins each segment's access ports and its VXLAN device."""

from __future__ import annotations

from .._model import values
from . import access

# What a variant that does not set it must find unset, so that nothing of another variant stays on the device.
PLAIN = {
    "group": "",
    "dev": "",
    "proxy": False,
    "rsc": False,
    "l2miss": False,
    "l3miss": False,
    "external": False,
    "udp_zero_csum6_tx": False,
    "udp_zero_csum6_rx": False,
}


def compile_vtep(fabric, vtep, settings, rows, copies):
    """The plan's sections. For a segment: settings(segment) is a dict of VXLAN options, rows(segment) the lines of its
    table, copies(segment) how often the VTEP sends one broadcast of an endpoint."""
    segments = fabric.segments_of(vtep)
    table = sorted(line for segment in segments for line in rows(segment))
    return {
        "access": access.compile_vtep(fabric, vtep),
        "overlay": {
            "vxlans": [vxlan(fabric, segment, vtep, settings(segment)) for segment in segments],
            "fdb": {"dev": [segment.vxlan for segment in segments], "table": "".join(line + "\n" for line in table)},
        },
        "expect": {
            "broadcast_copies": {str(segment.vni): copies(segment) for segment in segments},
            "fdb_rows": len(table),
        },
    }


def vxlan(fabric, segment, vtep, settings):
    """A device for module vtep.fabric.vxlan."""
    return {
        "name": segment.vxlan,
        "id": segment.vni,
        "local": fabric.local(vtep),
        **PLAIN,
        "dstport": segment.dstport,
        "ttl": segment.ttl,
        "tos": segment.tos,
        "mtu": segment.mtu,
        "master": segment.bridge,
        "port": access.vxlan_port(segment),
        "alias": segment.alias,
        "addrgenmode": "none",
        "up": True,
        **settings,
    }


def flood_rows(fabric, segment, vtep):
    """The default entry: one row for each VTEP that gets a copy of a broadcast, unknown or multicast frame."""
    return [row(values.ZERO_MAC, segment, fabric.local(peer)) for peer in fabric.peers(segment, vtep)]


def mac_rows(fabric, segment, vtep):
    """A row for each endpoint behind another VTEP."""
    local = {host: fabric.local(peer) for host, peer in fabric.vteps.items()}
    return [
        row(endpoint.mac, segment, local[endpoint.vtep])
        for endpoint in fabric.endpoints
        if endpoint.vni == segment.vni and endpoint.vtep != vtep.host
    ]


def row(mac, segment, dst):
    return f"{mac} dev {segment.vxlan} dst {dst} permanent self"

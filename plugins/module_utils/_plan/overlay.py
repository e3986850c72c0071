# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `overlay` of a VTEP's plan: every table that a variant can fill, so that those of another are emptied."""

from __future__ import annotations

from .._model import overhead
from . import access


def compile_vtep(vxlans, announce, fdb=(), neighbors=(), routes=(), rules=(), sysctls=None):
    """fdb, neighbors and routes are lines of tables."""
    return {
        "vxlans": vxlans,
        "fdb": {"dev": [device["name"] for device in vxlans], "table": text(fdb)},
        "neighbors": {"table": text(neighbors)},
        "routes": {"table": text(routes)},
        "rules": list(rules),
        "sysctls": sysctls or {},
        "announce": announce,
    }


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


def vxlan(fabric, segment, vtep):
    """What the devices of all variants have in common, for module vtep.fabric.vxlan."""
    return {
        "name": segment.vxlan,
        "local": fabric.local(vtep),
        **PLAIN,
        "dstport": segment.dstport,
        "ttl": segment.ttl,
        "tos": segment.tos,
        "mtu": overhead.device_mtu(fabric.stack(segment), segment.mtu),
        "alias": segment.alias,
        "addrgenmode": "none",
        "up": True,
    }


def announce(fabric, vtep, proxied):
    """What tells the VTEP's endpoints where they find all others, for module vtep.fabric.announce: at their own MAC
    addresses, or where the VTEP answers by proxy at those of its access ports."""
    found = []
    for segment in fabric.segments_of(vtep):
        ports = access.ports_of(vtep, segment)
        if ports:
            lines = []
            for endpoint in fabric.members(segment):
                way = "" if proxied else f" lladdr {endpoint.mac}"
                way += f" port {fabric.device(endpoint)}" if endpoint.vtep == vtep.host else ""
                lines += [address + way for address in endpoint.addresses]
            found.append({"ports": ports, "table": text(lines)})
    return found


def paths(known):
    """Where frames to a MAC must go, for the proof: (VNI, MAC, VTEP) of each that is known without learning."""
    return [{"vni": vni, "mac": mac, "dst": dst} for vni, mac, dst in sorted(known)]


def text(lines):
    return "".join(line + "\n" for line in sorted(lines))


def neighbor(address, dev, mac):
    return f"{address} dev {dev} lladdr {mac} nud permanent"

# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-dynamic-l2: the kernel asks for a MAC that it has no entry for (IFLA_VXLAN_L2MISS), and the agent answers out of the
registry. Broadcasts go to every other VTEP, and neighbour solicitations to those that have an endpoint with such an address:
of multicast the kernel reports no miss, so these rows are there before.
"""

from __future__ import annotations

from ..._model import values
from .. import agent, bridged

BROADCAST = "ff:ff:ff:ff:ff:ff"


def check(fabric, faults):
    agent.check(fabric, "unicast-dynamic-l2", faults)


def compile_vtep(fabric, vtep):
    parts = bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": False, "l2miss": True},
        rows=lambda segment: rows(fabric, segment, vtep),
        copies=lambda segment: len(fabric.peers(segment, vtep)),
    )
    return {
        **parts,
        "agent": agent.compile_vtep(fabric, vtep, groups=True),
        "expect": {
            **parts["expect"],
            "unknown_copies": {str(segment.vni): 0 for segment in fabric.segments_of(vtep)},
            "paths": agent.paths(fabric, vtep),
        },
    }


def rows(fabric, segment, vtep):
    solicited = {
        (solicited_mac(address), fabric.local_of(endpoint))
        for endpoint in fabric.remote(segment, vtep)
        for address in endpoint.addresses
        if values.family(address) == 6
    }
    return [(BROADCAST, fabric.local(peer)) for peer in fabric.peers(segment, vtep)] + sorted(solicited)


def solicited_mac(address):
    """The MAC address of an IPv6 address's solicited-node multicast group (RFC 4291, section 2.7.1; RFC 2464, section 7)."""
    return "33:33:ff:" + values.pack(address)[-3:].hex(":")

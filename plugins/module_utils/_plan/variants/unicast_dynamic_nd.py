# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-dynamic-nd: nothing is flooded, and no row is there before it is asked for. The kernel asks for a MAC that it has no
entry for (IFLA_VXLAN_L2MISS) and for an address that its ARP and ND proxy has no neighbour for (IFLA_VXLAN_L3MISS), and the agent
answers out of the registry.
"""

from __future__ import annotations

from .. import agent, bridged
from . import addresses

VARIANT = "unicast-dynamic-nd"


def check(fabric, faults):
    agent.check(fabric, VARIANT, faults)
    # Elsewhere addresses are learned, or the source knows more of them than the inventory does.
    if fabric.registry and fabric.registry.kind == "file":
        addresses.check_given(fabric, VARIANT, faults)


def compile_vtep(fabric, vtep):
    parts = bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": False, "proxy": True, "l2miss": True, "l3miss": True},
        rows=lambda segment: [],
        copies=lambda segment: 0,
    )
    return {
        **parts,
        "agent": agent.compile_vtep(fabric, vtep, groups=False),
        "expect": {**parts["expect"], "paths": agent.paths(fabric, vtep)},
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-static-nd: nothing is flooded. Each remote endpoint's MAC is an entry, and its addresses are neighbours of the
VXLAN device, which answers ARP and ND for them (IFLA_VXLAN_PROXY)."""

from __future__ import annotations

from .. import bridged
from . import addresses


def check(fabric, faults):
    addresses.check_given(fabric, "unicast-static-nd", faults)


def compile_vtep(fabric, vtep):
    return bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": False, "proxy": True},
        rows=lambda segment: bridged.mac_rows(fabric, segment, vtep),
        copies=lambda segment: 0,
        neighbors=lambda segment: bridged.neighbors(fabric, segment, vtep),
    )

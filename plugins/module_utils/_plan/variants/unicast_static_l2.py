# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-static-l2: the flood list of unicast-static-flood, and each remote endpoint's MAC is an entry instead of learned."""

from __future__ import annotations

from .. import bridged


def check(fabric, faults):
    """Any sound fabric will do."""


def compile_vtep(fabric, vtep):
    return bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": False},
        rows=lambda segment: bridged.flood_rows(fabric, segment, vtep) + bridged.mac_rows(fabric, segment, vtep),
        copies=lambda segment: len(fabric.peers(segment, vtep)),
    )

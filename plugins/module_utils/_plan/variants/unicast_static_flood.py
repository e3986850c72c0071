# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-static-flood: each VTEP sends a copy of a BUM frame to every other one, and learns MACs from what arrives."""

from __future__ import annotations

from .. import bridged


def check(fabric, faults):
    """Any sound fabric will do."""


def compile_vtep(fabric, vtep):
    return bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": True},
        rows=lambda segment: bridged.flood_rows(fabric, segment, vtep),
        copies=lambda segment: len(fabric.peers(segment, vtep)),
    )

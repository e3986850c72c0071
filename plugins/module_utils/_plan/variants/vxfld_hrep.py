# SPDX-License-Identifier: GPL-3.0-or-later
"""vxfld-hrep: the flood list of unicast-static-flood, written by vxrd, which learns from a service node who is in it."""

from __future__ import annotations

from .. import bridged, overlay, vxfld


def check(fabric, faults):
    vxfld.check(fabric, "vxfld-hrep", faults)


def compile_vtep(fabric, vtep):
    parts = bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": True},
        rows=lambda segment: [],
        copies=lambda segment: len(fabric.peers(segment, vtep)),
    )
    flood = [
        bridged.row(segment, mac, dst)
        for segment in fabric.segments_of(vtep)
        for mac, dst in bridged.flood_rows(fabric, segment, vtep)
    ]
    return {
        **parts,
        "vxfld": vxfld.registrar(fabric, vtep, head_rep=True),
        "expect": {**parts["expect"], "fdb": overlay.text(flood)},
    }


def compile_service_node(fabric, node):
    return {
        "vxfld": vxfld.service_node(fabric, node),
        "expect": vxfld.expected(fabric, copies=lambda segment: 0),
    }

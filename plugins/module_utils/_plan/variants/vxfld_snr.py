# SPDX-License-Identifier: GPL-3.0-or-later
"""vxfld-snr: a VTEP sends each BUM frame once, to the address that the service nodes share, and one of them sends it on to
every other VTEP of the VNI."""

from __future__ import annotations

from ..._model import fabric as model
from .. import bridged, vxfld


def check(fabric, faults):
    vxfld.check(fabric, "vxfld-snr", faults)
    check_ports(fabric, faults)
    for node in fabric.service_nodes.values():
        model.check_mtu(fabric, node, fabric.segments, faults)
        check_socket(fabric, node, faults)


def check_ports(fabric, faults):
    """vxsnd listens on one port."""
    for segment in fabric.segments:
        first = fabric.segments[0]
        if segment.dstport != first.dstport:
            message = (
                f"{segment.dstport} differs from {first.dstport} of VNI {first.vni}, and service nodes listen on one port; "
                "give all segments the same"
            )
            faults.add("fabric", f"fabric_segments: VNI {segment.vni}: dstport", message)


def check_socket(fabric, node, faults):
    """A VXLAN device has its UDP port for all addresses of a host."""
    for dev, known in (node.interfaces or {}).items():
        has = known.get("vxlan")
        if not isinstance(has, dict) or not fabric.segments:
            continue
        port = fabric.segments[0].dstport
        if has.get("dstport") == port and (
            "external" in (has.get("flags") or []) or has.get("family") == fabric.family
        ):
            message = f"the host has a VXLAN device {dev} on UDP port {port}, which vxsnd needs; remove it"
            faults.add(node.host, "groups.service_nodes", message)


def compile_vtep(fabric, vtep):
    parts = bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": True, "remote": fabric.service_addresses[fabric.family]},
        rows=lambda segment: [],
        copies=lambda segment: 1,
    )
    return {**parts, "vxfld": vxfld.registrar(fabric, vtep, head_rep=False)}


def compile_service_node(fabric, node):
    return {
        "vxfld": vxfld.service_node(fabric, node, port=fabric.segments[0].dstport),
        "expect": vxfld.expected(fabric, copies=lambda segment: len(segment.vteps) - 1),
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""multicast: the underlay carries BUM frames to all VTEPs of a group, and the VXLAN device learns MACs from what arrives.

The kernel makes the FDB's default entry out of the device's group, so the table holds nothing.
"""

from __future__ import annotations

from ..._model import values
from .. import bridged, macsec_fabric


def check(fabric, faults):
    for segment in fabric.segments:
        key = f"fabric_segments: VNI {segment.vni}: multicast_group"
        group = segment.multicast_group
        if group is None:
            example = {4: "239.0.0.100", 6: "ff05::100"}[fabric.family]
            faults.add("fabric", key, f"is missing; variant multicast needs one, such as {example}")
        elif values.family(group) != fabric.family:
            faults.add(
                "fabric",
                key,
                f"{group} is IPv{values.family(group)}, and the underlay is IPv{fabric.family}; change one",
            )
    for vtep in fabric.vteps.values():
        names = [link.dev for link in vtep.underlay]
        if len(names) > 1:
            message = f"{', '.join(names)} are {len(names)}, and variant multicast sends by one; keep the one that carries multicast"
            faults.add(vtep.host, "vtep_underlay_interfaces", message)


def compile_vtep(fabric, vtep):
    return bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": True, "group": segment.multicast_group, "dev": carrier(fabric, vtep)},
        rows=lambda segment: [],
        copies=lambda segment: 1,
    )


def carrier(fabric, vtep):
    return macsec_fabric.carrier(fabric, vtep.underlay[0].dev)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The variants that can be compiled. Each is a module of this package with two functions, or three:

check(fabric, faults)     adds what keeps this variant from working on a fabric that is sound otherwise
compile_vtep(fabric, vtep)  the sections `access`, `overlay` and `expect` of a VTEP's plan, and `vxfld` or `agent` where there is one
compile_service_node(fabric, node)  the sections `vxfld` and `expect` of a service node's plan, where the variant has them
"""

from __future__ import annotations

from . import (
    multicast,
    unicast_dynamic_l2,
    unicast_dynamic_nd,
    unicast_routing,
    unicast_static_flood,
    unicast_static_l2,
    unicast_static_nd,
    unicast_static_rsc,
    vxfld_hrep,
    vxfld_snr,
)

VARIANTS = {
    "multicast": multicast,
    "unicast-static-flood": unicast_static_flood,
    "unicast-static-l2": unicast_static_l2,
    "unicast-static-nd": unicast_static_nd,
    "unicast-static-rsc": unicast_static_rsc,
    "unicast-dynamic-l2": unicast_dynamic_l2,
    "unicast-dynamic-nd": unicast_dynamic_nd,
    "unicast-routing": unicast_routing,
    "vxfld-hrep": vxfld_hrep,
    "vxfld-snr": vxfld_snr,
}

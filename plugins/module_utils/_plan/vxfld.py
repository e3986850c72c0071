# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variants vxfld-* have in common: vxrd on VTEPs registers with vxsnd on service nodes which VTEPs a VNI has.

Settings are text, as the daemons' configuration files have them, by section and key.
"""

from __future__ import annotations


def check(fabric, variant, faults):
    if not fabric.service_hosts:
        message = f"has no hosts; variant {variant} needs one at least, with a service_node_address"
        faults.add("fabric", "groups.service_nodes", message)
    for node in fabric.service_nodes.values():
        if fabric.family not in node.addresses:
            message = (
                f"{', '.join(node.addresses.values())} is IPv{10 - fabric.family}, and the underlay is "
                f"IPv{fabric.family}; give {node.host} an IPv{fabric.family} address as well"
            )
            faults.add(node.host, node.word("address"), message)
    if fabric.service_addresses is not None and fabric.family not in fabric.service_addresses:
        example = {4: "203.0.113.100", 6: "2001:db8:100::100"}[fabric.family]
        has = ", ".join(fabric.service_addresses.values())
        wrong = f"{has} is IPv{10 - fabric.family}, and the underlay is IPv{fabric.family}" if has else "is missing"
        message = f"{wrong}; variant {variant} needs an IPv{fabric.family} address that all service nodes share, such as {example}"
        faults.add("fabric", "fabric_service_address", message)


def registrar(fabric, vtep, head_rep):
    """vxrd of a VTEP."""
    return {
        "daemon": "vxrd",
        "settings": {"common": common(fabric, vtep), "vxrd": {"head_rep": truth(head_rep)}},
    }


def service_node(fabric, node, port=None):
    """vxsnd of a service node. port: where it takes VXLAN packets to be replicated, None where it does not."""
    peers = [fabric.local(one) for one in fabric.service_nodes.values()]
    settings = {
        "svcnode_peers": " ".join(peers),  # vxsnd leaves itself out
        "install_svcnode_ip": truth(True),
        "svcnode_dev": node.loopback,
        "enable_vxlan_listen": truth(port is not None),
    }
    if port is not None:
        settings["vxlan_port"] = str(port)
    return {"daemon": "vxsnd", "settings": {"common": common(fabric, node), "vxsnd": settings}}


def common(fabric, node):
    return {"src_ip": fabric.local(node), "svcnode_ip": fabric.service_addresses[fabric.family]}


def truth(value):
    return "true" if value else "false"


def expected(fabric, copies):
    """What the proof must find on service nodes: whom each of them knows, and how often all of them together send one
    broadcast of an endpoint. copies(segment) is the latter."""
    return {
        "registrations": {
            str(segment.vni): sorted(fabric.local(fabric.vteps[host]) for host in segment.vteps)
            for segment in fabric.segments
        },
        "broadcast_copies": {str(segment.vni): copies(segment) for segment in fabric.segments},
    }

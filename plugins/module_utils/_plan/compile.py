# SPDX-License-Identifier: GPL-3.0-or-later
"""From the inventory's words to what one host has to hold: the options of the modules, as plain data."""

from __future__ import annotations

from .._model import fabric as model
from .._model import secured
from .._model.reading import Faults, shown
from . import agent, encryption, ipsec, macsec_fabric, underlay
from .variants import VARIANTS

SHOWN_FAULTS = 100  # in one report; more than these nobody reads, and a table of 100 000 rows can have as many


def read(words, hosts, variant, faults=(), service_hosts=None, registry_hosts=None):
    """(Fabric, every fault of the whole fabric, in the order of the inventory). faults: those found in reading it."""
    found = Faults()
    found.found.extend(faults)
    known = isinstance(variant, str) and variant in VARIANTS
    if not known:
        wrong = f"{shown(variant)} is unknown" if variant else "is missing; give it by -e variant=... or fabric_variant"
        found.add("fabric", "variant", f"{wrong}; known are {', '.join(VARIANTS)}")
    if not hosts:
        found.add("fabric", "groups.vteps", "has no hosts; put the VTEPs into the inventory's group vteps")
        return None, found.found
    fabric = model.read(words, hosts, service_hosts or {}, registry_hosts or {}, found)
    if known:
        VARIANTS[variant].check(fabric, found)
        encryption.check(fabric, variant, found)
        macsec_fabric.check(fabric, routed(fabric, variant), found)
    return fabric, found.found


def compile_host(fabric, variant, host):
    """The plan of a VTEP, a service node or a host of the registry, out of a fabric without faults."""
    if host in fabric.service_nodes:
        return compile_service_node(fabric, variant, fabric.service_nodes[host])
    if host in fabric.registry_nodes:
        return compile_registry_node(fabric, variant, fabric.registry_nodes[host])
    vtep = fabric.vteps[host]
    links = links_of(fabric, variant, vtep)
    parts = VARIANTS[variant].compile_vtep(fabric, vtep)
    # The access role removes what it does not name, so it names what the underlay made.
    parts["access"]["links"] += [{"name": link["name"]} for link in links["links"] if link.get("type")]
    return {
        "host": host,
        "variant": variant,
        "family": fabric.family,
        "local": fabric.local(vtep),
        "vnis": [segment.vni for segment in fabric.segments_of(vtep)],
        "underlay": links,
        "vxfld": None,
        "agent": None,
        **macsec(fabric, variant, vtep),
        **ipsec.section(fabric, vtep, parts["overlay"]["vxlans"]),
        **parts,
    }


def compile_service_node(fabric, variant, node):
    """Where the variant has no use for service nodes, their plans are empty."""
    plan = {"host": node.host, "variant": variant, "family": fabric.family, "agent": None}
    if not served(variant):
        return {**plan, "local": None, "vnis": [], "underlay": None, "vxfld": None}
    return {
        **plan,
        "local": fabric.local(node),
        "vnis": [segment.vni for segment in fabric.segments],
        "underlay": links_of(fabric, variant, node),
        **macsec(fabric, variant, node),
        **VARIANTS[variant].compile_service_node(fabric, node),
    }


def compile_registry_node(fabric, variant, node):
    """As with service nodes: empty where nobody asks it."""
    plan = {"host": node.host, "variant": variant, "family": fabric.family, "vnis": [], "vxfld": None, "agent": None}
    if not asked(fabric, variant):
        return {**plan, "local": None, "underlay": None, "registry": None}
    return {
        **plan,
        "local": fabric.local(node),
        "underlay": links_of(fabric, variant, node),
        **macsec(fabric, variant, node),
        "registry": agent.compile_registry_node(fabric, node),
        "expect": {"broadcast_copies": {}},
    }


def links_of(fabric, variant, node):
    """The section `underlay`."""
    carrier = secured.device if fabric.encryption.macsec == "underlay" else None
    former = macsec_fabric.former(fabric, node)[0]
    return underlay.compile_node(node, routed(fabric, variant), carrier, former, fabric.encryption.mode != "none")


def macsec(fabric, variant, node):
    """The section `macsec`, and `macsec_former`, the devices that take no part any more. Each where there is something to say."""
    section = macsec_fabric.compile_node(fabric, node, routed(fabric, variant))
    links, others = macsec_fabric.former(fabric, node)
    found = {"macsec": section if section and section["devices"] else None}
    absent = [[{"name": name, "state": "absent"} for name in names] for names in (links, others)]
    found["macsec_former"] = {"links": absent[0], "segments": absent[1]} if links or others else None
    return {name: part for name, part in found.items() if part}


def routed(fabric, variant):
    """The hosts whose loopbacks must reach one another."""
    return [
        *fabric.vteps.values(),
        *(fabric.service_nodes.values() if served(variant) else ()),
        *(fabric.registry_nodes.values() if asked(fabric, variant) else ()),
    ]


def served(variant):
    return hasattr(VARIANTS[variant], "compile_service_node")


def asked(fabric, variant):
    """Whether agents ask the hosts of group registry."""
    return variant.startswith("unicast-dynamic-") and fabric.registry is not None and fabric.registry.has_members


def bounded(faults, limit=SHOWN_FAULTS):
    """At most `limit` faults, and a last line that counts the rest. 0 is no limit."""
    rest = len(faults) - limit
    if not limit or rest <= 0:
        return list(faults)
    return [*faults[:limit], f"and {rest} more; the filter vtep.fabric.validate lists all with limit=0"]

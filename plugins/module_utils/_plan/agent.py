# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variants unicast-dynamic-* have in common: an agent on each VTEP answers the kernel's misses out of a registry.

Settings are text, as the agent's configuration file has them, by section and key. Its documents of endpoints are those of
kind `file`: JSON, one endpoint a line, sorted.
"""

from __future__ import annotations

import json

from .._model import values
from .._model.etcd_auth import NAME
from .._model.registry import USERNAME
from . import overlay

PORT = 2379  # where etcd's clients reach it
MOST_ADDRESSES = 256  # of an endpoint, for the agent
FOLDER = "/var/lib/vtep.fabric"
ENDPOINTS = f"{FOLDER}/endpoints.json"  # what the registry says, where it is a file
GIVEN = f"{FOLDER}/given.json"  # what this VTEP publishes though it has not learned it


def check(fabric, variant, faults):
    registry = fabric.registry
    if registry is None:
        return
    if registry.kind == "file" and not fabric.lists_endpoints:
        message = (
            f"is missing; variant {variant} answers out of it where fabric_registry has kind file. List the endpoints, "
            "write [] while there are none, or take kind etcd, which needs no list"
        )
        faults.add("fabric", "fabric_endpoints", message)
    for one in fabric.endpoints if registry.kind != "http" else ():
        if len(one.addresses) > MOST_ADDRESSES:
            message = f"has {len(one.addresses)}, and the agent takes {MOST_ADDRESSES} of an endpoint; list fewer"
            faults.add("fabric", f"fabric_endpoints: {one.name or one.mac}: addresses", message)
    if registry.kind == "http" and len(registry.urls) != 1:
        has = f"has {len(registry.urls)} URLs" if registry.urls else "is missing"
        message = f"{has}; kind http asks exactly one, such as [https://ipam.example.net/endpoints.json]"
        faults.add("fabric", "fabric_registry: urls", message)
    if registry.has_members:
        check_members(fabric, variant, faults)


def check_members(fabric, variant, faults):
    count = len(fabric.registry_hosts)
    if not count and not fabric.registry.urls:
        message = (
            f"has no hosts; variant {variant} with a registry of kind etcd needs 1 or 3, each with a registry_address, "
            "or the urls of an etcd of yours in fabric_registry"
        )
        faults.add("fabric", "groups.registry", message)
    if count and count % 2 == 0:
        message = f"has {count} hosts; etcd decides by majority, so one less stands as much; take an odd number, such as 1 or 3"
        faults.add("fabric", "groups.registry", message)
    user = fabric.registry.username or USERNAME
    if count and (not NAME.fullmatch(user) or user == "root"):
        message = (
            f"{user!r} cannot be a user of the registry that the fabric runs; take up to 64 of A-Z, a-z, 0-9, _, . and -, "
            "beginning with a letter or digit, and not root, which the role has for itself"
        )
        faults.add("fabric", "fabric_registry: username", message)
    for node in fabric.registry_nodes.values():
        if fabric.family not in node.addresses:
            message = (
                f"{', '.join(node.addresses.values())} is IPv{10 - fabric.family}, and the underlay is "
                f"IPv{fabric.family}; give {node.host} an IPv{fabric.family} address as well"
            )
            faults.add(node.host, node.word("address"), message)


def compile_vtep(fabric, vtep, groups):
    """The section `agent` of a VTEP's plan. groups: whether endpoints that only the registry knows need rows for the
    multicast MACs of their addresses."""
    registry = fabric.registry
    shared = registry.kind != "file"  # a file says what the inventory says, and what is written from that has its rows
    publishes = registry.kind == "etcd"
    segments = fabric.segments_of(vtep)
    given = publishes and fabric.lists_endpoints
    settings = {
        "agent": {"learn": truth(publishes), "groups": truth(groups and shared)},
        "registry": registry_settings(fabric),
    }
    if given:
        settings["given"] = {"endpoints_file": GIVEN}
    return {
        "settings": settings,
        "document": None if shared else document(fabric, (e for s in segments for e in fabric.members(s))),
        "given": document(fabric, (e for s in segments for e in fabric.attached(s, vtep))) if given else None,
        "members": list(fabric.registry_nodes) if registry.has_members and not registry.urls else [],
    }


def registry_settings(fabric):
    registry = fabric.registry
    if registry.kind == "file":
        return {"kind": "file", "file": ENDPOINTS}
    found = {"kind": registry.kind, "urls": " ".join(registry.urls or map(url, members(fabric)))}
    if registry.kind == "etcd":
        found["prefix"] = registry.prefix
    if registry.user is not None:
        found["username"] = registry.user
    if registry.interval is not None:
        found["interval"] = str(registry.interval)
    return found


def members(fabric):
    """The addresses at which etcd's members are reached."""
    return [fabric.local(node) for node in fabric.registry_nodes.values()]


def url(address):
    return f"https://[{address}]:{PORT}" if values.family(address) == 6 else f"https://{address}:{PORT}"


def truth(value):
    return "true" if value else "false"


def document(fabric, endpoints):
    """The endpoints as a text that the agent reads."""
    lines = [
        json.dumps(
            {
                "vni": one.vni,
                "mac": one.mac,
                "vtep": fabric.local_of(one),
                "addresses": sorted(one.addresses, key=values.pack),
            }
        )
        for one in sorted(endpoints, key=lambda one: (one.vni, one.mac))
    ]
    return '{"version": 1, "endpoints": [\n' + ",\n".join(lines) + "\n]}\n"


def paths(fabric, vtep):
    """Where frames must go once an endpoint has been asked for: one that nobody can ask for is in none of them."""
    return overlay.paths(
        (segment.vni, endpoint.mac, fabric.local_of(endpoint))
        for segment in fabric.segments_of(vtep)
        for endpoint in fabric.remote(segment, vtep)
        if endpoint.addresses
    )


def compile_registry_node(fabric, node):
    """The section `registry` of the plan of a host that runs a member."""
    return {
        "members": [{"name": one.host, "address": fabric.local(one)} for one in fabric.registry_nodes.values()],
        "self": node.host,
        "prefix": fabric.registry.prefix,
        "username": fabric.registry.username or USERNAME,
    }

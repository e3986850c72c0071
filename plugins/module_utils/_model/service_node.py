# SPDX-License-Identifier: GPL-3.0-or-later
"""A service node: a host that knows which VTEPs a segment has (variants vxfld-*), and ends no tunnel itself."""

from __future__ import annotations

from dataclasses import dataclass

from . import node, reading


@dataclass(frozen=True)
class ServiceNode(node.Node):
    loopback_cost: int  # OSPF's

    kind = "service_node"
    ports = ()  # it has no endpoints


WORDS = (*node.words_of(ServiceNode), "service_node_loopback_cost")


def read(host, mapping, faults, position):
    """A ServiceNode, or None when a word of this host is faulty.

    position: in the inventory, from 1. Its own cost, lest two are equally far: ospf6d keeps a next hop whose router has withdrawn
    the anycast address when another tells it at the same cost (FRR issue 13579, at least up to 10.5).
    """
    words = reading.Words(faults, host, "", mapping)
    found = ServiceNode(
        **node.fields(ServiceNode, words, "the service node", "the VTEPs"),
        loopback_cost=words.get("service_node_loopback_cost", reading.whole(1, 65535), position),
    )
    return found if len(faults.found) == words.before else None

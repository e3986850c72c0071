# SPDX-License-Identifier: GPL-3.0-or-later
"""A service node: a host that knows which VTEPs a segment has (variants vxfld-*), and ends no tunnel itself."""

from __future__ import annotations

from dataclasses import dataclass

from . import node, reading


@dataclass(frozen=True)
class ServiceNode(node.Node):
    kind = "service_node"
    ports = ()  # it has no endpoints


WORDS = node.words_of(ServiceNode)


def read(host, mapping, faults):
    """A ServiceNode, or None when a word of this host is faulty."""
    words = reading.Words(faults, host, "", mapping)
    found = ServiceNode(**node.fields(ServiceNode, words, "the service node", "the VTEPs"))
    return found if len(faults.found) == words.before else None

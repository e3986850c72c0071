# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that runs a member of the registry (variants unicast-dynamic-* with etcd), and ends no tunnel itself."""

from __future__ import annotations

from dataclasses import dataclass

from . import node, reading


@dataclass(frozen=True)
class RegistryNode(node.Node):
    kind = "registry"
    ports = ()  # it has no endpoints


WORDS = node.words_of(RegistryNode)


def read(host, mapping, faults):
    """A RegistryNode, or None when a word of this host is faulty."""
    words = reading.Words(faults, host, "", mapping)
    found = RegistryNode(**node.fields(RegistryNode, words, "this member of the registry", "the VTEPs"))
    return found if len(faults.found) == words.before else None

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_rogues
version_added: "0.1.0"
short_description: What a rogue sends to prove that VTEPs let nothing in that is not encrypted
description:
  - For each VTEP of a fabric that encrypts, a frame in unencrypted VXLAN from an address of the rogue's own, and one from the
    address of another VTEP; a service node that replicates gets the same, whose copies VTEPs would take. The role
    C(vtep.fabric.verify) has its script send them.
  - Every host of the groups C(vteps), C(service_nodes) and C(registry) must have the facts C(preflight_plan) and C(preflight_host) of the
    role C(vtep.fabric.preflight).
positional: _input, groups, rogues, marker
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's C(groups).
    type: dict
    required: true
  rogues:
    description:
      - Hosts that send, by name, and of each its interface on the underlay's Ethernet segment. It may be empty for a VTEP, which then sends
        on the first of its own.
      - None sends to itself, so that two are needed where VTEPs are rogues.
    type: dict
    required: true
  marker:
    description: The marker of this proof, see P(vtep.fabric.verify_request#filter).
    type: str
    required: true
seealso:
  - plugin: vtep.fabric.verify_request
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Show what a rogue would send
  ansible.builtin.debug:
    msg: "{{ hostvars | vtep.fabric.verify_rogues(groups, {'s1': '', 's2': ''}, verify_marker) }}"
"""

RETURN = r"""
_value:
  description: Each rogue, C(host), and what it is asked, C(request). Nothing where the fabric does not encrypt.
  type: list
  elements: dict
"""

from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify_encryption
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory, proof


def verify_rogues(hostvars, groups, rogues, marker):
    plans = proof.read_plans(hostvars, groups)
    if not rogues or not verify_encryption.anywhere(plans):
        return []
    return verify_encryption.rogue_requests(plans, proof.interfaces(hostvars, groups), inventory.plain(rogues), marker)


class FilterModule:
    def filters(self):
        return {"verify_rogues": verify_rogues}

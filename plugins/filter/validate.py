# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: validate
version_added: "0.1.0"
short_description: All faults of a fabric's description
description:
  - Reads the fabric's words of all hosts in the groups C(vteps), C(service_nodes) and C(registry), checks them and how they fit together,
    and returns every fault at once. Each names the host, or C(fabric), then the key, the value and what to do.
  - Bad data of whatever type is a fault, never an error of the filter.
  - Where a host has a variable C(preflight_host), the result of module M(vtep.fabric.host_info), its interfaces and their MTU
    are checked as well. Elsewhere those checks are left out.
  - The collection's page on the inventory explains each word.
positional: _input, groups, variant
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's C(groups).
    type: dict
    required: true
  variant:
    description: How the fabric works.
    type: str
    required: true
  limit:
    description: How many faults to return, followed by a line that counts the rest. V(0) returns all of them.
    type: int
    default: 100
  encryption:
    description:
      - How the fabric encrypts, V(none), V(macsec), V(macsec-mka), V(ipsec) or V(ipsec-opportunistic). Without it, or empty, it is
        C(mode) of C(fabric_encryption).
    type: str
seealso:
  - plugin: vtep.fabric.compile
    plugin_type: filter
  - plugin: vtep.fabric.endpoints
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Refuse a faulty fabric before the first change
  ansible.builtin.assert:
    that: faults | length == 0
    fail_msg: "{{ faults }}"
  vars:
    faults: "{{ hostvars | vtep.fabric.validate(groups, variant) }}"
  run_once: true

# A fault looks like this:
# s2: vtep_underlay_interfaces: eth0 has MTU 1500, and VNI 100 with MTU 1500 needs 1570 (VXLAN over IPv6 adds 70);
# write {dev: eth0, mtu: 1570}, and the same MTU on all hosts of that link, or set the segment's mtu to 1430 at most
"""

RETURN = r"""
_value:
  description: The faults, one string each. Empty when there are none.
  type: list
  elements: str
"""

from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory


def validate(hostvars, groups, variant, limit=plan.SHOWN_FAULTS, encryption=None):
    words, hosts, service_hosts, registry_hosts, unread = inventory.read(hostvars, groups, encryption)
    faults = plan.read(words, hosts, inventory.plain(variant), unread, service_hosts, registry_hosts)[1]
    return plan.bounded(faults, limit)


class FilterModule:
    def filters(self):
        return {"validate": validate}

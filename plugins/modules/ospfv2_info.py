#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ospfv2_info
version_added: "0.1.0"
short_description: Tell the neighbours, interfaces and routes of OSPFv2 in FRR
description:
  - Reads what FRR's C(ospfd) knows, the same for all versions of FRR, and can wait until the network has converged.
  - On a host without FRR, or where C(ospfd) does not run, the lists are empty. With O(wait_for) the module fails then.
extends_documentation_fragment: vtep.fabric.ospf.info
seealso:
  - module: vtep.fabric.ospfv2
"""

EXAMPLES = r"""
- name: Wait until the other VTEPs are routed
  vtep.fabric.ospfv2_info:
    wait_for:
      routes: [203.0.113.2/32, 203.0.113.3/32]
      timeout: 30

- name: Read the neighbours
  vtep.fabric.ospfv2_info:
  register: ospf

- name: Two neighbours must be Full
  ansible.builtin.assert:
    that: ospf.neighbors | selectattr('state', 'eq', 'Full') | length == 2
"""

RETURN = r"""
installed:
  description: Whether FRR is installed.
  returned: success
  type: bool
  sample: true
running:
  description: Whether C(ospfd) runs.
  returned: success
  type: bool
  sample: true
version:
  description: FRR's version.
  returned: success
  type: str
  sample: "10.3"
router_id:
  description: The router id in use. Empty where there is none.
  returned: success
  type: str
  sample: 203.0.113.1
waited:
  description: Seconds that the module waited.
  returned: success
  type: float
  sample: 0.8
neighbors:
  description: The neighbours, ordered by interface and id. Rows for C(0.0.0.0), which are no neighbours, are left out.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The neighbour's router id.
      type: str
      sample: 203.0.113.2
    state:
      description: The state of the adjacency in the words of RFC 2328, section 10.1.
      type: str
      sample: Full
    interface:
      description: The interface over which it is a neighbour.
      type: str
      sample: eth0
    address:
      description: The neighbour's address on the link.
      type: str
      sample: 192.0.2.2
    dr:
      description: Router id of the link's designated router. Empty or C(0.0.0.0) where there is none.
      type: str
      sample: 203.0.113.3
    bdr:
      description: Router id of the link's backup designated router.
      type: str
      sample: 203.0.113.2
    settled:
      description: >-
        Whether the adjacency is as far as it gets: C(Full), or C(2-Way) between two routers of a LAN that are neither its designated nor
        its backup designated router (RFC 2328, section 10.4).
      type: bool
      sample: true
interfaces:
  description: The interfaces that take part, ordered by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The interface.
      type: str
      sample: eth0
    area:
      description: Its area in dotted form.
      type: str
      sample: 0.0.0.0
    state:
      description: Its state in the words of RFC 2328, section 9.1, as FRR writes them.
      type: str
      sample: DR
    network:
      description: Its network type as FRR writes it, in lower case.
      type: str
      sample: broadcast
    cost:
      description: Its cost.
      type: int
      sample: 10
    hello_interval:
      description: Seconds between two hellos.
      type: int
      sample: 10
    dead_interval:
      description: Seconds after which a silent neighbour is dead.
      type: int
      sample: 40
    passive:
      description: Whether it is passive. Null where FRR does not tell, which is the case for no known version.
      type: bool
      sample: false
    dr:
      description: Router id of the designated router.
      type: str
      sample: 203.0.113.3
    bdr:
      description: Router id of the backup designated router.
      type: str
      sample: 203.0.113.2
routes:
  description: The routes that OSPFv2 has found, those to the host's own prefixes among them.
  returned: success
  type: list
  elements: dict
  contains:
    prefix:
      description: The prefix.
      type: str
      sample: 203.0.113.2/32
    type:
      description: C(intra-area), C(inter-area), C(external-1) or C(external-2).
      type: str
      sample: intra-area
    nexthops:
      description: The next hops. The address is empty for a prefix that is attached directly.
      type: list
      elements: dict
      contains:
        address:
          description: The next hop's address.
          type: str
          sample: 192.0.2.2
        interface:
          description: The interface towards it.
          type: str
          sample: eth0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.ospf import INFO_SPEC, V2, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    module = AnsibleModule(argument_spec=INFO_SPEC, supports_check_mode=True)
    query(module, info(V2, module.check_mode))


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_request
version_added: "0.1.0"
short_description: What the proof of a fabric asks of one host
description:
  - For a VTEP, a service node or a host of the registry, which broadcasts to count, which tables to read and which addresses
    to ping. For an endpoint, whom to ping and how large a full frame is. The role C(vtep.fabric.verify) hands it to its scripts.
  - Every host of the groups C(vteps), C(service_nodes) and C(registry) must have the fact C(preflight_plan) of the role
    C(vtep.fabric.preflight).
positional: _input, groups, host, frames, wait, marker
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's C(groups).
    type: dict
    required: true
  host:
    description: The host to ask, a VTEP, a service node, a host of the registry or an endpoint.
    type: str
    required: true
  frames:
    description: Broadcast frames that each endpoint sends.
    type: int
    default: 20
  wait:
    description: Seconds that the first ping of a pair may take.
    type: int
    default: 10
  marker:
    description:
      - What pings and counted frames carry where the fabric encrypts, and what captures look for. 16 bytes as hexadecimal digits, random.
      - It must be given where the fabric encrypts.
    type: str
    default: ""
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Show what this host would be asked
  ansible.builtin.debug:
    msg: "{{ hostvars | vtep.fabric.verify_request(groups, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: >-
    The request, plain data. Its C(kind) is V(endpoint) for an endpoint, V(node) for the others, or V(none) for one that the
    variant has no use for.
  type: dict
"""

import re

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify, verify_encryption
from ansible_collections.vtep.fabric.plugins.plugin_utils import proof


def verify_request(hostvars, groups, host, frames=20, wait=10, marker=""):
    plans, endpoints = proof.read(hostvars, groups)
    if verify_encryption.anywhere(plans) and not re.fullmatch("[0-9a-f]{32}", marker):
        raise AnsibleFilterError(
            "marker: is not 32 hexadecimal digits in lower case; the fabric encrypts, and its proof takes random ones"
        )
    if host in plans:
        return verify.node_request(plans[host], plans, endpoints, marker)
    for endpoint in endpoints:
        if endpoint["name"] == host:
            return verify.endpoint_request(endpoint, endpoints, plans, frames, wait, marker)
    raise AnsibleFilterError(
        f"{host}: is in none of the groups {', '.join(proof.KINDS)}, and not the name of one of fabric_endpoints"
    )


class FilterModule:
    def filters(self):
        return {"verify_request": verify_request}

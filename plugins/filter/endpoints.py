# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: endpoints
version_added: "0.1.0"
short_description: The list of endpoints that fabric_endpoints means
description:
  - Takes what may be written for C(fabric_endpoints) and returns the list of endpoints that it means, a list as it is.
  - The filters P(vtep.fabric.validate#filter) and P(vtep.fabric.compile#filter) do the same by themselves.
  - The endpoints themselves are not looked at. P(vtep.fabric.validate#filter) does that.
  - For more than some thousands of endpoints take a JSON file. 100 000 endpoints are read in about 0.3 seconds from JSON,
    and in half a minute from YAML variables.
positional: _input
options:
  _input:
    description:
      - A list of endpoints, or a mapping with either RV(ignore:file) or RV(ignore:document).
      - C(file) is the path of a JSON or YAML file on the controller. The content tells which it is, not the name. A relative
        path starts at the directory that Ansible runs in, so write C({{ inventory_dir }}/endpoints.json). Templates and
        vaulted values in the file are not expanded.
      - C(document) is any data.
      - C(query) is an optional JMESPath expression that leads from the file's content, or from the document, to the list.
        It needs the Python library jmespath on the controller.
    type: raw
    required: true
seealso:
  - plugin: vtep.fabric.validate
    plugin_type: filter
  - plugin: vtep.fabric.compile
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Count the endpoints of an export of the address management
  ansible.builtin.debug:
    msg: "{{ {'file': inventory_dir ~ '/ipam.json', 'query': query} | vtep.fabric.endpoints | length }}"
  vars:
    query: "stations[?active].{mac: mac, addresses: ips, vtep: host, port: interface, vni: segment}"
"""

RETURN = r"""
_value:
  description: The endpoints.
  type: list
  elements: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory


def endpoints(source):
    try:
        return inventory.resolve(inventory.plain(source))
    except FabricError as error:
        raise AnsibleFilterError(f"fabric_endpoints: {error}") from None


class FilterModule:
    def filters(self):
        return {"endpoints": endpoints}

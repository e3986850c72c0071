# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vxfld_settings
version_added: "0.1.0"
short_description: The settings of vxrd or vxsnd on a host, and what is wrong with them
description:
  - Puts the settings that role C(vtep.fabric.vxfld) was given on top of those that the compiled plan asks for.
  - They are judged on the controller by the code that reads them on the host, so that a fault is told before a host is touched.
    A key that the daemon does not know is a fault too.
positional: _input, words, extra
options:
  _input:
    description: C(vxfld) of the plan that P(vtep.fabric.compile#filter) makes.
    type: dict
    required: true
  words:
    description:
      - Keys of either daemon with their values, without their sections. Those of the daemon that the host does not run are left out.
      - Lists are written with blanks between their members. What is null is left as it is.
    type: dict
    required: true
  extra:
    description: Settings by section and key, which win over all others.
    type: dict
    required: true
  key:
    description: The key for authentication, or null.
    type: str
  upstream:
    description: Whether the daemons are upstream's, which know less.
    type: bool
    default: false
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Refuse what vxrd would refuse
  ansible.builtin.assert:
    that: found.faults | length == 0
    fail_msg: "{{ found.faults }}"
  vars:
    found: "{{ preflight_plan.vxfld | vtep.fabric.vxfld_settings({'holdtime': 30}, {'vxrd': {'config_check_rate': 10}}) }}"
"""

RETURN = r"""
_value:
  description: What the host's daemon is to be set to.
  type: dict
  contains:
    daemon:
      description: V(vxrd) or V(vxsnd).
      type: str
    settings:
      description: The text of each setting, by section and key.
      type: dict
    reloadable:
      description: The settings that the daemon takes up on a reload, as SECTION.KEY.
      type: list
      elements: str
    faults:
      description: Every fault, in words.
      type: list
      elements: str
"""

from ansible_collections.vtep.fabric.plugins.plugin_utils.vxfld_settings import compose


class FilterModule:
    def filters(self):
        return {"vxfld_settings": compose}

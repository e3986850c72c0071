# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: agent_settings
version_added: "0.1.0"
short_description: The settings of vtep-agent on a host, and what is wrong with them
description:
  - Puts the settings that role C(vtep.fabric.agent) was given on top of those that the compiled plan asks for.
  - They are judged on the controller by the code that reads them on the host, so that a fault is told before a host is touched.
    A key that the agent does not know is a fault too.
positional: _input, words, extra
options:
  _input:
    description: C(agent) of the plan that P(vtep.fabric.compile#filter) makes.
    type: dict
    required: true
  words:
    description: Keys of the agent with their values, without their sections. What is null is left as it is.
    type: dict
    required: true
  extra:
    description: Settings by section and key, which win over all others.
    type: dict
    required: true
  secrets:
    description:
      - The text of each credential that the unit hands over, by its name. Settings that name its file are judged by it.
      - What is not among them is not judged.
    type: dict
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Refuse what vtep-agent would refuse
  ansible.builtin.assert:
    that: found.faults | length == 0
    fail_msg: "{{ found.faults }}"
  vars:
    found: "{{ preflight_plan.agent | vtep.fabric.agent_settings({'source_limit': 100}, {'agent': {'sweep': 10}}) }}"
"""

RETURN = r"""
_value:
  description: What the host's agent is to be set to.
  type: dict
  contains:
    daemon:
      description: V(vtep-agent).
      type: str
    settings:
      description: The text of each setting, by section and key.
      type: dict
    reloadable:
      description: The settings that the agent takes up on a reload, as SECTION.KEY.
      type: list
      elements: str
    faults:
      description: Every fault, in words.
      type: list
      elements: str
    warnings:
      description: What the agent would take and warn of.
      type: list
      elements: str
"""

from ansible_collections.vtep.fabric.plugins.plugin_utils.agent_settings import compose


class FilterModule:
    def filters(self):
        return {"agent_settings": compose}

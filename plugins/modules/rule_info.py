#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rule_info
version_added: "0.1.0"
short_description: Tell what policy routing rules there are
description:
  - Returns the rules of the routing policy (C(ip rule)) as data.
  - What this version does not know of a rule is passed on as it came.
options:
  family:
    description: Only rules of IPv4 or of IPv6.
    type: int
    choices: [4, 6]
  owned:
    description: Only rules that M(vtep.fabric.rule) takes for its own, by the protocol number 118.
    type: bool
    default: false
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Which rules are ours?
  vtep.fabric.rule_info:
    owned: true
  register: known

- name: The routing tables that they look into
  ansible.builtin.debug:
    msg: "{{ known.rules | selectattr('table', 'defined') | map(attribute='table') | unique }}"
"""

RETURN = r"""
rules:
  description: The rules, IPv4 first, in the order in which the kernel asks them.
  returned: success
  type: list
  elements: dict
  contains:
    family:
      description: V(4) or V(6).
      type: int
      returned: always
    priority:
      description: When the rule is asked, the least first.
      type: int
      returned: always
    from:
      description: Packets from this prefix.
      type: str
      returned: when the rule says so
    to:
      description: Packets to this prefix.
      type: str
      returned: when the rule says so
    iif:
      description: Packets that come in by this device.
      type: str
      returned: when the rule says so
    oif:
      description: Packets of sockets that are bound to this device.
      type: str
      returned: when the rule says so
    fwmark:
      description: Packets with this mark, in hexadecimal, with its mask when that leaves something out.
      type: str
      returned: when the rule says so
    action:
      description: V(lookup), V(unreachable), V(blackhole), V(prohibit), V(goto) or V(nop).
      type: str
      returned: always
    table:
      description: The number of the routing table.
      type: int
      returned: when the action is V(lookup)
    protocol:
      description: Who made the rule, in the kernel's number (RTPROT_* of linux/rtnetlink.h).
      type: int
      returned: always
    protocol_name:
      description: The same in words, where it has a name.
      type: str
      returned: always
    owned:
      description: Whether M(vtep.fabric.rule) takes the rule for its own, and would purge it.
      type: bool
      returned: always
    other:
      description: What else the kernel tells, with the kernel's numbers and in hexadecimal.
      type: str
      returned: when there is any
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.rule import INFO_ARGUMENTS, read_info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    module = AnsibleModule(argument_spec=INFO_ARGUMENTS, supports_check_mode=True)
    query(module, read_info)


if __name__ == "__main__":
    main()

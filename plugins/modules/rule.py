#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rule
version_added: "0.1.0"
short_description: Manage policy routing rules
description:
  - Writes and removes rules of the routing policy (C(ip rule)), which say what packets look into which routing table.
  - All rules are checked before the first change, and read back after the last.
  - Rules that the module writes carry the protocol number 118 (C(FRA_PROTOCOL) of linux/fib_rules.h, Linux 4.17), which
    C(ip -d rule) shows as C(proto 118). It tells the module's own rules from those of others, which are never
    replaced or removed. Where one of them takes the same packets at the same priority as a given rule, the module
    fails before the first change and names it.
  - Of two rules that take the same packets at one priority the kernel asks only the first. So when the action or the
    routing table of an own rule is to be another one, the new rule is written and then the old one deleted.
  - Needs nothing on the host but Python, and a kernel with C(CONFIG_IP_MULTIPLE_TABLES) and
    C(CONFIG_IPV6_MULTIPLE_TABLES).
options:
  rules:
    description:
      - The rules. Devices that they name need not exist.
    type: list
    elements: dict
    required: true
    suboptions:
      family:
        description: Of packets of IPv4 or of IPv6.
        type: int
        choices: [4, 6]
        required: true
      priority:
        description:
          - When the rule is asked, 1 to 4294967295, the least first. The kernel's own rules look into C(local) at 0, into
            C(main) at 32766, and for IPv4 into C(default) at 32767.
        type: int
        required: true
      from:
        description: Packets from this prefix. Left out, from anywhere.
        type: str
      to:
        description: Packets to this prefix. Left out, to anywhere.
        type: str
      iif:
        description: Packets that come in by this device; V(lo) means the host's own.
        type: str
      oif:
        description: Packets of sockets that are bound to this device.
        type: str
      fwmark:
        description: Packets with this mark, as C(MARK) or C(MARK/MASK), decimal or hexadecimal with V(0x).
        type: str
      action:
        description:
          - V(lookup) looks into O(rules[].table) and, when nothing is found there, goes on with the next rule.
          - V(unreachable) and V(prohibit) answer with an ICMP error, V(blackhole) drops silently.
        type: str
        choices: [lookup, unreachable, blackhole, prohibit]
        default: lookup
      table:
        description: The routing table to look into, 1 to 4294967295, or a name from the host's C(rt_tables).
        type: str
  state:
    description:
      - With V(absent) the module's own rules that take the given packets at the given priority are removed, whatever they do
        with them.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - V(owned) removes all rules with protocol 118 that are not given, of both families.
    type: str
    choices: [none, owned]
    default: none
attributes:
  check_mode:
    support: full
    description: Predicts exactly what a run does.
  diff_mode:
    support: full
    description: Shows the rules that differ, a line each, up to 1000 on either side and the number of the others.
  idempotent:
    support: full
    description: A second run changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: What comes from the endpoints of a segment sees the routing table of the segment only
  vtep.fabric.rule:
    rules:
      - {family: 4, priority: 1000, iif: eth1, table: 1000}
      - {family: 6, priority: 1000, iif: eth1, table: 1000}
      - {family: 4, priority: 1001, iif: eth1, action: unreachable}
      - {family: 6, priority: 1001, iif: eth1, action: unreachable}
    purge: owned

- name: Marked packets from one network take another way
  vtep.fabric.rule:
    rules:
      - {family: 6, priority: 2000, from: "2001:db8:ff::/64", fwmark: "0x10/0xff", table: 7}

- name: No rules of ours are left
  vtep.fabric.rule:
    rules: []
    purge: owned
"""

RETURN = r"""
rows:
  description: How many rules were, or in check mode would be, touched.
  returned: success
  type: dict
  contains:
    added:
      description: Rules that were missing.
      type: int
      returned: success
    changed:
      description: Own rules that had another action or routing table.
      type: int
      returned: success
    removed:
      description: Own rules that were removed.
      type: int
      returned: success
    unchanged:
      description: Given rules that were there.
      type: int
      returned: success
  sample: {added: 2, changed: 0, removed: 0, unchanged: 2}
sample:
  description: Some of the rules that were touched, at most 10, in the words of C(ip rule).
  returned: success
  type: list
  elements: str
  sample: ["added -6 priority 1000 from all iif eth1 lookup 1000"]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.rule import ARGUMENTS, RuleResource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run(module, RuleResource())


if __name__ == "__main__":
    main()

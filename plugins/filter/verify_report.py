# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
version_added: "0.1.0"
short_description: What the answers to a proof of the fabric mean
description:
  - Judges what the scripts of the role C(vtep.fabric.verify) answered, which the variables C(verify_node), C(verify_encryption) and
    C(verify_endpoint) of each host hold.
positional: _input, groups, frames
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's C(groups).
    type: dict
    required: true
  frames:
    description: Broadcast frames that each endpoint sent.
    type: int
    default: 20
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Show the report
  ansible.builtin.debug:
    msg: "{{ (hostvars | vtep.fabric.verify_report(groups)).table }}"
"""

RETURN = r"""
_value:
  description: The report.
  type: dict
  contains:
    ok:
      description: Whether no check failed.
      type: bool
    variant:
      description: The variant that was proven.
      type: str
    encryption:
      description: How the fabric that was proven encrypts, V(none) where it does not.
      type: str
    checks:
      description: >-
        Each check with its kind, host, what was expected, what was seen, whether that is right, and details. C(ok) is null for a check
        that was not run, and the details tell why.
      type: list
      elements: dict
    failed:
      description: The table's lines about the checks that failed.
      type: list
      elements: str
    table:
      description: All checks as lines of text.
      type: list
      elements: str
"""

from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify, verify_encryption
from ansible_collections.vtep.fabric.plugins.plugin_utils import proof


def verify_report(hostvars, groups, frames=20):
    plans, endpoints = proof.read(hostvars, groups)
    checks = verify.checks(plans, endpoints, proof.answers(hostvars, groups), frames)
    checks += verify_encryption.unwanted_checks(plans, proof.with_ipsec(hostvars, groups))
    return {
        "ok": all(check["ok"] is not False for check in checks),
        "variant": next(iter(plans.values()))["variant"],
        "encryption": verify_encryption.picked(plans),
        "checks": checks,
        "failed": verify.table([check for check in checks if check["ok"] is False]),
        "table": verify.table(checks),
    }


class FilterModule:
    def filters(self):
        return {"verify_report": verify_report}

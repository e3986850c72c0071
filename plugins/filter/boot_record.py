# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_record
version_added: "0.1.0"
short_description: What a host's kernel needs after a reboot to be what site.yml has made of it
description:
  - Makes the record that C(vtep-boot) restores out of the plan that P(vtep.fabric.compile#filter) makes for a host. Role boot calls it.
  - It holds the calls of the collection's modules, in the order of C(site.yml), without what they purge. No keys are in it.
positional: _input
options:
  _input:
    description: The host's plan.
    type: dict
    required: true
  guard:
    description: The nftables table that keeps VXLAN to MACsec, as C(nft) prints it. Counts where MACsec is on the underlay.
    type: str
    default: ""
  isolation:
    description: Whether role access keeps the host's IP stack off the overlay.
    type: bool
    default: true
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Tell what a reboot brings back
  ansible.builtin.debug:
    msg: "{{ preflight_plan | vtep.fabric.boot_record }}"
"""

RETURN = r"""
_value:
  description: The record.
  type: dict
  contains:
    steps:
      description: Of each step a module's name and options, or rules of nftables.
      type: list
      elements: dict
"""

from ansible_collections.vtep.fabric.plugins.module_utils._plan import boot


def boot_record(plan, guard="", isolation=True):
    return boot.record(plan, guard, isolation)


class FilterModule:
    def filters(self):
        return {"boot_record": boot_record}

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: macsec_turn
version_added: "0.1.0"
short_description: What all MACsec devices of a host send and receive with, at each step of a change of keys
description:
  - Makes the option C(devices) of M(vtep.fabric.macsec) out of the section C(macsec) of a plan of P(vtep.fabric.compile#filter), with
    keys that P(vtep.fabric.macsec_sak#filter) derives. Role macsec calls it.
  - A sender that has no key, or one that another secret made, or one of whose packet numbers three quarters are used, gets a fresh one.
  - Every step must be done on all hosts before the next one, and all steps must be made of the same answers of
    M(vtep.fabric.macsec_info).
  - The result is secret.
positional: _input, told, secret, host, step, rotate
options:
  _input:
    description: The section C(macsec) of the host's plan.
    type: dict
    required: true
  told:
    description: By host, C(devices) as M(vtep.fabric.macsec_info) told them before the first step.
    type: dict
    required: true
  secret:
    description: The fabric's secret, 64 to 256 hexadecimal digits.
    type: str
    required: true
  host:
    description: The host to make the list for.
    type: str
    required: true
  step:
    description:
      - V(settle) removes what a run that broke off left to receive with.
      - V(receive) adds what others will send with.
      - V(transmit) sends with the new key.
      - V(drop) leaves only what is sent with from now on.
    type: str
    required: true
    choices: [settle, receive, transmit, drop]
  rotate:
    description: Whether all senders get fresh keys.
    type: bool
    default: false
seealso:
  - module: vtep.fabric.macsec
  - plugin: vtep.fabric.macsec_associations
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Receive what the others will send with
  vtep.fabric.macsec:
    devices: "{{ made.devices }}"
    purge_associations: "{{ made.purge }}"
  vars:
    made: "{{ preflight_plan.macsec | vtep.fabric.macsec_turn(told, secret, inventory_hostname, 'receive') }}"
"""

RETURN = r"""
_value:
  description: What the step takes.
  type: dict
  contains:
    devices:
      description: The option of M(vtep.fabric.macsec).
      type: list
      elements: dict
    purge:
      description: Its option C(purge_associations).
      type: str
    settle:
      description: Whether the step V(settle) is needed.
      type: bool
    turning:
      description: Whether any key changes, so that the steps before V(drop) are needed.
      type: bool
    away:
      description: Hosts that are heard and that O(told) does not know.
      type: list
      elements: str
"""

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_fabric


def turn(section, told, secret, host, step, rotate=False):
    if step not in macsec_fabric.STEPS:
        raise AnsibleFilterError(f"macsec_turn: step: {step!r} is unknown; known are {', '.join(macsec_fabric.STEPS)}")
    if not isinstance(section, Mapping) or any(word not in section for word in ("devices", "peers", "cipher")):
        raise AnsibleFilterError("macsec_turn: it takes the section macsec of a host's plan")
    if not isinstance(told, Mapping) or not all(map(_are_devices, told.values())):
        raise AnsibleFilterError("macsec_turn: told: is not {host: devices}, as macsec_info tells them")
    if not isinstance(rotate, bool):
        raise AnsibleFilterError(f"macsec_turn: rotate: {rotate!r} is neither true nor false; write | bool after it")
    try:
        return macsec_fabric.turn(section, told, secret, host, step, rotate)
    except InputError as error:
        raise AnsibleFilterError(f"macsec_turn: {error}") from None


def _are_devices(listed):
    return isinstance(listed, list) and all(
        isinstance(one, Mapping) and "name" in one and "sci" in one for one in listed
    )


class FilterModule:
    def filters(self):
        return {"macsec_turn": turn}

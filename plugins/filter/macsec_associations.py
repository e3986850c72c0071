# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: macsec_associations
version_added: "0.1.0"
short_description: What one host sends and receives with, at each step of a rotation of MACsec keys
description:
  - Makes the lists C(tx) and C(rx) of M(vtep.fabric.macsec) for one of the hosts that share a link, with keys that
    P(vtep.fabric.macsec_sak#filter) derives. Each host has a key of its own, which the others receive with.
  - A host that has nothing to send with, because it is new or was rebooted, gets a fresh key. The others keep theirs, unless they are
    to rotate.
  - Every step must be done on all hosts before the next one, and all steps must be made of the same answers of
    M(vtep.fabric.macsec_info). Only the last one needs O(vtep.fabric.macsec#module:purge_associations=listed).
  - The result is secret.
positional: _input, secret, host, step, cipher, rotate
options:
  _input:
    description: >-
      By host, what M(vtep.fabric.macsec_info) told of its device before the first step.
    type: dict
    required: true
  secret:
    description: The fabric's secret, 64 to 256 hexadecimal digits.
    type: str
    required: true
  host:
    description: The host to make the lists for.
    type: str
    required: true
  step:
    description:
      - V(receive) receives what each peer sends with now and will send with.
      - V(transmit) sends with the new key.
      - V(drop) leaves only what is sent with from now on.
    type: str
    required: true
    choices: [receive, transmit, drop]
  cipher:
    description: The cipher suite.
    type: str
    default: gcm-aes-128
    choices: [gcm-aes-128, gcm-aes-256, gcm-aes-xpn-128, gcm-aes-xpn-256]
  rotate:
    description: Whether all hosts get fresh keys, V(true) or V(false) and no text, or a list of those hosts that do.
    type: raw
    default: false
seealso:
  - module: vtep.fabric.macsec
  - module: vtep.fabric.macsec_info
  - plugin: vtep.fabric.macsec_sak
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read what each host sends with
  vtep.fabric.macsec_info:
    name: macsec0
  register: before

# Then the same with the steps transmit and drop, the latter with purge_associations: listed. The strategy linear makes each
# task a barrier.
- name: Receive with the keys of today and tomorrow
  vtep.fabric.macsec:
    name: macsec0
    tx: "{{ lists.tx }}"
    rx: "{{ lists.rx }}"
    encodingsa: "{{ lists.encodingsa | default(omit) }}"
  vars:
    told: "{{ ansible_play_batch | map('extract', hostvars, ['before', 'devices', 0]) }}"
    lists: >-
      {{ dict(ansible_play_batch | zip(told))
         | vtep.fabric.macsec_associations(fabric_macsec_secret, inventory_hostname, 'receive', rotate=true) }}
"""

RETURN = r"""
_value:
  description: Options of M(vtep.fabric.macsec).
  type: dict
  contains:
    tx:
      description: The associations to send with.
      type: list
      elements: dict
    rx:
      description: A channel for each of the other hosts.
      type: list
      elements: dict
    encodingsa:
      description: The association that is used. Missing as long as there is none.
      type: int
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_keys


def associations(hosts, secret, host, step, cipher="gcm-aes-128", rotate=False):
    try:
        return macsec_keys.associations(hosts, secret, host, step, cipher, rotate)
    except InputError as error:
        raise AnsibleFilterError(f"macsec_associations: {error}") from None


class FilterModule:
    def filters(self):
        return {"macsec_associations": associations}

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: macsec_sak
version_added: "0.1.0"
short_description: The MACsec key of one sender for one epoch, derived from a secret
description:
  - Derives by HKDF-SHA256 (RFC 5869) the key that the device with an SCI sends with in an epoch. Who has the derived key learns nothing
    about the secret or about other keys.
  - An epoch is a random number that is used for one association and never again. M(vtep.fabric.macsec_info) makes them.
  - The result is secret.
positional: _input, sci, epoch, cipher
options:
  _input:
    description: The fabric's secret, 64 to 256 hexadecimal digits. It stays on the controller, in a vault.
    type: str
    required: true
  sci:
    description: The sender's SCI, 16 hexadecimal digits.
    type: str
    required: true
  epoch:
    description: The epoch, 32 hexadecimal digits.
    type: str
    required: true
  cipher:
    description: The cipher suite.
    type: str
    default: gcm-aes-128
    choices: [gcm-aes-128, gcm-aes-256, gcm-aes-xpn-128, gcm-aes-xpn-256]
seealso:
  - plugin: vtep.fabric.macsec_associations
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Send with a key that was never used
  vtep.fabric.macsec:
    name: macsec0
    encodingsa: "{{ fresh.an }}"
    tx:
      - "{{ fabric_macsec_secret | vtep.fabric.macsec_sak(device.sci, fresh.epoch) | combine(fresh) }}"
  vars:
    device: "{{ macsec.devices | first }}"
    fresh: "{{ device.epochs.fresh }}"
"""

RETURN = r"""
_value:
  description: Words of an association of M(vtep.fabric.macsec).
  type: dict
  contains:
    key:
      description: The key.
      type: str
    key_id:
      description: What stands for it.
      type: str
    ssci:
      description: With XPN only, the short SCI. It is 1, since no two senders have the same key.
      type: int
    salt:
      description: With XPN only, the salt.
      type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_keys


def sak(secret, sci, epoch, cipher="gcm-aes-128"):
    try:
        return macsec_keys.sak(secret, sci, epoch, cipher)
    except InputError as error:
        raise AnsibleFilterError(f"macsec_sak: {error}") from None


class FilterModule:
    def filters(self):
        return {"macsec_sak": sak}

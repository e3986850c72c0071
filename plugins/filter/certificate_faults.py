# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_faults
version_added: "0.1.0"
short_description: What is wrong with a certificate that is to be a server's and a client's
description:
  - Judges on the controller, at its time of day, before a host is touched. A handshake in memory has to succeed in which both
    sides have this certificate and key and believe in this CA, and the client asks for this address.
positional: _input, address, root
options:
  _input:
    description: The texts V(ca), V(cert) and V(key) in PEM.
    type: dict
    required: true
  address:
    description: The IP address that the certificate is to be for, by a subject alternative name.
    type: str
    required: true
  root:
    description: >-
      Whether V(ca) has to be one certificate that it has signed itself, and V(cert) one that is signed by that. strongSwan takes no others
      out of one file.
    type: bool
    default: false
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Refuse a certificate that others would refuse
  ansible.builtin.assert:
    that: found | length == 0
    fail_msg: "{{ found }}"
  vars:
    found: "{{ {'ca': registry_ca, 'cert': registry_cert, 'key': registry_key} | vtep.fabric.certificate_faults('2001:db8:253::1') }}"
"""

RETURN = r"""
_value:
  description: Every fault, beginning with the word that it is of, or none.
  type: list
  elements: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._model import values
from ansible_collections.vtep.fabric.plugins.plugin_utils.certificates import check, faults


def certificate_faults(texts, address, root=False):
    try:
        check(texts)
    except ValueError as error:
        raise AnsibleFilterError(f"certificate_faults: {error}") from None
    try:
        address = values.address(address)
    except ValueError as error:
        raise AnsibleFilterError(f"certificate_faults: address: {error}") from None
    return faults(texts, address, root)


class FilterModule:
    def filters(self):
        return {"certificate_faults": certificate_faults}

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_texts
version_added: "0.1.0"
short_description: The certificates and the key out of the texts that a user has given
description:
  - What P(vtep.fabric.certificate_faults#filter) judges of them, without what is written around it, such as comments, a byte order
    mark, or the parameters that openssl writes before a key. What a host gets is then what was judged.
positional: _input
options:
  _input:
    description: The texts V(ca), V(cert) and V(key) in PEM.
    type: dict
    required: true
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Write the key alone
  ansible.builtin.copy:
    dest: /etc/swanctl/private/vtep-fabric.pem
    content: "{{ texts.key }}"
    mode: "0600"
  no_log: true
  vars:
    texts: "{{ {'ca': ipsec_ca, 'cert': ipsec_cert, 'key': ipsec_key} | vtep.fabric.certificate_texts }}"
"""

RETURN = r"""
_value:
  description: All certificates of V(ca) and V(cert), and the first private key of V(key). A text that has none is empty.
  type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.plugin_utils.certificates import check, judged


def certificate_texts(texts):
    try:
        check(texts)
    except ValueError as error:
        raise AnsibleFilterError(f"certificate_texts: {error}") from None
    return judged(texts)


class FilterModule:
    def filters(self):
        return {"certificate_texts": certificate_texts}

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_kind
version_added: "0.1.0"
short_description: What key a certificate has
description:
  - Two hosts whose daemons authenticate by one kind of signature need keys of one kind.
positional: _input
options:
  _input:
    description: A certificate in PEM.
    type: str
    required: true
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ ipsec_cert | vtep.fabric.certificate_kind }}"
# msg: ECDSA
"""

RETURN = r"""
_value:
  description: V(RSA), V(ECDSA), or the name of another kind; empty where the certificate cannot be read.
  type: str
"""

from ansible_collections.vtep.fabric.plugins.plugin_utils.certificates import kind


class FilterModule:
    def filters(self):
        return {"certificate_kind": kind}

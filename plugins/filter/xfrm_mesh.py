# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xfrm_mesh
version_added: "0.1.0"
short_description: IPsec states and policies of one host in a mesh of VTEPs, with keys from one secret
description:
  - Computes what M(vtep.fabric.xfrm) is to write on one host so that all VXLAN between the hosts is ESP.
  - Each direction between two hosts has an SPI and a key of its own, derived by HKDF with SHA-256 (RFC 5869) from the secret
    and from name, address and epoch of both hosts, the cipher, the mode and the port. Both
    hosts compute the same; no key is stored or sent.
  - An epoch that changes changes all keys of its host. A key must not begin again at sequence number 0, so a host's epoch has to
    change whenever its states were lost, a reboot included. The id of the boot does so by itself
    (C(/proc/sys/kernel/random/boot_id)); a number after it rotates keys without a reboot.
  - A state in has the pair of VTEPs as its selector, so that a host that has keys cannot speak in the name of another host.
  - The result holds keys. A task that uses it needs no C(no_log), since M(vtep.fabric.xfrm) tells no key; one that prints it or
    stores it as a fact does.
positional: _input, host, secret
options:
  _input:
    description: All hosts, each with C(name), C(address) of its VTEP, and C(epoch), a text that never comes back.
    type: list
    elements: dict
    required: true
  host:
    description: The name of the host to compute for.
    type: str
    required: true
  secret:
    description: The secret of the fabric, 32 characters or more, random ones.
    type: str
    required: true
  algorithm:
    description: V(aes-gcm), V(chacha20-poly1305), V(aes-cbc-sha256), V(aes-cbc-sha384) or V(aes-cbc-sha512).
    type: str
    default: aes-gcm
  key_bits:
    description: The length of the cipher's key in bits, V(128) or V(256). C(chacha20-poly1305) has 256 only.
    type: int
    default: 256
  mode:
    description: V(transport) or V(tunnel).
    type: str
    default: transport
  port:
    description: The UDP port of VXLAN.
    type: int
    default: 4789
  reqid:
    description: The reqid of states and templates, by which the policies know these states from others.
    type: int
    default: 118
  encap:
    description: UDP encapsulation, with C(sport) and C(dport); see M(vtep.fabric.xfrm).
    type: dict
  esn:
    description: Whether sequence numbers have 64 bits.
    type: bool
    default: true
  replay_window:
    description: How many packets may come late, 0 to 4096. Busy links reorder packets.
    type: int
    default: 1024
  block:
    description: Whether VXLAN of this host's address, and to any address that it has, is dropped that is of no pair of hosts.
    type: bool
    default: true
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: All VXLAN between the VTEPs is ESP
  vtep.fabric.xfrm:
    states: "{{ mesh.states }}"
    policies: "{{ mesh.policies }}"
    purge: owned
  vars:
    ends:
      - {name: s1, address: "2001:db8:1::1", epoch: "{{ hostvars.s1.boot_id }} {{ ipsec_rotation }}"}
      - {name: s2, address: "2001:db8:2::1", epoch: "{{ hostvars.s2.boot_id }} {{ ipsec_rotation }}"}
    mesh: "{{ ends | vtep.fabric.xfrm_mesh(inventory_hostname, ipsec_secret) }}"
"""

RETURN = r"""
_value:
  description: The options of M(vtep.fabric.xfrm).
  type: dict
  contains:
    states:
      description: The states, with their keys.
      type: list
      elements: dict
    policies:
      description: The policies.
      type: list
      elements: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm_mesh import InputError, mesh


def xfrm_mesh(hosts, host, secret, **options):
    try:
        return mesh(hosts, host, secret, **options)
    except InputError as error:
        raise AnsibleFilterError(f"xfrm_mesh: {error}") from None


class FilterModule:
    def filters(self):
        return {"xfrm_mesh": xfrm_mesh}

#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xfrm_info
version_added: "0.1.0"
short_description: Tell what IPsec states and policies there are
description:
  - Returns the IPsec states and policies of all owners as data, with their counters and sequence numbers, and without keys.
  - Of what this version does not know only the kernel's number is told, since it might be a key.
options:
  owned:
    description: Only what M(vtep.fabric.xfrm) takes for its own.
    type: bool
    default: false
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: How far have the sequence numbers come?
  vtep.fabric.xfrm_info:
    owned: true
  register: known

- name: The states that will need new keys
  ansible.builtin.debug:
    msg: "{{ known.states | rejectattr('esn') | selectattr('oseq', '>', 3000000000) | map(attribute='spi') }}"
"""

RETURN = r"""
states:
  description: The states, in the kernel's order.
  returned: success
  type: list
  elements: dict
  contains:
    src:
      description: The source address.
      type: str
      returned: always
    dst:
      description: The destination address.
      type: str
      returned: always
    family:
      description: V(4) or V(6).
      type: int
      returned: always
    proto:
      description: V(esp), V(ah), V(comp) or another.
      type: str
      returned: always
    spi:
      description: The security parameter index.
      type: int
      returned: always
    reqid:
      description: The number by which policies know the state.
      type: int
      returned: always
    mode:
      description: V(transport), V(tunnel) or another.
      type: str
      returned: always
    dir:
      description: V(in) or V(out).
      type: str
      returned: where the kernel was told
    algorithm:
      description: The cipher's name in the kernel.
      type: str
      returned: where there is one
    key_bits:
      description: The length of the cipher's key in bits, with its salt.
      type: int
      returned: where there is a cipher
    icv_bits:
      description: The length of the integrity check value in bits.
      type: int
      returned: where there is a cipher
    auth:
      description: The name of the authentication in the kernel.
      type: str
      returned: where it is apart from the cipher
    encap:
      description: UDP encapsulation, with C(type), C(sport) and C(dport).
      type: dict
      returned: where there is any
    mark:
      description: The mark of packets, as C(MARK/MASK).
      type: str
      returned: where there is any
    if_id:
      description: The number of the XFRM device.
      type: int
      returned: where there is any
    selector:
      description: >-
        Which packets; C(null) for all of the family. It has C(family), C(src), C(dst), and perhaps C(proto), C(sport) and
        C(dport).
      type: dict
      returned: always
    replay_window:
      description: How many packets may come late.
      type: int
      returned: always
    esn:
      description: Whether sequence numbers have 64 bits.
      type: bool
      returned: always
    flags:
      description: Some of V(noecn), V(decap-dscp), V(nopmtudisc) and V(af-unspec).
      type: list
      elements: str
      returned: always
    oseq:
      description: The last sequence number that went out.
      type: int
      returned: where the kernel tells it
    seq:
      description: The highest sequence number that came in.
      type: int
      returned: where the kernel tells it
    bytes:
      description: Bytes so far.
      type: int
      returned: always
    packets:
      description: Packets so far.
      type: int
      returned: always
    add_time:
      description: When the state was made, in seconds since 1970.
      type: int
      returned: always
    use_time:
      description: When it was first used, in seconds since 1970; V(0) for never.
      type: int
      returned: always
    errors:
      description: Packets that were dropped, as C(replay_window) (too late), C(replay) (twice) and C(integrity_failed) (another key).
      type: dict
      returned: always
    owned:
      description: Whether M(vtep.fabric.xfrm) takes the state for its own, and would purge it.
      type: bool
      returned: always
    other:
      description: What else the kernel tells, with the kernel's numbers.
      type: str
      returned: where there is any
policies:
  description: The policies, in the kernel's order.
  returned: success
  type: list
  elements: dict
  contains:
    dir:
      description: V(in), V(out) or V(fwd), or C(socket) with a number.
      type: str
      returned: always
    family:
      description: V(4) or V(6).
      type: int
      returned: always
    selector:
      description: Which packets. It has C(family), C(src), C(dst), and perhaps C(proto), C(sport) and C(dport).
      type: dict
      returned: always
    priority:
      description: Of the policies that take a packet the one with the least counts.
      type: int
      returned: always
    index:
      description: The kernel's number of the policy.
      type: int
      returned: always
    action:
      description: V(allow) or V(block).
      type: str
      returned: always
    tmpl:
      description: The templates, each with C(proto), C(reqid), C(mode), C(level), and perhaps C(src), C(dst) and C(spi).
      type: list
      elements: dict
      returned: always
    mark:
      description: The mark of packets, as C(MARK/MASK).
      type: str
      returned: where there is any
    if_id:
      description: The number of the XFRM device.
      type: int
      returned: where there is any
    dev:
      description: The index of the device that the packets come in or go out by.
      type: int
      returned: where the policy names one
    owned:
      description: Whether M(vtep.fabric.xfrm) takes the policy for its own, and would purge it.
      type: bool
      returned: always
    other:
      description: What else the kernel tells, with the kernel's numbers.
      type: str
      returned: where there is any
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.xfrm import INFO_ARGUMENTS, read_info


def main():
    module = AnsibleModule(argument_spec=INFO_ARGUMENTS, supports_check_mode=True)
    query(module, read_info)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: macsec_info
version_added: "0.1.0"
short_description: Tell the MACsec devices of a host, their channels, associations, packet numbers and counters
description:
  - Reads all MACsec devices of the network namespace at once. The kernel tells no key, only the id that stands for it.
  - C(epochs) of a device is what derives keys for a fabric, see P(vtep.fabric.macsec_associations#filter).
options:
  name:
    description: Tell this device only. One that does not exist gives an empty list.
    type: str
requirements:
  - pyroute2 0.7.2 or newer
extends_documentation_fragment: vtep.fabric.info_attributes
seealso:
  - module: vtep.fabric.macsec
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Read the MACsec devices
  vtep.fabric.macsec_info:
  register: macsec

- name: Ask for other keys before the packet numbers are used up
  ansible.builtin.assert:
    that: item.tx | map(attribute='pn_used') | max < 0.75
  loop: "{{ macsec.devices | selectattr('tx') }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
devices:
  description:
    - The devices, in the kernel's order. Besides what is named here, each has the options of M(vtep.fabric.macsec) of the same name.
    - Counters have the names of IEEE 802.1AE, as in C(ip -s macsec show).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: macsec0
    sci:
      description: The SCI that it sends with.
      returned: success
      type: str
      sample: "5254000000010001"
    operational:
      description: >-
        Whether the association that O(vtep.fabric.macsec#module:encodingsa) names is there and active. The kernel says so as well of a
        device that never had one.
      returned: success
      type: bool
      sample: true
    tx:
      description: The associations to send with. Null where the kernel does not tell them, see RV(unreadable).
      returned: success
      type: list
      elements: dict
      contains:
        an:
          description: The association's number.
          returned: success
          type: int
          sample: 0
        active:
          description: Whether it is switched on.
          returned: success
          type: bool
          sample: true
        pn:
          description: The next packet number. 0 when all are used up.
          returned: success
          type: int
          sample: 4711
        pn_used:
          description: The share of the 2^32 packet numbers that is used, with XPN of 2^64. 1 when nothing can be sent any more.
          returned: success
          type: float
          sample: 0.0000010966
        key_id:
          description: The id that stands for the key.
          returned: success
          type: str
          sample: 0bd4a5ed3c74e05a8a3a1f2f1e5e2d6c
        ssci:
          description: The short SCI.
          returned: with XPN
          type: int
          sample: 1
        epoch:
          description: >-
            The epoch that the key was derived for. Empty for a key that was given without one, null for one that is not recorded.
          returned: success
          type: str
          sample: 956c61c02b42a1cf760a5e200e9b6065
        recorded:
          description: Whether the key is in the record of keys that this host has sent with.
          returned: success
          type: bool
          sample: true
        statistics:
          description: Counters of packets, 32 bits each.
          returned: success
          type: dict
          sample: {"OutPktsEncrypted": 4710, "OutPktsProtected": 0}
    rx:
      description: The channels to receive from. Null where the kernel does not tell them, see RV(unreadable).
      returned: success
      type: list
      elements: dict
      contains:
        sci:
          description: The sender's SCI.
          returned: success
          type: str
          sample: "5254000000020001"
        active:
          description: Whether the channel is switched on.
          returned: success
          type: bool
          sample: true
        sa:
          description: >-
            The associations to receive with. C(an), C(active), C(key_id), C(ssci) and C(statistics) are as in C(tx), and C(pn) is the
            lowest packet number that has not come, or may come next.
          returned: success
          type: list
          elements: dict
          sample: []
        statistics:
          description: >-
            Counters of packets and octets, such as C(InPktsNotValid), those with a wrong integrity check value, C(InPktsLate), those
            outside of the replay window, and C(InPktsNotUsingSA), those for which there is no association.
          returned: success
          type: dict
          sample: {"InPktsOK": 4710, "InPktsNotValid": 0, "InPktsLate": 0}
    statistics:
      description: >-
        Counters of the device, such as C(InPktsBadTag), C(InPktsNoTag), C(InPktsUnknownSCI) and C(InPktsNoSCI).
      returned: success
      type: dict
      sample: {"InPktsBadTag": 0, "InPktsNoTag": 1}
    epochs:
      description: What keys are derived from. Null where the kernel does not tell the associations.
      returned: success
      type: dict
      contains:
        current:
          description: >-
            C(an), C(epoch) and C(pn) of the association that is sent with. Null where there is none, as after a reboot, or where its
            key has no recorded epoch.
          returned: success
          type: dict
          sample: {"an": 0, "epoch": 956c61c02b42a1cf760a5e200e9b6065, "pn": 4711}
        fresh:
          description: >-
            C(an) and C(epoch) for another one. The epoch is random, 128 bits, and new with every call. The number is the next that is
            free after the last one used. Null where none is free.
          returned: success
          type: dict
          sample: {"an": 1, "epoch": 0e29c2d04a0b7a1d0f4f3a9c86c1e5b7}
    ifindex:
      description: The device's number.
      returned: success
      type: int
      sample: 5
    kind:
      description: Always C(macsec).
      returned: success
      type: str
      sample: macsec
    operstate:
      description: The operational state, such as C(up), C(down) or C(lowerlayerdown).
      returned: success
      type: str
      sample: up
    owned:
      description: Whether the alias marks the device as owned by the collection.
      returned: success
      type: bool
      sample: true
    addresses:
      description: The permanent addresses but link-local ones.
      returned: success
      type: list
      elements: str
      sample: []
    owned_addresses:
      description: Those among them that the collection added.
      returned: success
      type: list
      elements: str
      sample: []
boot_id:
  description: The kernel's boot id, another after every boot. Empty where the kernel does not tell it.
  returned: success
  type: str
  sample: 3d0a1c4e-7f4b-4a52-9d07-5c1a2f3b4c5d
unreadable:
  description: >-
    Devices whose channels the kernel does not tell. Its answer of 32 KiB a device has room for some 100 channels, and one that has
    more hides itself and those after it.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.macsec import INFO, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    query(AnsibleModule(argument_spec=INFO, supports_check_mode=True), info)


if __name__ == "__main__":
    main()

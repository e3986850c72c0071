#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sysctl
version_added: "0.1.0"
short_description: Set the kernel settings that a fabric needs, and put them back
description:
  - Sets values below C(/proc/sys/net) in the running kernel, and keeps a record of those that it changed with the values
    of before, so that they can go back. Nothing is written to C(/etc/sysctl.d).
  - A key that has the wanted value already is not recorded, and so it stays as it is when others are put back.
  - The record, C(/var/lib/vtep.fabric/sysctl.json), is written before the kernel's settings are. A run that breaks off is
    completed by the next, and what it changed can still be put back.
  - The kernel copies a new value of C(net.ipv6.conf.all.forwarding) to every device. This module gives the other devices'
    C(forwarding), and C(force_forwarding), their own values back at once, so that they still take part in what routers
    advertise. See the notes for learned default routes.
options:
  settings:
    description:
      - Keys and their values, written in the words of C(sysctl). Values are numbers or strings.
      - As in C(sysctl) the first separator of a key counts, so that V(net/ipv6/conf/eth1.100/proxy_ndp) and
        V(net.ipv6.conf.eth1/100.proxy_ndp) name the same setting of the device C(eth1.100).
      - Only keys that begin with V(net) are taken. Refused are keys that the kernel copies to every device and of which
        one value would not bring back the others, V(net.ipv4.ip_forward), V(net.ipv4.conf.all.forwarding),
        V(net.ipv6.conf.all.force_forwarding) and V(net.ipv6.conf.all.disable_ipv6). Their messages name the key of a
        device to use.
      - A key whose device does not exist is an error that comes before the first change. In check mode the device is taken as one that an
        earlier task would make.
    type: dict
    required: true
  purge:
    description:
      - With V(owned) keys of the record that O(settings) does not name get back the value that they had before.
      - A value that somebody changed since stays, with a warning. A key whose device is gone is only forgotten.
    type: str
    choices: [none, owned]
    default: none
  anew:
    description:
      - Devices that an earlier task of the play makes anew, or removes. Their keys are taken to have the values that a
        new device starts with (C(net.ipv6.conf.default) and its like). Meant for check mode, where that task changed
        nothing.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Predicts what a run does.
  diff_mode:
    support: full
    description: Shows each key that changes, and what is struck from the record without a change.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - All settings are changed live and are gone after a reboot.
  - Where forwarding is turned on, the kernel removes the default routes that it learned from router advertisements on
    devices whose C(accept_ra) is not 2 (C(rt6_purge_dflt_routers\(\))). They come back with the next advertisement,
    which can take minutes. Setting C(accept_ra) of that device to 2 in the same call keeps them, since it is written
    first.
seealso:
  - module: vtep.fabric.sysctl_info
  - module: ansible.posix.sysctl
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Answer neighbour solicitations for hosts behind other VTEPs
  vtep.fabric.sysctl:
    settings:
      net.ipv6.conf.eth1.proxy_ndp: 1
      net/ipv4/conf/eth1.100/proxy_arp: 1
    purge: owned

- name: Forward IPv6, and go on learning the default route by eth0
  vtep.fabric.sysctl:
    settings:
      net.ipv6.conf.eth0.accept_ra: 2
      net.ipv6.conf.all.forwarding: 1

- name: Put back all that was changed
  vtep.fabric.sysctl:
    settings: {}
    purge: owned
"""

RETURN = r"""
set:
  description: Keys that got the wanted value, in check mode would get it.
  returned: success
  type: list
  elements: str
  sample: [net.ipv6.conf.eth1.proxy_ndp]
restored:
  description: Keys that got back the value of before.
  returned: success
  type: list
  elements: str
  sample: []
left:
  description: Keys whose value somebody changed after this module did. They stay, and are struck from the record.
  returned: success
  type: list
  elements: str
  sample: []
dropped:
  description: Keys struck from the record without a change, since they or their device are gone or have the value of before.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.sysctl import SPEC, Sysctl


def main():
    run(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), Sysctl())


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon
version_added: "0.1.0"
short_description: Run a daemon of this collection under systemd
description:
  - Sets a daemon's units, its configuration file and its secrets, and sees to it that it is enabled, that it runs, and that it
    runs with these.
  - What a change asks for is decided by what it changes. A setting of O(reloadable) asks for a reload, and any other setting,
    the service's unit, a secret or O(program) for a restart. Where nothing differs nothing is done.
  - The process tells in its environment (C(VTEP_FABRIC_DIGEST)) what it was started with, so that a restart that an earlier run
    owed is made up for, and none is made twice.
  - A daemon that is stopped, has failed or is not enabled is started and enabled, and that is a change. The task waits until
    the daemon is ready, as far as its unit lets systemd know (C(Type=notify)). If it fails, its last log lines are in the error.
  - Each file begins with a line that says whose it is. A file of somebody else in the same place is an error before the first
    change, and so is a service that a package brings.
options:
  name:
    description:
      - The daemon's name. Its service is C(NAME.service), its configuration C(/etc/NAME.conf).
    type: str
    required: true
  state:
    description:
      - With V(absent) the service is stopped and disabled, and its units, its configuration, its secrets and its directory
        C(/run/NAME) are removed. Files of others stay.
    type: str
    choices: [present, absent]
    default: present
  units:
    description:
      - The daemon's units in C(/etc/systemd/system), each file's name with its text. C(NAME.service) must be among them unless
        O(state=absent).
      - Units that an earlier task wrote for this daemon and that are not named here are removed.
    type: dict
    default: {}
  settings:
    description: What C(/etc/NAME.conf) holds, the keys and values of each section. Values are text or numbers.
    type: dict
    default: {}
  reloadable:
    description: The settings that the daemon takes up on a reload, each written as SECTION.KEY.
    type: list
    elements: str
    default: []
  secrets:
    description:
      - Texts that only the daemon may read. Each is written to C(/etc/vtep.fabric/NAME/SECRET), which only root can read, for
        the unit to hand over by C(LoadCredential=SECRET:/etc/vtep.fabric/NAME/SECRET).
      - The diff tells that a secret changes, and not what it is.
    type: dict
    default: {}
  program:
    description: What the daemon's program is, such as its SHA-256. It stands in the service's unit.
    type: str
    default: ''
  after_removal:
    description: With O(state=absent), units that are started once after the service was stopped, and before they are removed.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Predicts what a run does, also on a host that has neither the program nor the units yet.
  diff_mode:
    support: full
    description: Shows each file that changes, and what becomes of the service.
  idempotent:
    support: full
    description: A second run changes nothing.
seealso:
  - module: vtep.fabric.program
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Install the program
  vtep.fabric.program:
    name: vxfld
    commands:
      vxrd: _vxfld.vxrd
  register: program

- name: Run it
  vtep.fabric.daemon:
    name: vxrd
    units:
      vxrd.service: "{{ lookup('ansible.builtin.template', 'vxrd.service.j2') }}"
    settings:
      common:
        svcnode_ip: 203.0.113.100
        holdtime: 90
    reloadable: [common.svcnode_ip, common.holdtime]
    program: "{{ program.sha256 }}"

- name: Remove it
  vtep.fabric.daemon:
    name: vxrd
    state: absent
"""

RETURN = r"""
action:
  description: What became of the service, V(none), V(started), V(restarted), V(reloaded) or V(removed).
  returned: success
  type: str
  sample: reloaded
files:
  description: The units and the configuration file that were written or removed.
  returned: success
  type: list
  elements: str
  sample: [/etc/vxrd.conf]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.daemon import SPEC, Daemon
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), Daemon())


if __name__ == "__main__":
    main()

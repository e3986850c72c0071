#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program
version_added: "0.1.0"
short_description: Install a program of this collection on a host
description:
  - Some of this collection's code runs on hosts all the time. The controller packs what a program's commands import into one
    file that the host's C(/usr/bin/python3) runs, and this module puts it at C(/usr/local/lib/vtep.fabric/NAME.pyz) with a
    link in C(/usr/local/sbin) for each command.
  - The file is built anew by each task and sent only to hosts whose own differs. The same source gives the same bytes on every
    controller.
  - The file is replaced at once, so that a command that starts meanwhile finds the old one or the new one. What runs already
    goes on with the old one, and has to be restarted before it imports another module.
  - Python runs it in isolated mode (C(-I)) and writes no compiled files.
options:
  name:
    description: The program's name, up to 64 characters of a-z, 0-9 and -.
    type: str
    required: true
  commands:
    description:
      - The program's commands, each with the module that it is, below C(module_utils) of this collection. The module's
        C(main\(\)) gets the arguments as a list and returns the exit code.
      - Links to the program that are not named here are removed. Anything else in the place of a command is an error.
      - Must not be empty unless O(state=absent).
    type: dict
    default: {}
  state:
    description: With V(absent) the file and every link to it are removed, and its directory where nothing else is in there.
    type: str
    choices: [present, absent]
    default: present
  sha256:
    description: The file's SHA-256. The action plugin of this module fills it in, whatever is given.
    type: str
  version:
    description: The collection's version. Filled in by the action plugin too.
    type: str
  src:
    description: Where the file is on the host. Filled in by the action plugin too.
    type: path
attributes:
  check_mode:
    support: full
    description: Predicts what a run does, and sends nothing.
  diff_mode:
    support: full
    description: Shows versions, digests and links, not the content.
  idempotent:
    support: full
    description: A second run changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Install the commands of vxfld
  vtep.fabric.program:
    name: vxfld
    commands:
      vxrd: _vxfld.vxrd
      vxrdctl: _vxfld.vxrdctl

- name: Remove all of it
  vtep.fabric.program:
    name: vxfld
    state: absent
"""

RETURN = r"""
path:
  description: Where the program is.
  returned: success
  type: str
  sample: /usr/local/lib/vtep.fabric/vxfld.pyz
sha256:
  description: The SHA-256 of the program, empty where it is absent.
  returned: success
  type: str
version:
  description: The version of the collection that it is of, empty where it is absent.
  returned: success
  type: str
  sample: 0.1.0
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.program import SPEC, Program
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), Program())


if __name__ == "__main__":
    main()

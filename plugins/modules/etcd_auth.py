#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_auth
version_added: "0.1.0"
short_description: Have etcd ask for passwords
description:
  - Sets etcd's user C(root), and one user with one role of the same name that may read and write the keys of one prefix and
    nothing else, and turns authentication on.
  - Where authentication is on already, O(root_password) must be that of C(root). A password of the user that differs is
    changed, and roles and permissions that the user or the role has beyond the wanted ones are taken away. Other users and
    roles are left alone.
  - Passwords are given to C(etcdctl) by its environment and its standard input, and appear in no list of processes.
options:
  endpoint:
    description: Where etcd is asked. With C(unix://PATH) by a socket on the host.
    type: str
    default: https://127.0.0.1:2379
  ca:
    description: The file of the CA that signed etcd's certificate. Without it those that the host trusts are taken.
    type: path
  root_password:
    description: The password of etcd's user C(root), printable ASCII characters without blanks.
    type: str
    required: true
  username:
    description: The user, and its role.
    type: str
    required: true
  password:
    description: The user's password, printable ASCII characters without blanks.
    type: str
    required: true
  prefix:
    description: The prefix of the keys that the user may read and write. Begins and ends with a slash.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Predicts what a run does. An etcd that does not answer is taken for one that knows nobody.
  diff_mode:
    support: full
    description: Shows users, roles and permissions, and not the passwords.
  idempotent:
    support: full
    description: A second run changes nothing.
requirements:
  - etcdctl 3.4 or newer
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Let the agents of a fabric in, and nobody else
  vtep.fabric.etcd_auth:
    endpoint: https://[2001:db8:253::1]:2379
    ca: /etc/ssl/registry.pem
    root_password: "{{ vault_registry_root_password }}"
    username: vtep
    password: "{{ vault_registry_password }}"
    prefix: /vtep.fabric/
"""

RETURN = r"""
commands:
  description: What etcdctl was told, without passwords.
  returned: success
  type: list
  elements: str
  sample: [user passwd vtep --interactive=false]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.etcd_auth import SPEC, EtcdAuth
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), EtcdAuth())


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_lock
version_added: "0.1.0"
short_description: Let one run at a time change a host
description:
  - Two runs that build different things on one host at once leave neither. The playbooks of this collection take a host
    with this module before their first change, and release it at their end, also where a task failed.
  - A host is held by one process of C(ansible-playbook). Another one that wants it fails with a message that names the
    first, its purpose, its controller and since when it holds the host.
  - The lock of a process that no longer lives is taken over without a word by any run of the same controller. From
    another controller it holds until its lease ends.
  - Only runs that use this module are kept off. The lock is a record in C(/run/vtep.fabric), so a reboot clears it.
options:
  state:
    description:
      - With V(held) the host is held by this run afterwards, or the task fails. A run that holds it already gets a new
        lease.
      - With V(released) it is not held by this run. The lock of another run stays, unless O(break_lock) is set.
    type: str
    choices: [held, released]
    default: held
  purpose:
    description: What the run is about, for whoever is refused.
    type: str
    default: ''
  break_lock:
    description: Take or remove the lock of another run, whether or not it lives.
    type: bool
    default: false
  lease:
    description:
      - Seconds, 1 to 86400, after which runs of other controllers may take the host, which cannot know whether this one
        lives. Counts from the last task that took or renewed the lock.
    type: int
    default: 600
  holder:
    description: Who asks. The action plugin of this module fills it in, whatever is given.
    type: dict
    suboptions:
      run:
        description: The run.
        type: str
        required: true
      controller:
        description: The controller's machine, boot and process namespace, as one number.
        type: str
        required: true
      hostname:
        description: The controller's name.
        type: str
        required: true
      user:
        description: The user on the controller.
        type: str
        required: true
      pid:
        description: The process on the controller.
        type: int
        required: true
      start:
        description: When that process started.
        type: str
        required: true
  stale:
    description: A run that is known to be dead. Filled in by the action plugin too.
    type: str
attributes:
  check_mode:
    support: full
    description: Takes and releases nothing. Where another run holds the host there is a warning.
  diff_mode:
    support: none
    description: A lock is no part of what a host is.
  idempotent:
    support: full
    description: Never reported as a change.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Change hosts while no other run does
  any_errors_fatal: true
  block:
    - name: Take the hosts
      vtep.fabric.host_lock:
        purpose: move the tenants of building 7
      register: my_lock

    - name: Set the forwarding entries
      vtep.fabric.fdb:
        dev: [vxlan100]
        entries: []
        purge: owned
  always:
    - name: Release them
      vtep.fabric.host_lock:
        state: released
      when: my_lock.held | default(false)
"""

RETURN = r"""
held:
  description: Whether this run holds the host now.
  returned: always
  type: bool
  sample: true
holder:
  description: The other run that holds the host and keeps it, or null.
  returned: always
  type: dict
  sample:
    run: 5f0c8e2b1a6d4c39
    controller: 8b2e4c1f0d3a7956
    hostname: ctl1
    user: alice
    pid: 4711
    start: "1234567"
    purpose: site.yml variant=multicast
    since: 2026-11-22 13:05:10 UTC
    until: 2026-11-22 13:15:10 UTC
taken_from:
  description: The other run that held the host until now, as RV(holder), or null.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.host_lock import SPEC, HostLock
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), HostLock())


if __name__ == "__main__":
    main()

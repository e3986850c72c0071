#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: neighbor
version_added: "0.1.0"
short_description: Manage permanent neighbours and proxy entries (ARP, ND), in bulk
description:
  - Writes and removes neighbours, which map the IP address of a station on a link to its MAC address, and proxy entries,
    by which the host answers ARP requests and neighbour solicitations in a station's place. One call serves any number
    of devices and rows; 100,000 rows take parts of a second. Do not loop over rows.
  - A row is known by its device, its IP address, and whether it is a proxy entry.
  - Every row is checked before the first change, and every row that was written is read back.
  - >-
    Rows that the module writes carry a mark, the number 118 as their protocol (C(proto 118) in C(ip neigh)). A wanted row
    that exists without the mark gets it, which counts as a change; so does a row that the kernel learned.
  - >-
    Rows of another program (C(extern_learn) or a protocol number above 4 that is not 118, such as a routing daemon's) are
    never replaced or removed, unless O(purge=all). Where one stands in the place of a wanted row, the module fails
    before the first change.
  - The kernel forgets all rows of a device that is set down, is moved to another network namespace, or gets another MAC
    address. The next run writes them again.
  - >-
    For texts of more than 1 MB a record in C(/run/vtep.fabric/last-run) tells the next run what this one compared, by digests, so
    that it is not compared again while neither side has changed. The kernel's rows are read in each run.
  - Needs nothing on the host but Python, and a kernel of 5.0 or newer, which keeps the protocol of a row.
options:
  dev:
    description:
      - The devices whose rows the task manages. It is the scope of O(purge).
      - With exactly one device, rows need not name it. With several, rows name one of them. Without this option every
        row names its device.
    type: list
    elements: str
    default: []
  entries:
    description:
      - The rows, for some thousands at most. Larger tables are much quicker as O(table) or O(src), since Ansible
        itself takes about 20 seconds for 100,000 dictionaries.
      - Exactly one of O(entries), O(table) and O(src) is given.
    type: list
    elements: dict
    suboptions:
      ip:
        description: The IP address of one station, IPv4 or IPv6, without a prefix length.
        type: str
        required: true
      dev:
        description: The device, unless O(dev) names exactly one.
        type: str
      lladdr:
        description:
          - The station's MAC address. Quote it in YAML.
          - Needed, but for proxy entries and managed neighbours, which have none here. With O(state=absent) it may be left
            out, which means whatever MAC address the row has.
        type: str
      nud:
        description:
          - V(permanent) neighbours stay as they are, and are what is written without this option.
          - V(noarp) neighbours are not resolved either, but the kernel removes them when its table is full or when they
            have not been used for long, unless they are O(entries[].extern_learn).
        type: str
        choices: [permanent, noarp]
      proxy:
        description: >-
          A proxy entry. The kernel answers by it for IPv6 where C(proxy_ndp) is set on the device, for IPv4 always.
        type: bool
        default: false
      router:
        description:
          - The station is a router. The kernel also sets this by itself for a neighbour that sends router advertisements
            which the host accepts; then the row must say it, or each run finds it changed.
          - For a proxy entry, whether the answer says that the station is a router.
        type: bool
        default: false
      extern_learn:
        description: The row is that of a control plane. The kernel does not remove it when it has not been used.
        type: bool
        default: false
      managed:
        description: >-
          The kernel resolves the neighbour by itself and keeps it so. Such a row has neither O(entries[].lladdr) nor
          O(entries[].nud). Linux 5.16 or newer.
        type: bool
        default: false
  table:
    description:
      - The rows as text, one a line, in the words of C(ip neigh add).
      - The words are an IP address, then C(dev), C(lladdr), C(nud), each with a value, and C(proxy), C(router),
        C(extern_learn), C(managed), C(permanent), C(noarp). They mean what they mean in O(entries). C(PERMANENT), C(NOARP) and
        C(proto 118) may stand as C(ip neigh show) writes them.
      - Blank lines and lines that begin with C(#) are skipped.
      - Large tables are read quickest where neighbouring lines differ in nothing but the two addresses.
      - A large text travels as a temporary file, which an action plugin of the module's name takes care of.
    type: str
  src:
    description: A file on the host that holds such a text.
    type: path
  state:
    description:
      - With V(absent) the given rows are removed, marked or not. A row stays where it has another MAC address than the one
        given. Rows that the kernel learned stay, since they would come back.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - What to remove of the rows that are not given, on the devices in O(dev).
      - V(owned) removes rows that carry the mark. Without O(dev) it does so on every device, which removes what earlier
        runs left on devices that nobody names any more.
      - V(all) removes every permanent neighbour and proxy entry, and those of other programs. Rows that the kernel learned, or
        makes for multicast addresses, are never removed.
    type: str
    choices: [none, owned, all]
    default: none
  anew:
    description:
      - Devices whose tables are taken as empty and not read.
      - In check mode, name here the devices that an earlier task would make anew (their RV(vtep.fabric.vxlan#module:devices[].action)
        is V(recreated)), so that the rows of the old device are not mistaken for those of the new one. A run has no need of it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: >-
      Predicts exactly what a run does. The table of a device that does not exist yet counts as empty, with a warning that
      names the device; a run refuses to write to it, and to write IPv6 neighbours where IPv6 is disabled.
  diff_mode:
    support: full
    description: Shows the rows that differ, a line each, up to 1000 on either side and the number of the others.
  idempotent:
    support: full
    description: A second run changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: The VTEP answers ARP and ND for stations behind other VTEPs (the device has proxy)
  vtep.fabric.neighbor:
    dev: vxlan100
    table: |
      2001:db8:ff::11 lladdr 50:54:33:00:00:02
      192.0.2.11 lladdr 50:54:33:00:00:02
    purge: owned

- name: Stations behind another VTEP that routes to them, for which the host answers on its access port
  vtep.fabric.neighbor:
    dev: [vxlan100, eth1]
    table: |
      2001:db8:ff::11 dev vxlan100 lladdr 02:00:00:00:00:02 nud permanent
      2001:db8:ff::11 dev eth1 proxy
    purge: owned

- name: A large table that lies on the host
  vtep.fabric.neighbor:
    src: /etc/vtep/neighbors

- name: A gateway whose MAC the kernel keeps fresh
  vtep.fabric.neighbor:
    entries:
      - {ip: 192.0.2.1, dev: eth0, managed: true}

- name: Nothing that this collection wrote is left, on any device
  vtep.fabric.neighbor:
    entries: []
    purge: owned
"""

RETURN = r"""
rows:
  description: How many rows were, or in check mode would be, touched.
  returned: success
  type: dict
  contains:
    added:
      description: Rows that were missing.
      type: int
      returned: success
    changed:
      description: Rows that had another MAC address, state or flag, lacked the mark, or were learned by the kernel.
      type: int
      returned: success
    removed:
      description: Rows that were removed.
      type: int
      returned: success
    unchanged:
      description: Given rows that were there.
      type: int
      returned: success
  sample: {added: 3, changed: 0, removed: 1, unchanged: 99997}
sample:
  description: Some of the rows that were touched, at most 10, in the words of C(ip neigh).
  returned: success
  type: list
  elements: str
  sample: ["added 2001:db8:ff::11 lladdr 50:54:33:00:00:02 dev vxlan100 nud permanent"]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.neighbor import ARGUMENTS, NeighborResource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.table import FORMS


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[FORMS],
        required_one_of=[FORMS],
        supports_check_mode=True,
    )
    run(module, NeighborResource(module._diff))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fdb
version_added: "0.1.0"
short_description: Manage rows of forwarding tables (FDB), in bulk
description:
  - Writes and removes rows of VXLAN devices' own forwarding tables, and of a bridge's table for its ports. One call
    serves any number of devices and rows; 100,000 rows take parts of a second. Do not loop over rows.
  - Every row is checked before the first change, and every row that was written is read back.
  - >-
    Rows that the module writes on a VXLAN device carry a mark, the bit NUD_PROBE of their state, which tools do not
    show. A wanted row that exists without the mark gets it, which counts as a change. The kernel keeps one state, and
    so one mark, for all destinations of a MAC: where a flood list holds destinations that somebody else wrote, the
    list stays unmarked, and the module's own destinations in it are counted as RV(rows.shared). A record in
    C(/run/vtep.fabric/flood-lists) then tells which destinations are the module's.
  - >-
    Static rows that the module writes in a bridge's table are C(sticky), which is their mark. It also keeps a frame
    with a spoofed source MAC from moving the row to another port, which C(static) alone does not.
  - >-
    Rows of another program (C(extern_learn), such as a routing daemon's) are never replaced or removed, unless
    O(purge=all). Where one stands in the place of a wanted row, the module fails before the first change.
  - Needs nothing on the host but Python, and a kernel of 5.0 or newer, which tells single rows (RTM_GETNEIGH).
options:
  dev:
    description:
      - The devices whose tables the task manages. It is the scope of O(purge).
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
      mac:
        description:
          - The MAC address. Quote it in YAML. V(00:00:00:00:00:00) is the default entry of a VXLAN device, where
            broadcast, unknown unicast and multicast frames go.
        type: str
        required: true
      dev:
        description: The device, unless O(dev) names exactly one.
        type: str
      dst:
        description:
          - The address of the VTEP behind which the MAC is; for the all-zero MAC and multicast MACs a list of them or
            several entries. A unicast MAC has one destination. IPv4 or IPv6, as the device's tunnels are.
        type: list
        elements: str
      vni:
        description: The VNI to send with, 1 to 16777215, where it is not the device's own.
        type: int
      src_vni:
        description: >-
          The VNI that frames come in with, 1 to 16777215. It belongs to the key of the row. Only for devices made with
          C(external).
        type: int
      port:
        description: The UDP port to send to, 1 to 65535, where it is not the device's own.
        type: int
      via:
        description: The device to send by.
        type: str
      nhid:
        description: A nexthop group (C(ip nexthop ... group ... fdb)) in place of O(entries[].dst); unicast MACs only.
        type: int
      vlan:
        description: >-
          The VLAN, 1 to 4094, of a row in a bridge's table. The kernel writes a row without it into each VLAN of the
          port as well, VLAN 1 by default; these copies are managed with the row.
        type: int
      router:
        description: The MAC is a router's. With C(rsc) on the device, frames to it may be routed at once.
        type: bool
        default: false
      target:
        description:
          - V(self) is the VXLAN device's own table, V(master) the table of the bridge that the device is a port of.
        type: str
        choices: [self, master]
        default: self
      state:
        description:
          - V(permanent) and V(static) rows stay. V(dynamic) rows age and give way to learning.
          - In a bridge's table V(permanent) is a MAC of the host itself, and the state has to be given. In a VXLAN
            device's table V(permanent) is the default.
        type: str
        choices: [permanent, static, dynamic]
  table:
    description:
      - The rows as text, one a line, in the words of C(bridge fdb add).
      - The words are a MAC, then C(dev), C(dst), C(vni), C(src_vni), C(port), C(via), C(nhid), C(vlan), each with a
        value, and C(router), C(self), C(master), C(permanent), C(static), C(dynamic). They mean what they mean in
        O(entries). C(sticky) may stand on C(master static) rows, which are sticky in any case.
      - Blank lines and lines that begin with C(#) are skipped. A MAC with several destinations takes a line for each.
      - A large text travels as a temporary file, which an action plugin of the module's name takes care of.
    type: str
  src:
    description: A file on the host that holds such a text.
    type: path
  state:
    description:
      - With V(absent) the given rows are removed, marked or not. A row may then leave out its destination, which means
        the MAC with all its destinations; and it stays where it has another destination than the one given.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - What to remove of the rows that are not given, in the tables of the devices in O(dev). That is a VXLAN device's
        own table; for any other device the rows of that port in its bridge's table.
      - V(owned) removes rows that carry the mark, and those of a flood list without it that are recorded as the module's;
        in a bridge's table these are the static and sticky ones.
      - V(all) also removes rows without the mark, learned ones, and those of other programs. The row that the kernel
        keeps for a VXLAN device's own C(remote) or C(group) is never removed, nor are the permanent rows of a bridge,
        which are the host's own MACs.
    type: str
    choices: [none, owned, all]
    default: none
  anew:
    description:
      - VXLAN devices whose tables are taken as empty and not read.
      - In check mode, name here the devices that an earlier task would make anew (their RV(vtep.fabric.vxlan#module:devices[].action)
        is V(recreated)), so that the rows of the old device are not mistaken for those of the new one. A run has no need of it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: >-
      Predicts exactly what a run does. The table of a device that does not exist yet, or cannot hold the rows yet,
      counts as empty, with a warning that names the device; a run refuses to write to it.
  diff_mode:
    support: full
    description: Shows the rows that differ, a line each, up to 1000 on either side and the number of the others.
  idempotent:
    support: full
    description: A second run changes nothing.
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Frames with unknown destination go to every other VTEP
  vtep.fabric.fdb:
    dev: vxlan100
    entries:
      - mac: "00:00:00:00:00:00"
        dst: ["2001:db8:2::1", "2001:db8:3::1"]
    purge: owned

- name: Hosts behind other VTEPs, and one for another VNI and port
  vtep.fabric.fdb:
    dev: vxlan100
    table: |
      50:54:33:00:00:02 dst 2001:db8:2::1
      50:54:33:00:00:04 dst 2001:db8:3::1 vni 200 port 4790 via eth0
    purge: owned

- name: A large table that lies on the host
  vtep.fabric.fdb:
    dev: [vxlan100, vxlan200]
    src: /etc/vtep/fdb

- name: The only MAC behind an access port
  vtep.fabric.fdb:
    dev: eth1
    table: 50:54:33:00:00:01 master static
    purge: owned

- name: A MAC leaves, wherever it pointed
  vtep.fabric.fdb:
    entries:
      - {mac: "50:54:33:00:00:09", dev: vxlan100}
    state: absent
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
      description: Rows that led elsewhere, had another state, or lacked the mark, also in one of a port's VLANs.
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
    shared:
      description: Given rows in flood lists that hold destinations of others, so that they carry no mark.
      type: int
      returned: success
  sample: {added: 3, changed: 0, removed: 1, unchanged: 99997, shared: 0}
sample:
  description: Some of the rows that were touched, at most 10, in the words of C(bridge fdb).
  returned: success
  type: list
  elements: str
  sample: ["added 50:54:33:00:00:02 dev vxlan100 dst 2001:db8:2::1 self permanent"]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import ARGUMENTS, FdbResource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.table import FORMS


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[FORMS],
        required_one_of=[FORMS],
        supports_check_mode=True,
    )
    run(module, FdbResource(module._diff))


if __name__ == "__main__":
    main()

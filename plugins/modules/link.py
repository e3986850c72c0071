#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: link
version_added: "0.1.0"
short_description: Manage dummy, bridge, VLAN and veth devices, and addresses and settings of any device
description:
  - Makes, changes and removes devices, and sets MTU, master, bridge port settings and addresses of devices that exist.
  - One device by the options themselves, or many in one call by O(links). All of them are read at once, and changed in
    an order that works, so that a bridge comes before its ports and a device before the VLANs on it.
  - An option that is not given is left as it is.
  - Everything is read back after it was set.
options:
  name:
    description: The device's name, 1 to 15 characters. Needed unless O(links) is given.
    type: str
  type:
    description: &type
      - The kind of device. One that does not exist is made.
      - Without it the device must exist, and can be of any kind, such as a network card or V(lo).
      - A device of another kind is never touched.
    type: str
    choices: [dummy, bridge, vlan, veth]
  state: &state
    description: Whether the device exists. With V(absent) the type is needed and all other options are ignored.
    type: str
    choices: [present, absent]
    default: present
  recreate: &recreate
    description:
      - Whether a device is made anew where a change needs that. Its neighbours, routes and FDB rows are lost. Its
        other settings, place in a bridge and permanent addresses are kept.
      - Otherwise such a change is refused, with a list of what would be lost.
    type: bool
    default: false
  mtu: &mtu
    description: MTU in bytes, 68 to 65536. Changes live. Below 1280 is refused where the device has IPv6 addresses.
    type: int
  address: &address
    description: MAC address, a unicast one. Changes live, where the driver can do that.
    type: str
  alias: &alias
    description:
      - A text of at most 255 bytes. Empty for none. Changes live.
      - An alias that is C(vtep.fabric), or begins so with a space or colon after it, marks a device as owned by this
        collection. See O(purge).
    type: str
  addrgenmode: &addrgenmode
    description: How the kernel makes the IPv6 link-local address. Counts when the device comes up.
    type: str
    choices: [eui64, none, stable_secret, random]
  master: &master
    description: The bridge or other device that this one belongs to. Empty for none. Changes live.
    type: str
  up: &up
    description: Whether the device is up. A new device is down unless this is V(true).
    type: bool
  addresses: &addresses
    description:
      - Addresses with their prefix length. A bare address is taken as a host's, /32 or /128.
      - An address that the module adds is marked as owned, by C(IFA_PROTO) 118. Kernels before 5.18 do not keep the
        mark. An address that is there already stays as it is, and does not become owned.
      - With a prefix length that differs from that of an owned address, the owned one is replaced.
    type: list
    elements: str
  bridge: &bridge
    description: Settings of a device of type V(bridge). All change live.
    type: dict
    suboptions:
      mcast_snooping:
        description: Whether the bridge looks at IGMP and MLD to send multicast only where it is wanted.
        type: bool
      mcast_querier:
        description: Whether the bridge sends IGMP and MLD queries.
        type: bool
      stp_state:
        description: Whether the bridge runs the spanning tree protocol.
        type: bool
      priority:
        description: Spanning tree priority, 0 to 65535.
        type: int
      forward_delay:
        description: Hundredths of a second in listening and in learning state, 0 to 3000; with STP 200 to 3000.
        type: int
      ageing_time:
        description: Hundredths of a second that a learned entry lives, 0 to 100000000.
        type: int
      group_fwd_mask:
        description: Bit mask of the link-local group addresses 01:80:c2:00:00:0X that are forwarded, 0 to 65535.
        type: int
      vlan_filtering:
        description: Whether VLAN tags are looked at. Needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING.
        type: bool
      vlan_default_pvid:
        description: VLAN ID of untagged frames at new ports, 0 to 4094. 0 for none.
        type: int
  vlan: &vlan
    description: Settings of a device of type V(vlan). A change of any of them needs a new device.
    type: dict
    suboptions:
      dev:
        description: The device that carries the tagged frames. Needed for a new one.
        type: str
      id:
        description: VLAN ID, 1 to 4094. Needed for a new one.
        type: int
      protocol:
        description: The tag's protocol. A new one has V(802.1q) unless told otherwise.
        type: str
        choices: [802.1q, 802.1ad]
  veth: &veth
    description: Settings of a device of type V(veth).
    type: dict
    suboptions:
      peer:
        description:
          - Name of the other end. Needed for a new pair; a change needs a new one.
          - It is not compared where the other end is in another network namespace.
        type: str
  port: &port
    description: Settings of the device as a port of its bridge. All change live.
    type: dict
    suboptions:
      learning:
        description: Whether MAC addresses are learned from frames that come in. New ports have it on.
        type: bool
      flood:
        description: Whether unicast frames to unknown addresses go out. New ports have it on.
        type: bool
      mcast_flood:
        description: Whether multicast frames that no one asked for go out. New ports have it on.
        type: bool
      bcast_flood:
        description: Whether broadcast frames go out. New ports have it on.
        type: bool
      neigh_suppress:
        description: Whether the bridge answers ARP and ND for known neighbours instead of flooding it out.
        type: bool
      isolated:
        description: Whether the port talks only to ports that are not isolated.
        type: bool
      hairpin:
        description: Whether a frame may go out where it came in.
        type: bool
      guard:
        description: Whether a port that receives an STP frame is disabled.
        type: bool
      cost:
        description: Spanning tree path cost, 1 to 65535.
        type: int
      priority:
        description: Spanning tree port priority, 0 to 63.
        type: int
  links:
    description: Devices, each with the options above. An empty list goes well with O(purge=owned).
    type: list
    elements: dict
    suboptions:
      name:
        description: The device's name, 1 to 15 characters.
        type: str
        required: true
      type:
        description: *type
        type: str
        choices: [dummy, bridge, vlan, veth]
      state: *state
      recreate: *recreate
      mtu: *mtu
      address: *address
      alias: *alias
      addrgenmode: *addrgenmode
      master: *master
      up: *up
      addresses: *addresses
      bridge: *bridge
      vlan: *vlan
      veth: *veth
      port: *port
  purge:
    description:
      - With V(owned), dummy, bridge, VLAN and veth devices of this network namespace that are owned by the collection
        and not named in this task are removed. RV(unlisted) names them beforehand.
      - The other end of a veth pair that is named counts as named.
      - With V(ports) and V(owned), a device of somebody else's that this module put into a bridge of the collection's
        leaves it when this task does not give it a O(master) any more. With its place go its port settings and its FDB
        rows. The module knows such a port by the link group 118, which it gets with its place and loses with it. A port
        that others put into the bridge has no such mark and stays, and so does one that has another link group. A port
        that has moved into somebody else's bridge only loses the mark.
    type: str
    choices: [none, ports, owned]
    default: none
  purge_addresses:
    description:
      - Which owned addresses are removed when this task does not name them. With V(listed), those of devices that this
        task names with O(addresses). With V(owned), also those of every device that this task does not name.
      - Addresses without the mark are never removed.
    type: str
    choices: [none, listed, owned]
    default: none
  assume_gone:
    description: >-
      Names of devices that an earlier task of a dry run would have removed. Write
      C(assume_gone={{ names if ansible_check_mode else [] }}). What is there in a run is there.
    type: list
    elements: str
    default: []
requirements:
  - pyroute2 0.7.2 or newer
attributes:
  check_mode:
    support: full
    description: >-
      Predicts what a run does. A master or lower device that does not exist yet is taken as about to be made; a run
      fails for it before its first change.
  diff_mode:
    support: full
    description: Shows the attributes that change, one a line.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - A device is not removed while another one that this task does not remove is on top of it.
seealso:
  - module: vtep.fabric.link_info
  - module: vtep.fabric.vxlan
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: A loopback address
  vtep.fabric.link:
    name: lo
    addresses: ["2001:db8:1::1/128"]

- name: A bridge, a tagged port in it and the MTU of the card below
  vtep.fabric.link:
    links:
      - name: br100
        type: bridge
        alias: vtep.fabric vni 100
        bridge: {mcast_snooping: false}
        up: true
      - name: eth1
        mtu: 1600
        up: true
      - name: eth1.100
        type: vlan
        vlan: {dev: eth1, id: 100}
        alias: vtep.fabric vni 100
        master: br100
        port: {learning: false, flood: false}
        up: true

- name: Remove every device and address that the collection made
  vtep.fabric.link:
    links: []
    purge: owned
    purge_addresses: owned
"""

RETURN = r"""
links:
  description: The devices of the task, and those that were purged.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: br100
    action:
      description: What was done, one of V(none), V(created), V(changed), V(recreated) and V(removed).
      returned: success
      type: str
      sample: created
    changes:
      description: For each attribute that changed, such as C(mtu) or C(port.learning), its value before and after.
      returned: success
      type: dict
      sample: {"mtu": {"before": 1500, "after": 1600}}
    lost:
      description: What a device that was made anew has lost.
      returned: when the device was made anew
      type: list
      elements: str
      sample: ["12 FDB rows", "its neighbours and routes"]
unlisted:
  description: >-
    The collection's devices that the task does not name. O(purge=owned) removes them, without it they stay.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "br200", "type": "bridge"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.link import Devices
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=Devices.spec(), supports_check_mode=True), Devices())


if __name__ == "__main__":
    main()

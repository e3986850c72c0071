#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vxlan
version_added: "0.1.0"
short_description: Manage VXLAN devices with every attribute that the kernel has
description:
  - Makes, changes and removes VXLAN devices. The options have iproute2's names, or else the kernel's.
  - One device by the options themselves, or many in one call by O(devices).
  - An option that is not given is left as it is. A new device then has the kernel's default, but for O(dstport).
  - Everything is read back after it was set. An attribute that the kernel does not know is an error.
  - A change that needs a new device is refused with a list of what would be lost, unless O(recreate=true).
options:
  name:
    description: The device's name, 1 to 15 characters. Needed unless O(devices) is given.
    type: str
  state: &state
    description: Whether the device exists. With V(absent) all other options are ignored.
    type: str
    choices: [present, absent]
    default: present
  recreate: &recreate
    description:
      - Whether a device is made anew where a change needs that. Its FDB rows, neighbours and routes are lost. Its
        other settings, place in a bridge and permanent addresses are kept.
      - Otherwise such a change is refused, with a list of what would be lost.
    type: bool
    default: false
  mtu: &mtu
    description: >-
      MTU in bytes, 68 to 65535. Changes live. With O(dev) it must leave room for the header, 50 bytes over IPv4 and 70
      over IPv6; a new device without it gets the largest that fits.
    type: int
  address: &address
    description: MAC address, a unicast one. Changes live.
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
    description: The bridge that the device belongs to. Empty for none. Changes live.
    type: str
  up: &up
    description: Whether the device is up. A new device is down unless this is V(true).
    type: bool
  id: &id
    description: >-
      VXLAN network identifier, 1 to 16777215. Needed for a new device, unless O(external). Not live.
    type: int
  group: &group
    description: >-
      The multicast group (IPv4 or IPv6) that frames to unknown, broadcast and multicast addresses go to. It needs
      O(dev). Empty for none. Changes live within one family; see the notes. Excludes O(remote).
    type: str
  remote: &remote
    description: >-
      The unicast address that such frames go to instead. The kernel has one attribute for both and makes an
      all-zero FDB row of it. Empty for none. Changes live within one family.
    type: str
  local: &local
    description: >-
      Source address of the outer packets. Empty for none. Changes live within one family. C(::) makes a new device
      one for IPv6 without a fixed source.
    type: str
  dev: &dev
    description: >-
      The underlay device to send by. Needed for multicast and link-local addresses. It can be set and changed
      live; taking it away with an empty value needs a new device.
    type: str
  dstport: &dstport
    description: >-
      UDP port, 1 to 65535. A new device gets 4789, the assigned port (4790 with O(gpe)), not the kernel's 8472.
      Not live.
    type: int
  srcport: &srcport
    description: >-
      UDP source ports as C(low-high), the low one above 0 and below the high one. C(0-0) for the host's local
      port range. Not live.
    type: str
  ttl: &ttl
    description: >-
      TTL or hop limit of the outer packets, 0 to 255. 0 takes the route's, and 1 for multicast. Changes live.
    type: int
  ttl_inherit: &ttl_inherit
    description: >-
      Whether the TTL is copied from the inner packet. O(ttl) then has no effect. Not live.
    type: bool
  tos: &tos
    description: >-
      TOS or traffic class of the outer packets, 0 to 255, or C(inherit) (which is the kernel's 1). Changes live.
    type: str
  df: &df
    description: >-
      The don't-fragment bit of outer IPv4 packets. Changes live.
    type: str
    choices: [unset, set, inherit]
  label: &label
    description: >-
      Flow label of outer IPv6 packets, 0 to 1048575. IPv6 underlay only. Changes live.
    type: int
  label_policy: &label_policy
    description: >-
      Whether the flow label is O(label) or the inner packet's. IPv6 underlay only. Changes live.
    type: str
    choices: [fixed, inherit]
  ageing: &ageing
    description: >-
      Seconds that a learned FDB row lives, 1 to 4294967295. Default 300. Changes live.
    type: int
  limit: &limit
    description: >-
      Largest number of FDB rows that are learned, 0 to 4294967295. 0 for no limit. Not live.
    type: int
  learning: &learning
    description: >-
      Whether source addresses are learned into the FDB. On by default. Changes live.
    type: bool
  proxy: &proxy
    description: >-
      Whether the device answers ARP and ND from the neighbour table. Not live.
    type: bool
  rsc: &rsc
    description: >-
      Route short circuit. Frames to a router's MAC that is flagged so in the FDB are routed by the VTEP. Not live.
    type: bool
  l2miss: &l2miss
    description: >-
      Whether a MAC address that is missing in the FDB is notified by netlink. Not live.
    type: bool
  l3miss: &l3miss
    description: >-
      Whether an IP address that is missing in the neighbour table is notified by netlink. Not live.
    type: bool
  udp_csum: &udp_csum
    description: >-
      Whether outer IPv4 packets have a UDP checksum. On by default. Not live.
    type: bool
  udp_zero_csum6_tx: &udp_zero_csum6_tx
    description: >-
      Whether outer IPv6 packets go without a UDP checksum. Not live.
    type: bool
  udp_zero_csum6_rx: &udp_zero_csum6_rx
    description: >-
      Whether outer IPv6 packets without a UDP checksum are accepted. Not live.
    type: bool
  remcsum_tx: &remcsum_tx
    description: >-
      Remote checksum offload for packets that are sent. Not live.
    type: bool
  remcsum_rx: &remcsum_rx
    description: >-
      Remote checksum offload for packets that are received. Not live.
    type: bool
  remcsum_nopartial: &remcsum_nopartial
    description: >-
      Whether remote checksum offload completes checksums itself, without CHECKSUM_PARTIAL. Not live.
    type: bool
  gbp: &gbp
    description: >-
      Group policy extension. Not live.
    type: bool
  gpe: &gpe
    description: >-
      Generic protocol extension. Needs O(external=true) and O(learning=false), and excludes several others.
      Not live.
    type: bool
  external: &external
    description: >-
      Whether VNI and remote come with each packet (collect metadata), from a route or a filter. Then there is
      no O(id). Not live.
    type: bool
  vnifilter: &vnifilter
    description: >-
      Whether only O(vnis) are received. Needs O(external=true) and Linux 5.18. Not live.
    type: bool
  vnis: &vnis
    description: >-
      The VNIs that a device with O(vnifilter=true) takes, each 1 to 16777215; exactly these, and none with an empty
      list. Changes live. Devices with O(vnifilter) can share a UDP port as long as their VNIs differ.
    type: list
    elements: int
  localbypass: &localbypass
    description: >-
      Whether a packet to an address of this host skips the stack. On by default. Needs Linux 6.5. Changes live.
    type: bool
  reserved_bits: &reserved_bits
    description: >-
      Which bits of the 8-byte VXLAN header must be zero in packets that are received, as a 64-bit number such as
      C(0xf7ffffff000000ff). Needs Linux 6.14. Not live. On such kernels a device with a value of one's own, or with
      O(gbp), O(gpe) or O(remcsum_rx), takes no live change at all, since each would put this back.
    type: str
  mc_route: &mc_route
    description: >-
      Whether outer multicast packets are routed by the kernel's multicast routes. Needs Linux 6.17. Kernels up to
      6.18 do not tell it, so it is set on new devices, and a warning says that it cannot be compared on others.
    type: bool
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
  devices:
    description: Devices, each with the options above. An empty list goes well with O(purge=owned).
    type: list
    elements: dict
    suboptions:
      name:
        description: The device's name, 1 to 15 characters.
        type: str
        required: true
      state: *state
      recreate: *recreate
      mtu: *mtu
      address: *address
      alias: *alias
      addrgenmode: *addrgenmode
      master: *master
      up: *up
      id: *id
      group: *group
      remote: *remote
      local: *local
      dev: *dev
      dstport: *dstport
      srcport: *srcport
      ttl: *ttl
      ttl_inherit: *ttl_inherit
      tos: *tos
      df: *df
      label: *label
      label_policy: *label_policy
      ageing: *ageing
      limit: *limit
      learning: *learning
      proxy: *proxy
      rsc: *rsc
      l2miss: *l2miss
      l3miss: *l3miss
      udp_csum: *udp_csum
      udp_zero_csum6_tx: *udp_zero_csum6_tx
      udp_zero_csum6_rx: *udp_zero_csum6_rx
      remcsum_tx: *remcsum_tx
      remcsum_rx: *remcsum_rx
      remcsum_nopartial: *remcsum_nopartial
      gbp: *gbp
      gpe: *gpe
      external: *external
      vnifilter: *vnifilter
      vnis: *vnis
      localbypass: *localbypass
      reserved_bits: *reserved_bits
      mc_route: *mc_route
      port: *port
  purge:
    description: >-
      With V(owned), VXLAN devices of this network namespace that are owned by the collection and not named in this task
      are removed.
    type: str
    choices: [none, owned]
    default: none
  assume_gone:
    description: >-
      Names of devices that an earlier task of a dry run would have removed, such as MACsec devices on top of these. Write
      C(assume_gone={{ names if ansible_check_mode else [] }}). What is there in a run is there.
    type: list
    elements: str
    default: []
requirements:
  - pyroute2 0.7.2 or newer
  - a kernel with CONFIG_VXLAN
attributes:
  check_mode:
    support: full
    description: >-
      Predicts what a run does. A master or underlay device that does not exist yet is taken as about to be made; a run
      fails for it before its first change.
  diff_mode:
    support: full
    description: Shows the attributes that change, one a line.
  idempotent:
    support: partial
    description: A second run changes nothing. O(mc_route) of a device that exists is not compared, see there.
notes:
  - A device of that name but of another kind is never touched.
  - Kernels before 6.15 join a multicast group only when the device comes up. There the device goes down and up for a
    change of O(group) or O(dev), which a warning tells.
  - C(docs/vxlan.md) has a table of all attributes with their kernel names, ranges, defaults and first kernel version.
seealso:
  - module: vtep.fabric.vxlan_info
  - module: vtep.fabric.link
  - name: RFC 7348
    description: Virtual eXtensible Local Area Network.
    link: https://www.rfc-editor.org/rfc/rfc7348
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: A device with a multicast group
  vtep.fabric.vxlan:
    name: vxlan100
    id: 100
    local: 2001:db8:1::1
    group: ff05::100
    dev: eth0
    ttl: 5
    up: true

- name: Two segments in their bridges, and no other device of the collection
  vtep.fabric.vxlan:
    devices:
      - {name: vxlan100, id: 100, local: "2001:db8:1::1", learning: false, master: br100, alias: vtep.fabric 100, up: true}
      - {name: vxlan200, id: 200, local: "2001:db8:1::1", learning: false, master: br200, alias: vtep.fabric 200, up: true}
    purge: owned

- name: One device for several segments, as routes with encapsulation use it
  vtep.fabric.vxlan:
    name: vxlan0
    external: true
    vnifilter: true
    vnis: [100, 200]
    local: 2001:db8:1::1
    up: true

- name: Another VNI, which needs a new device
  vtep.fabric.vxlan:
    name: vxlan100
    id: 101
    recreate: true
"""

RETURN = r"""
devices:
  description: The devices of the task, and those that were purged.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: vxlan100
    action:
      description: What was done, one of V(none), V(created), V(changed), V(recreated) and V(removed).
      returned: success
      type: str
      sample: recreated
    changes:
      description: For each attribute that changed, its value before and after. C(group) also stands for O(remote).
        O(vnis) are told as text, with those that follow one another folded, such as C(100-105,200).
      returned: success
      type: dict
      sample: {"ttl": {"before": 0, "after": 5}}
    lost:
      description: What a device that was made anew has lost.
      returned: when the device was made anew
      type: list
      elements: str
      sample: ["12 FDB rows", "its neighbours and routes"]
unlisted:
  description: >-
    The collection's VXLAN devices that the task does not name. O(purge=owned) removes them, without it they stay.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "vxlan200", "type": "vxlan"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.vxlan import Vxlans


def main():
    run(AnsibleModule(argument_spec=Vxlans.spec(), supports_check_mode=True), Vxlans())


if __name__ == "__main__":
    main()

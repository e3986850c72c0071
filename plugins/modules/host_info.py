#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
version_added: "0.1.0"
short_description: Tell what a host has, and fail where it lacks something
description:
  - Reads in one quick call all that has to be known of a host before a fabric is laid over it, and changes nothing.
  - Kernel features are found by trying them in a network namespace that only a short-lived child process has. A kernel
    with modules loads the module for that, as it does when a feature is used. Dummy devices are the exception, since
    loading their module makes a device C(dummy0) on the host. Where that module is present but not loaded, it is
    taken as usable.
options:
  require:
    description:
      - What the host must have. If anything is missing, the module fails with one message that names it all and says
        how to mend each.
      - V(root) wants the effective user root with CAP_NET_ADMIN. V(writable) wants that nothing of RV(obstacles) but
        C(/) is there. V(pyroute2) wants version 0.7.2 or newer.
      - V(frr) wants also C(watchfrr) and C(zebra) in /usr/lib/frr, and the file /etc/frr/daemons. V(ospf6d) and V(ospfd),
        which go with V(frr), want that daemon.
      - V(frr), V(iproute2) and V(nftables) want the programs, V(nftables) also the kernel's part. All other words are
        names of RV(features).
    type: list
    elements: str
    default: []
    choices:
      - bridge
      - bridge_vlan_filtering
      - dummy
      - esp4
      - esp6
      - force_forwarding
      - frr
      - ip6_mroute
      - ip_mroute
      - iproute2
      - ipv6
      - lwtunnel
      - macsec
      - macsec_xpn
      - nftables
      - ospf6d
      - ospfd
      - pyroute2
      - root
      - veth
      - vlan
      - vrf
      - vxlan
      - writable
      - xfrm
extends_documentation_fragment: vtep.fabric.info_attributes
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: The host must be fit for VXLAN with OSPFv3
  vtep.fabric.host_info:
    require: [root, writable, pyroute2, vxlan, frr]
  register: preflight_host
"""

RETURN = r"""
kernel:
  description: The kernel's release.
  returned: success
  type: str
  sample: 6.12.48+deb13-amd64
features:
  description: >-
    Whether the kernel has each feature. Null where asking takes more rights than the module had: root with CAP_NET_ADMIN, and with
    CAP_SYS_ADMIN for bridges, dummy and veth devices, extended packet numbers and nftables, which are tried in a network namespace.
  returned: success
  type: dict
  contains:
    bridge:
      description: Bridges (CONFIG_BRIDGE).
      type: bool
    bridge_vlan_filtering:
      description: VLAN-aware bridges (CONFIG_BRIDGE_VLAN_FILTERING).
      type: bool
    dummy:
      description: Dummy devices (CONFIG_DUMMY).
      type: bool
    esp4:
      description: IPsec ESP over IPv4, with AES-GCM (CONFIG_INET_ESP, CONFIG_CRYPTO_GCM).
      type: bool
    esp6:
      description: IPsec ESP over IPv6, with AES-GCM (CONFIG_INET6_ESP, CONFIG_CRYPTO_GCM).
      type: bool
    force_forwarding:
      description: IPv6 forwarding of single devices (net.ipv6.conf.all.force_forwarding, Linux 6.17).
      type: bool
    ip_mroute:
      description: IPv4 multicast routing (CONFIG_IP_MROUTE).
      type: bool
    ip6_mroute:
      description: IPv6 multicast routing (CONFIG_IPV6_MROUTE).
      type: bool
    ipv6:
      description: IPv6, compiled in and not disabled by net.ipv6.conf.all.disable_ipv6.
      type: bool
    lwtunnel:
      description: Routes with encapsulation (CONFIG_LWTUNNEL).
      type: bool
    macsec:
      description: MACsec devices (CONFIG_MACSEC).
      type: bool
    macsec_xpn:
      description: MACsec devices with the ciphers of extended packet numbers (Linux 5.7).
      type: bool
    nftables:
      description: nftables tables of the families inet and arp.
      type: bool
    veth:
      description: Veth pairs (CONFIG_VETH).
      type: bool
    vlan:
      description: VLAN devices (CONFIG_VLAN_8021Q).
      type: bool
    vrf:
      description: VRF devices (CONFIG_NET_VRF).
      type: bool
    vxlan:
      description: VXLAN devices (CONFIG_VXLAN).
      type: bool
    xfrm:
      description: IPsec states and policies (CONFIG_XFRM_USER).
      type: bool
interfaces:
  description: All network devices, by name.
  returned: success
  type: dict
  sample:
    eth0:
      mtu: 1500
      kind: null
      vxlan: null
      alias: null
      mac: 52:54:00:12:34:56
      master: null
      up: true
      addresses: [192.0.2.1/24, "fe80::5054:ff:fe12:3456/64"]
  contains:
    mtu:
      description: The MTU in bytes.
      type: int
    kind:
      description: The kind as C(ip link) names it, such as V(bridge). Null for hardware and for C(lo).
      type: str
    vxlan:
      description: What decides whether another VXLAN device can be beside this one, and what it is on. Null for other kinds.
      type: dict
      contains:
        id:
          description: The VNI. 0 for a device that takes it from each packet.
          type: int
        dstport:
          description: The UDP port.
          type: int
        family:
          description: V(6) where it has an IPv6 address to send from or to, else V(4).
          type: int
        flags:
          description: >-
            Those of C(external), C(gbp), C(gpe), C(remcsum_nopartial), C(remcsum_rx), C(udp_zero_csum6_rx) and C(vnifilter)
            that are set. Devices that differ in one of them cannot share a UDP port.
          type: list
          elements: str
        dev:
          description: The device that it sends by, or null where the routes decide.
          type: str
        local:
          description: The address that it sends from, or null where the routes decide.
          type: str
    alias:
      description: The alias, or null.
      type: str
    mac:
      description: The link-layer address, null where the device has none.
      type: str
    master:
      description: The name of the bridge or VRF that it belongs to, or null.
      type: str
    up:
      description: Whether it is administratively up.
      type: bool
    addresses:
      description: The IP addresses with prefix lengths.
      type: list
      elements: str
programs:
  description: >-
    C(bridge), C(ip), C(nft) and C(vtysh), each with its C(path) and C(version), or null where it is not installed. The
    version of C(vtysh) is FRR's.
  returned: success
  type: dict
  sample:
    ip:
      path: /usr/sbin/ip
      version: 6.15.0
    vtysh: null
python:
  description: The Python that the module ran with.
  returned: success
  type: dict
  contains:
    version:
      description: Its version.
      type: str
    executable:
      description: Its path.
      type: str
    pyroute2:
      description: The version of pyroute2 that it would import, V(unknown) where that is not recorded, or null.
      type: str
frr:
  description: What is there of FRR beside C(vtysh).
  returned: success
  type: dict
  contains:
    daemons:
      description: The daemons in /usr/lib/frr. Empty where there is no such directory.
      type: list
      elements: str
      sample: [ospf6d, ospfd, watchfrr, zebra]
    switches:
      description: Whether /etc/frr/daemons is there, which says what runs. Null for a user who may not know.
      type: bool
installed:
  description: >-
    What shows that roles of this collection have been at work on the host, the paths of files by the role's name: V(agent),
    V(boot), V(ipsec), V(macsec) (key agreement only), V(registry), V(underlay) and V(vxfld).
  returned: success
  type: dict
  sample:
    agent: []
    boot: []
    ipsec: []
    macsec: []
    registry: []
    underlay: [/var/lib/vtep.fabric/ospfv3.json]
    vxfld: []
writable:
  description: >-
    Whether the module's user can write to C(/), C(/etc), C(/etc/frr), C(/var/lib) and C(/var/lib/vtep.fabric), and replace
    FRR's configuration and the collection's records in them, by path. What is not there is left out.
  returned: success
  type: dict
  sample:
    /: true
    /etc: true
    /etc/frr: true
    /etc/frr/frr.conf: true
    /var/lib: true
obstacles:
  description: >-
    Why the others cannot be written, by path. V(full) has less than 256 KiB or no inode left, V(locked) has the attribute
    immutable or is closed to the user, V(mounted) is a file that is a mount point, V(read-only) is mounted so.
  returned: success
  type: dict
  sample: {}
uid:
  description: The effective user id.
  returned: success
  type: int
  sample: 0
cap_net_admin:
  description: Whether the module had CAP_NET_ADMIN.
  returned: success
  type: bool
  sample: true
memory:
  description: Memory in MiB.
  returned: success
  type: dict
  contains:
    total_mib:
      description: All of it.
      type: int
    available_mib:
      description: What programs can still get without swapping.
      type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.host import SPEC, info
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import query


def main():
    query(AnsibleModule(argument_spec=SPEC, supports_check_mode=True), info)


if __name__ == "__main__":
    main()

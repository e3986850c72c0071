# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: compile
version_added: "0.1.0"
short_description: What one host has to hold, out of the fabric's description
description:
  - Reads the fabric's words of all hosts in the groups C(vteps), C(service_nodes) and C(registry) and returns what one of them
    has to hold for a variant, as lists and texts that the modules and roles of this collection take as they are.
  - The whole fabric is validated first, as P(vtep.fabric.validate#filter) does. With a fault the filter fails and names them
    all, but not more than the first 100.
  - The same words give the same result, sorted the same way.
positional: _input, groups, variant, host
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's C(groups).
    type: dict
    required: true
  variant:
    description: How the fabric works.
    type: str
    required: true
  host:
    description: The host to compile for, a member of group C(vteps), C(service_nodes) or C(registry).
    type: str
    required: true
  encryption:
    description:
      - How the fabric encrypts, V(none), V(macsec), V(macsec-mka), V(ipsec) or V(ipsec-opportunistic). Without it, or empty, it is
        C(mode) of C(fabric_encryption).
    type: str
seealso:
  - plugin: vtep.fabric.validate
    plugin_type: filter
  - plugin: vtep.fabric.endpoints
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: Set the VXLAN devices of this host
  vtep.fabric.vxlan:
    devices: "{{ plan.overlay.vxlans }}"
  vars:
    plan: "{{ hostvars | vtep.fabric.compile(groups, 'unicast-static-l2', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The host's plan. Its keys are strings throughout, so that it is the same after a trip through JSON.
  type: dict
  contains:
    host:
      description: The host's name in the inventory.
      type: str
    variant:
      description: The variant that it was compiled for.
      type: str
    family:
      description: Address family of the underlay, V(4) or V(6).
      type: int
    local:
      description: The address that a VTEP sends VXLAN packets from, or another host's own. Null for a host without use.
      type: str
    vnis:
      description: The segments that the host has, or serves.
      type: list
      elements: int
    underlay:
      description: >-
        Loopback addresses, underlay interfaces and routing. Null for a service node or a host of the registry that the variant
        has no use for.
      type: dict
      contains:
        links:
          description: Links for module M(vtep.fabric.link).
          type: list
          elements: dict
        ospfv3:
          description: >-
            Options of module M(vtep.fabric.ospfv3), null on a host without an IPv6 loopback address. The key of the
            authentication is left out.
          type: dict
        ospfv2:
          description: The same for IPv4, null on a host without an IPv4 loopback address.
          type: dict
        loopbacks:
          description: >-
            The loopback prefixes of all VTEPs, and of service nodes and hosts of the registry where the variant has them, this
            host's own included, each with its host, under the keys V(6) and V(4).
          type: dict
    macsec:
      description: MACsec devices, whom each of them hears, and where they are. Missing without MACsec.
      type: dict
    macsec_former:
      description: MACsec devices that take no part any more, those of C(links) and of C(segments). Missing where there are none.
      type: dict
    ipsec:
      description: What role C(vtep.fabric.ipsec) sets up, without keys. Only VTEPs with IPsec have it.
      type: dict
    vxfld:
      description: What role C(vtep.fabric.vxfld) sets up. Null under variants without service nodes.
      type: dict
      contains:
        daemon:
          description: V(vxrd) for a VTEP, V(vxsnd) for a service node.
          type: str
        settings:
          description: The text of each setting that is not the daemon's default, by section and key of its configuration file.
          type: dict
    agent:
      description: What role C(vtep.fabric.agent) sets up. Null but on VTEPs under the variants unicast-dynamic-*.
      type: dict
      contains:
        settings:
          description: The text of each setting that is not the agent's default, by section and key of its configuration file.
          type: dict
        document:
          description: The endpoints of the host's segments, where the registry is a file. Null elsewhere.
          type: str
        given:
          description: >-
            The host's own endpoints that C(fabric_endpoints) lists, to be published where the registry is etcd. Null elsewhere.
          type: str
        members:
          description: The hosts of group C(registry) that it asks. Empty where the registry is not theirs.
          type: list
          elements: str
    registry:
      description: >-
        What role C(vtep.fabric.registry) sets up. Only hosts of group C(registry) have it; null where no agent asks them.
      type: dict
      contains:
        members:
          description: The C(name) and C(address) of each member.
          type: list
          elements: dict
        self:
          description: The name of the one that runs here.
          type: str
        prefix:
          description: What the fabric's keys begin with.
          type: str
        username:
          description: Whom the agents ask as.
          type: str
    access:
      description: Bridges and access ports. Only VTEPs have it.
      type: dict
      contains:
        links:
          description: Links for module M(vtep.fabric.link).
          type: list
          elements: dict
        isolation:
          description: Devices on which the host itself must not be reached, for module M(vtep.fabric.isolation).
          type: list
          elements: str
        routed:
          description: Groups of devices that route for one another, for the same module. Only variant V(unicast-routing) has any.
          type: list
          elements: list
        fdb:
          description: >-
            Options C(dev) and C(table) of module M(vtep.fabric.fdb): an entry for each local endpoint of a restricted segment.
          type: dict
    overlay:
      description: VXLAN devices and their entries. Only VTEPs have it.
      type: dict
      contains:
        vxlans:
          description: Devices for module M(vtep.fabric.vxlan), with their settings as bridge ports where they are in one.
          type: list
          elements: dict
        fdb:
          description: Options C(dev) and C(table) of module M(vtep.fabric.fdb).
          type: dict
        neighbors:
          description: Option C(table) of module M(vtep.fabric.neighbor).
          type: dict
        routes:
          description: Option C(table) of module M(vtep.fabric.route).
          type: dict
        rules:
          description: Rules for module M(vtep.fabric.rule).
          type: list
          elements: dict
        sysctls:
          description: Settings for module M(vtep.fabric.sysctl).
          type: dict
        announce:
          description: >-
            Segments for module M(vtep.fabric.announce): at which MAC address each access port's endpoints find the others, to
            be told to them where a conversion has changed it.
          type: list
          elements: dict
    expect:
      description: What a proof with packets must find. A host without use has none.
      type: dict
      contains:
        broadcast_copies:
          description: >-
            How often one broadcast of a local endpoint leaves the host, by VNI. Of a service node, how often a broadcast of
            any endpoint leaves all service nodes together.
          type: dict
        unknown_copies:
          description: The same for a frame to an unknown MAC address, where that differs.
          type: dict
        fdb:
          description: Forwarding entries that C(vxrd) writes. Only variant V(vxfld-hrep) has them.
          type: str
        paths:
          description: >-
            Where frames must go: C(vni), the inner destination C(mac), and the VTEP C(dst), for each MAC address that is
            not learned from traffic. Only VTEPs have it.
          type: list
          elements: dict
        registrations:
          description: The VTEPs' addresses that a service node must know, by VNI.
          type: dict
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from ansible_collections.vtep.fabric.plugins.plugin_utils import inventory


def compile_host(hostvars, groups, variant, host, encryption=None):
    words, hosts, service_hosts, registry_hosts, unread = inventory.read(hostvars, groups, encryption)
    variant, host = inventory.plain(variant), inventory.plain(host)
    fabric, faults = plan.read(words, hosts, variant, unread, service_hosts, registry_hosts)
    if not faults and host not in (*hosts, *service_hosts, *registry_hosts):
        faults = [
            f"{host}: is in none of the groups vteps, service_nodes and registry, and only their hosts can be compiled for"
        ]
    if faults:
        raise AnsibleFilterError("the fabric has faults: " + "; ".join(plan.bounded(faults)))
    return plan.compile_host(fabric, variant, host)


class FilterModule:
    def filters(self):
        return {"compile": compile_host}

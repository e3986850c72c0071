# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-fabric validation: each fault is found, told with host, key, value and fix, and brings no other fault along."""

import copy

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import overhead, vxlan
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan

MULTICAST, FLOOD = "multicast", "unicast-static-flood"


ROUTER = {
    "mac": "02:00:00:00:00:01",
    "addresses": ["2001:db8:ff::fe/64", "192.0.2.254/24"],
    "vtep_address": ["2001:db8:99::1", "203.0.113.99"],
}


def fabric():
    """A sound one: three VTEPs, two segments."""
    words = {
        "fabric_segments": [
            {"vni": 100, "multicast_group": "ff05::100", "routers": [dict(ROUTER)]},
            {"vni": 200, "multicast_group": "ff05::200", "vteps": ["s1", "s2"], "routers": [dict(ROUTER)]},
        ],
        "fabric_endpoints": [
            {"mac": "50:54:33:00:00:01", "addresses": ["2001:db8:ff::1"], "vtep": "s1", "port": "eth1", "vni": 100},
            {"mac": "50:54:33:00:00:02", "addresses": ["192.0.2.2"], "vtep": "s2", "port": "eth2", "vni": 200},
            {"mac": "50:54:33:00:00:03", "addresses": ["2001:db8:ff::3"], "vtep": "s3", "port": "eth1", "vni": 100},
        ],
        "fabric_underlay_family": None,
        "fabric_service_address": ["2001:db8:100::100", "203.0.113.100"],
    }
    hosts = {
        f"s{n}": {
            "vtep_address": [f"2001:db8:{n}::1", f"203.0.113.{n}"],
            "vtep_underlay_interfaces": ["eth0"],
            "vtep_access_ports": [{"dev": "eth1", "vni": 100}],
            "preflight_host": {
                "interfaces": {
                    "lo": {"mtu": 65536},
                    "eth0": {"mtu": 1570},
                    "eth1": {"mtu": 9000},
                    "eth2": {"mtu": 9000},
                },
                "features": {"dummy": True},
            },
        }
        for n in (1, 2, 3)
    }
    hosts["s2"]["vtep_access_ports"].append({"dev": "eth2", "vni": 200})
    return words, hosts


def service_nodes():
    """Two of that fabric."""
    return {
        f"sn{n}": {
            "service_node_address": [f"2001:db8:9{n}::1", f"203.0.113.9{n}"],
            "service_node_underlay_interfaces": ["eth0"],
            "preflight_host": {
                "interfaces": {"lo": {"mtu": 65536}, "eth0": {"mtu": 1570}},
                "features": {"dummy": True},
            },
        }
        for n in (1, 2)
    }


def registry_hosts(count=1):
    return {
        f"reg{n}": {
            "registry_address": [f"2001:db8:8{n}::1", f"203.0.113.8{n}"],
            "registry_underlay_interfaces": ["eth0"],
            "preflight_host": {"interfaces": {"lo": {"mtu": 65536}, "eth0": {"mtu": 1500}}},
        }
        for n in range(1, count + 1)
    }


def faults_of(change=None, variant=FLOOD, nodes=None, registry=None):
    words, hosts = fabric()
    if change:
        change(words, hosts)
    nodes = service_nodes() if nodes is None else nodes
    registry = registry_hosts() if registry is None else registry
    return plan.read(words, hosts, variant, service_hosts=nodes, registry_hosts=registry)[1]


def set_(path, value, variant=FLOOD):
    """The faults after one change: set_("s1 vtep_address", ...), set_("fabric_segments 0 vni", ...)."""
    nodes, registry = service_nodes(), registry_hosts()

    def change(words, hosts):
        *way, last = [int(part) if part.isdigit() else part for part in path.split()]
        place = next((kind for kind in (hosts, nodes, registry) if path.split()[0] in kind), words)
        for part in way:
            place = place[part]
        if value is DELETE:
            del place[last]
        else:
            place[last] = value

    return faults_of(change, variant, nodes, registry)


DELETE = object()


@pytest.mark.parametrize("variant", plan.VARIANTS)
def test_sound(variant):
    assert faults_of(variant=variant) == []


# path, value, what the one fault must say
ONE = [
    # VNI
    ("fabric_segments 0 vni", 0, ["fabric: fabric_segments row 1: vni: 0", "1 to 16777215"]),
    ("fabric_segments 0 vni", 16777216, ["fabric: fabric_segments row 1: vni: 16777216", "1 to 16777215"]),
    ("fabric_segments 0 vni", "ten", ["fabric: fabric_segments row 1: vni: 'ten'", "not a whole number"]),
    ("fabric_segments 0 vni", True, ["fabric: fabric_segments row 1: vni: True", "not a whole number"]),
    ("fabric_segments 0 vni", 1.5, ["fabric: fabric_segments row 1: vni: 1.5", "not a whole number"]),
    # other words of a segment
    ("fabric_segments 0 mtuu", 1500, ["fabric: fabric_segments row 1: mtuu: is not a known key", "mtu"]),
    ("fabric_segments 0 mtu", 66000, ["fabric_segments row 1: mtu: 66000", "68 to 65535"]),
    ("fabric_segments 0 ttl", 0, ["fabric_segments row 1: ttl: 0", "1 to 255"]),
    ("fabric_segments 0 tos", 256, ["fabric_segments row 1: tos: 256", "0 to 255"]),
    ("fabric_segments 0 dstport", 65536, ["fabric_segments row 1: dstport: 65536", "1 to 65535"]),
    ("fabric_segments 0 name", "two\nlines", ["fabric_segments row 1: name: ", "printable"]),
    ("fabric_segments 0 restricted", "perhaps", ["fabric_segments row 1: restricted: 'perhaps'", "true nor false"]),
    ("fabric_segments 0 bridge", "a name too long for it", ["fabric_segments row 1: bridge: ", "1 to 15 characters"]),
    ("fabric_segments 0 vxlan", "a/b", ["fabric_segments row 1: vxlan: 'a/b'", "1 to 15 characters"]),
    ("fabric_segments 0 bridge", "br200", ["fabric: fabric_segments: bridge: br200 names two devices"]),
    ("fabric_segments 0 vxlan", "br200", ["fabric: fabric_segments: bridge: br200 names two devices"]),
    ("fabric_segments 0 vxlan", "eth0x", []),
    (
        "fabric_segments 1 vteps",
        ["s1", "s2", "s9"],
        ["fabric_segments row 2: vteps: s9 is not in group vteps", "add the host"],
    ),
    ("fabric_segments 1 vteps", [], ["fabric_segments row 2: vteps: []", "leave it out"]),
    ("fabric_segments 1 vteps", "s1", ["fabric_segments row 2: vteps: 's1' is not a list"]),
    (
        "fabric_segments 0 multicast_group",
        "2001:db8::1",
        ["row 1: multicast_group: '2001:db8::1' is not a multicast", "ff05::"],
    ),
    ("fabric_segments 0", None, ["fabric: fabric_segments row 1: None is not a mapping"]),
    ("fabric_segments", "abc", ["fabric: fabric_segments: 'abc' is not a list"]),
    ("fabric_segments", None, ["fabric: fabric_segments: is missing", "group_vars"]),
    # a VTEP's words
    ("s1 vtep_address", DELETE, ["s1: vtep_address: is missing"]),
    ("s1 vtep_address", "banana", ["s1: vtep_address: 'banana' is not an IP address"]),
    ("s1 vtep_address", "2001:db8::1/128", ["s1: vtep_address: '2001:db8::1/128'", "without a prefix length"]),
    ("s1 vtep_address", ["192.0.2.1", "192.0.2.2"], ["s1: vtep_address: 192.0.2.1 and 192.0.2.2 are both IPv4"]),
    ("s1 vtep_address", "ff02::1", ["s1: vtep_address: 'ff02::1' cannot be routed"]),
    ("s1 vtep_address", "fe80::1", ["s1: vtep_address: 'fe80::1' cannot be routed"]),
    ("s1 vtep_address", "::1", ["s1: vtep_address: '::1' cannot be routed"]),
    ("s1 vtep_address", "0.0.0.0", ["s1: vtep_address: '0.0.0.0' cannot be routed"]),
    ("s1 vtep_address", [], ["s1: vtep_address: is an empty list"]),
    ("s1 vtep_address", {"a": 1}, ["s1: vtep_address: {'a': 1} is not text"]),
    ("s1 vtep_address", ["2001:db8:1::1", "203.0.113.3"], ["vtep_address: 203.0.113.3 is also that of s1", "its own"]),
    ("s1 vtep_router_id", "203.0.113.3", ["s3: vtep_router_id: 203.0.113.3 is also that of s1"]),
    ("s1 vtep_router_id", "0.0.0.0", ["s1: vtep_router_id: '0.0.0.0' is reserved"]),
    ("s1 vtep_router_id", "2001:db8::1", ["s1: vtep_router_id: '2001:db8::1' is not an IPv4 address"]),
    ("s1 vtep_underlay_interfaces", DELETE, ["s1: vtep_underlay_interfaces: is missing", "[eth0]"]),
    ("s1 vtep_underlay_interfaces", [], ["s1: vtep_underlay_interfaces: is missing"]),
    ("s1 vtep_underlay_interfaces", "eth0", ["s1: vtep_underlay_interfaces: 'eth0' is not a list", "[...]"]),
    ("s1 vtep_underlay_interfaces", [{"mtu": 1600}], ["s1: vtep_underlay_interfaces row 1: dev: is missing"]),
    ("s1 vtep_underlay_interfaces", ["eth0", "eth0"], ["s1: vtep_underlay_interfaces: eth0 is already used"]),
    (
        "s1 vtep_underlay_interfaces",
        ["eth9"],
        ["s1: vtep_underlay_interfaces: the host has no interface eth9", "eth0, eth1"],
    ),
    (
        "s1 vtep_underlay_interfaces",
        [{"dev": "eth0", "network": "ring"}],
        ["row 1: network: 'ring' is unknown", "broadcast"],
    ),
    ("s1 vtep_underlay_interfaces", [{"dev": "eth0", "cost": 0}], ["row 1: cost: 0", "1 to 65535"]),
    (
        "s1 vtep_underlay_interfaces",
        ["eth1"],
        ["s1: vtep_access_ports: eth1 is already used by vtep_underlay_interfaces"],
    ),
    ("s3 vtep_access_ports", ["eth1", None], ["s3: vtep_access_ports row 2: dev: is missing"]),
    ("s3 vtep_loopback_device", "br100", ["s3: vtep_loopback_device: br100 is already used by VNI 100"]),
    ("s3 vtep_access_ports", [{"dev": "eth1", "vlan": 4095}], ["s3: vtep_access_ports row 1: vlan: 4095", "1 to 4094"]),
    ("s3 vtep_access_ports", [{"dev": "verylongname12", "vlan": 10}], ["row 1: vlan: ", "verylongname12.10", "rename"]),
    (
        "s1 vtep_access_ports",
        ["eth1", "eth2"],
        ["s1: vtep_access_ports: eth2 could be in VNI 100, 200", "{dev: eth2, vni: ...}"],
    ),
    (
        "s1 vtep_access_ports",
        [{"dev": "eth1", "vni": 100}, {"dev": "eth2", "vni": 9}],
        ["eth2 is in VNI 9, and s1 has 100, 200"],
    ),
    (
        "s3 vtep_access_ports",
        ["eth1", "eth7"],
        ["s3: vtep_access_ports: the host has no interface eth7", "it has eth0"],
    ),
    (
        "s1 preflight_host interfaces br100",
        {"kind": "bridge", "alias": None},
        ["s1: fabric_segments: VNI 100: bridge: the host has a bridge device br100 that vtep.fabric did not make"],
    ),
    (
        "s3 preflight_host interfaces vxlan100",
        {"kind": "vxlan", "alias": "vtep.fabricated"},
        ["s3: fabric_segments: VNI 100: vxlan: ", "vxlan device vxlan100 that vtep.fabric did not make; remove"],
    ),
    ("s3 preflight_host interfaces vxlan200", {"kind": "vxlan", "alias": None}, []),  # s3 has no VNI 200
    ("s3 preflight_host interfaces vxlan100", {"kind": "vxlan", "alias": "vtep.fabric segment 100"}, []),
    # VXLAN devices of other names
    (
        "s1 preflight_host interfaces overlay",
        {"alias": None, "vxlan": {"id": 100, "dstport": 4789, "family": 6, "flags": []}},
        [
            "s1: fabric_segments: VNI 100: the host has a VXLAN device overlay on VNI 100 on UDP port 4789, that vtep.fabric"
        ],
    ),
    (
        "s3 preflight_host interfaces vxlan_sys_4789",
        {"alias": None, "vxlan": {"id": 0, "dstport": 4789, "family": 4, "flags": ["external"]}},
        ["s3: fabric_segments: VNI 100: ", "vxlan_sys_4789 with external on UDP port 4789", "choose another dstport"],
    ),
    ("s1 preflight_host interfaces a", {"vxlan": {"id": 100, "dstport": 8472, "family": 6, "flags": []}}, []),
    ("s1 preflight_host interfaces a", {"vxlan": {"id": 101, "dstport": 4789, "family": 6, "flags": []}}, []),
    ("s1 preflight_host interfaces a", {"vxlan": {"id": 100, "dstport": 4789, "family": 4, "flags": []}}, []),
    ("s3 preflight_host interfaces a", {"vxlan": {"id": 200, "dstport": 4789, "family": 6, "flags": []}}, []),
    (
        "s1 preflight_host interfaces old",
        {"alias": "vtep.fabric segment 100", "vxlan": {"id": 100, "dstport": 4789, "family": 6, "flags": []}},
        [],
    ),
    ("s1 preflight_host interfaces vtep0", {"kind": "dummy", "alias": None}, ["s1: vtep_loopback_device: ", "vtep0"]),
    ("s1 vtep_loopback_device", "lo/1", ["s1: vtep_loopback_device: 'lo/1' is not a device name"]),
    ("s1 preflight_host features dummy", False, []),
    ("s1 preflight_host", "up", ["s1: preflight_host: 'up' is not a result of module vtep.fabric.host_info"]),
    # OSPF
    ("s1 underlay_ospf_hello_interval", 0, ["s1: underlay_ospf_hello_interval: 0", "1 to 65535"]),
    ("s1 underlay_ospf_area", "backbone", ["s1: underlay_ospf_area: 'backbone'"]),
    ("s1 underlay_ospf_area", 2**32, ["s1: underlay_ospf_area: '4294967296' is not an area"]),
    ("s1 underlay_ospf_authentication", "secret", ["s1: underlay_ospf_authentication: is not a mapping"]),
    ("s1 underlay_ospf_authentication", {"key_id": 1}, ["s1: underlay_ospf_authentication: key: is missing"]),
    # MTU: IPv6 adds 70
    (
        "fabric_segments 0 mtu",
        1501,
        MTU := ["s1: vtep_underlay_interfaces: eth0 has MTU 1570, and VNI 100 with MTU 1501 needs 1571"],
    ),
    (
        "s1 preflight_host interfaces eth0 mtu",
        1569,
        ["s1: ", "eth0 has MTU 1569", "needs 1570", "mtu: 1570", "1499 at most"],
    ),
    ("s1 vtep_underlay_interfaces", [{"dev": "eth0", "mtu": 1500}], ["eth0 has MTU 1500", "needs 1570"]),
    (
        "s3 preflight_host interfaces eth1 mtu",
        1400,
        ["s3: vtep_access_ports: eth1 has MTU 1400, and VNI 100 has MTU 1500"],
    ),
    # endpoints
    (
        "fabric_endpoints 0 mac",
        "50:54:33",
        ["fabric: fabric_endpoints row 1: mac: '50:54:33' is not a MAC", "50:54:33:00:00:01"],
    ),
    ("fabric_endpoints 0 mac", 39300000001, ["row 1: mac: ", "in quotes: YAML"]),
    ("fabric_endpoints 0 mac", "01:00:5e:00:00:01", ["row 1: mac: '01:00:5e:00:00:01' is not a unicast"]),
    ("fabric_endpoints 0 mac", DELETE, ["fabric: fabric_endpoints row 1: mac: is missing"]),
    ("fabric_endpoints 0 mac", "50-54-33-00-00-03", ["row 3: mac: 50:54:33:00:00:03 is also in row 1", "VNI 100"]),
    ("fabric_endpoints 2 addresses", ["2001:DB8:ff:0::1/64"], ["row 3: addresses: 2001:db8:ff::1 is also in row 1"]),
    ("fabric_endpoints 2 addresses", "192.0.2.1", ["row 3: addresses: '192.0.2.1' is not a list"]),
    ("fabric_endpoints 2 addresses", ["192.0.2.256"], ["row 3: addresses: '192.0.2.256' is not an IP address"]),
    ("fabric_endpoints 2 addresses", ["192.0.2.1/33"], ["row 3: addresses: '33' is not a prefix length"]),
    ("fabric_endpoints 2 addresses", ["ff02::1"], ["row 3: addresses: 'ff02::1' is not the address of one station"]),
    ("fabric_endpoints 2 vtep", "s9", ["fabric_endpoints row 3: vtep: s9 is not in group vteps", "add the host"]),
    ("fabric_endpoints 2 vni", 300, ["fabric_endpoints row 3: vni: 300 is no segment's VNI", "fabric_segments"]),
    ("fabric_endpoints 2 vni", 200, ["fabric_endpoints row 3: port: eth1 of s3 is in VNI 100, not 200"]),
    (
        "fabric_endpoints 2 port",
        "eth5",
        ["row 3: port: eth5 is not an access port of s3, which has eth1", "vtep_access_ports"],
    ),
    ("fabric_endpoints 2", ["50:54:33:00:00:03"], ["fabric_endpoints row 3: ['50:54:33:00:00:03'] is not a mapping"]),
    ("fabric_endpoints", {"a": "b"}, ["fabric: fabric_endpoints: {'a': 'b'} is not a list"]),
    ("fabric_underlay_family", 5, ["fabric: fabric_underlay_family: '5' is unknown", "4, 6"]),
    # service nodes, which are read whatever the variant
    ("sn1 service_node_address", DELETE, ["sn1: service_node_address: is missing; give the service node an address"]),
    ("sn1 service_node_address", "banana", ["sn1: service_node_address: 'banana' is not an IP address"]),
    ("sn1 service_node_underlay_interfaces", [], ["sn1: service_node_underlay_interfaces: is missing", "[eth0]"]),
    (
        "sn1 service_node_underlay_interfaces",
        ["eth9"],
        ["sn1: service_node_underlay_interfaces: the host has no interface"],
    ),
    ("sn1 service_node_underlay_interfaces", [{"dev": "eth0", "cost": 0}], ["row 1: cost: 0", "1 to 65535"]),
    ("sn1 service_node_router_id", "0.0.0.0", ["sn1: service_node_router_id: '0.0.0.0' is reserved"]),
    ("sn1 service_node_loopback_cost", 0, ["sn1: service_node_loopback_cost: 0", "1 to 65535"]),
    ("sn1 service_node_loopback_device", "eth0", ["sn1: service_node_underlay_interfaces: eth0 is already used by"]),
    (
        "sn2 preflight_host interfaces vtep0",
        {"kind": "dummy", "alias": None},
        ["sn2: service_node_loopback_device: the host has a dummy device vtep0 that vtep.fabric did not make"],
    ),
    ("sn1 preflight_host features dummy", False, []),
    ("sn1 underlay_ospf_hello_interval", 0, ["sn1: underlay_ospf_hello_interval: 0", "1 to 65535"]),
    ("sn1 service_node_address", "2001:db8:1::1", ["sn1: service_node_address: 2001:db8:1::1 is also that of s1"]),
    ("sn2 service_node_router_id", "203.0.113.91", ["sn2: service_node_router_id: 203.0.113.91 is also that of sn1"]),
    ("sn2 service_node_router_id", "203.0.113.1", ["sn2: service_node_router_id: 203.0.113.1 is also that of s1"]),
    ("fabric_service_address", "ff02::1", ["fabric: fabric_service_address: 'ff02::1' cannot be routed"]),
    (
        "fabric_service_address",
        ["192.0.2.1", "192.0.2.2"],
        ["fabric_service_address: 192.0.2.1 and 192.0.2.2 are both"],
    ),
    (
        "fabric_service_address",
        "2001:db8:3::1",
        ["fabric_service_address: 2001:db8:3::1 is also the vtep_address of s3"],
    ),
    (
        "fabric_service_address",
        "203.0.113.92",
        [
            "fabric_service_address: 203.0.113.92 is also the service_node_address of sn2; take one that is no host's own"
        ],
    ),
    ("fabric_service_address", None, []),
    # the registry, which is read whatever the variant
    (
        "reg1 registry_address",
        DELETE,
        ["reg1: registry_address: is missing; give this member of the registry an address"],
    ),
    ("reg1 registry_address", "banana", ["reg1: registry_address: 'banana' is not an IP address"]),
    ("reg1 registry_address", "2001:db8:1::1", ["reg1: registry_address: 2001:db8:1::1 is also that of s1"]),
    ("reg1 registry_address", "2001:db8:92::1", ["reg1: registry_address: 2001:db8:92::1 is also that of sn2"]),
    ("reg1 registry_underlay_interfaces", [], ["reg1: registry_underlay_interfaces: is missing", "[eth0]"]),
    ("reg1 registry_underlay_interfaces", ["eth9"], ["reg1: registry_underlay_interfaces: the host has no interface"]),
    ("reg1 registry_router_id", "0.0.0.0", ["reg1: registry_router_id: '0.0.0.0' is reserved"]),
    ("reg1 registry_router_id", "203.0.113.1", ["reg1: registry_router_id: 203.0.113.1 is also that of s1"]),
    ("reg1 registry_router_id", "203.0.113.92", ["reg1: registry_router_id: 203.0.113.92 is also that of sn2"]),
    ("reg1 registry_loopback_device", "eth0", ["reg1: registry_underlay_interfaces: eth0 is already used by"]),
    ("fabric_registry", None, []),
    ("fabric_registry", {}, []),
    ("fabric_registry", "etcd", ["fabric: fabric_registry: 'etcd' is not a mapping; write it like {kind: file}"]),
    ("fabric_registry", {"kind": "redis"}, ["fabric_registry: kind: 'redis' is unknown; known are file, etcd, http"]),
    (
        "fabric_registry",
        {"kinds": "etcd"},
        ["fabric_registry: kinds: is not a known key; known are kind, urls, prefix"],
    ),
    (
        "fabric_registry",
        {"urls": ["https://a:2379"]},
        ["fabric_registry: urls: is not read by kind file", "etcd or http"],
    ),
    (
        "fabric_registry",
        {"kind": "http", "prefix": "/a"},
        ["prefix: is not read by kind http; take kind etcd, or leave"],
    ),
    ("fabric_registry", {"kind": "etcd", "interval": 5}, ["interval: is not read by kind etcd; take kind http"]),
    ("fabric_registry", {"kind": "etcd", "urls": "https://a"}, ["fabric_registry: urls: 'https://a' is not a list"]),
    (
        "fabric_registry",
        {"kind": "etcd", "urls": ["a:2379"]},
        ["fabric_registry: urls: 'a:2379' is not a URL", "https://"],
    ),
    ("fabric_registry", {"kind": "etcd", "urls": ["https://a/b"]}, ["urls: 'https://a/b' is not a URL", "2379"]),
    ("fabric_registry", {"kind": "http", "urls": ["ftp://a/b"]}, ["urls: 'ftp://a/b' is not a URL", "endpoints.json"]),
    ("fabric_registry", {"kind": "http", "urls": ["http://a/b c"]}, ["urls: 'http://a/b c' is not a URL"]),
    ("fabric_registry", {"kind": "http", "urls": ["http://a/" + "b" * 3000]}, ["is not a URL"]),
    ("fabric_registry", {"kind": "http", "urls": ["http://a/" + "b" * 1000]}, []),
    (
        "fabric_registry",
        {"kind": "etcd", "urls": ["https://u:topsecret@a"]},
        ["urls: has a user in it; write username"],
    ),
    (
        "fabric_registry",
        {"kind": "etcd", "prefix": "a"},
        ["fabric_registry: prefix: 'a' is not a prefix of keys", "/vtep.fabric"],
    ),
    ("fabric_registry", {"kind": "etcd", "prefix": "/a/"}, ["prefix: '/a/' is not a prefix of keys"]),
    ("fabric_registry", {"kind": "etcd", "prefix": "/a" * 51}, ["is not a prefix of keys", "up to 100"]),
    ("fabric_registry", {"kind": "etcd", "username": "a b"}, ["fabric_registry: username: 'a b' is not a name"]),
    ("fabric_registry", {"kind": "http", "interval": 0}, ["fabric_registry: interval: 0", "1 to 86400"]),
]


@pytest.mark.parametrize(
    ("path", "value", "said"), ONE, ids=[f"{path}={str(value)[:30]}" for path, value, _said in ONE]
)
def test_one_fault(path, value, said):
    found = set_(path, value)
    if said is MTU:
        assert len(found) == 3  # on every VTEP
    else:
        assert len(found) == (1 if said else 0), found
    for part in said:
        assert part in found[0]


def test_every_fault_has_where_and_key():
    for path, value, _said in ONE:
        for fault in set_(path, value):
            where, key, rest = fault.split(": ", 2)
            assert where in ("fabric", "s1", "s2", "s3", "sn1", "sn2", "reg1")
            assert key.split()[0].startswith(
                ("fabric_", "vtep_", "service_node_", "registry_", "underlay_ospf_", "preflight_host")
            )
            assert "topsecret" not in rest
            assert rest


def test_duplicate_vni():
    def change(words, hosts):
        words["fabric_segments"].append({"vni": 100})

    assert faults_of(change) == ["fabric: fabric_segments: vni: 100 is there twice; give each segment its own"]


def test_all_faults_at_once():
    def change(words, hosts):
        words["fabric_segments"][0]["mtu"] = "big"
        words["fabric_endpoints"][0].update(mac="x", vtep="s9")
        hosts["s1"]["vtep_address"] = "y"
        hosts["s2"]["vtep_underlay_interfaces"] = 7

    found = faults_of(change, "no-such-variant")
    assert len(found) == 6
    assert found[0] == ("fabric: variant: 'no-such-variant' is unknown; known are " + ", ".join(plan.VARIANTS))


@pytest.mark.parametrize("variant", [None, 7, ["multicast"], "", "Multicast"])
def test_unknown_variant(variant):
    (fault,) = faults_of(variant=variant)
    assert "known are " + ", ".join(plan.VARIANTS) in fault


def test_no_vteps():
    assert plan.read({}, {}, FLOOD) == (
        None,
        ["fabric: groups.vteps: has no hosts; put the VTEPs into the inventory's group vteps"],
    )


def test_families_mixed():
    def change(words, hosts):
        hosts["s1"]["vtep_address"] = "2001:db8:1::1"
        hosts["s2"]["vtep_address"] = "203.0.113.2"

    (fault,) = faults_of(change)
    assert fault.startswith(
        "s1: vtep_address: 2001:db8:1::1 is IPv6, and the underlay is IPv4 (s2 has no IPv6 address)"
    )
    assert "IPv4 and IPv6 cannot be mixed in one flood list" in fault


def test_family_given_and_lacking():
    def change(words, hosts):
        words["fabric_underlay_family"] = 6
        hosts["s2"]["vtep_address"] = ["203.0.113.2"]

    (fault,) = faults_of(change)
    assert fault.startswith(
        "s2: vtep_address: 203.0.113.2 is IPv4, and the underlay is IPv6 (fabric_underlay_family: 6)"
    )


@pytest.mark.parametrize(
    ("given", "without", "family"), [(None, None, 6), (None, "s2", 4), (4, None, 4), ("6", None, 6)]
)
def test_family(given, without, family):
    words, hosts = fabric()
    words["fabric_underlay_family"] = given
    if without:
        hosts[without]["vtep_address"] = "203.0.113.9"
    found, faults = plan.read(words, hosts, FLOOD)
    assert (found.family, faults) == (family, [])


def test_overhead_is_what_the_vxlan_module_has():
    assert vxlan.HEADER == overhead.VXLAN


def test_mtu_over_ipv4_needs_20_less():
    words, hosts = fabric()
    words["fabric_underlay_family"] = 4
    for host in hosts.values():
        host["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1550
    assert plan.read(words, hosts, FLOOD)[1] == []
    hosts["s2"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1549
    (fault,) = plan.read(words, hosts, FLOOD)[1]
    assert "eth0 has MTU 1549, and VNI 100 with MTU 1500 needs 1550 (VXLAN over IPv4 adds 50)" in fault


def test_mtu_counts_only_a_hosts_own_segments():
    """The large segment is not on s3."""

    def change(words, hosts):
        words["fabric_segments"][1]["mtu"] = 9000
        for host in ("s1", "s2"):
            hosts[host]["preflight_host"]["interfaces"].update(eth0={"mtu": 9070}, eth2={"mtu": 9000})

    assert faults_of(change) == []


def test_all_hosts_are_told_the_mtu_that_the_largest_segment_needs():
    """Those without it too: OSPF forms no adjacency between different MTUs, and the inventory does not tell who shares a link."""

    def change(words, hosts):
        words["fabric_segments"][1]["mtu"] = 1502
        for host in hosts.values():
            host["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1500

    found = faults_of(change)
    needs = [(1502, 1572), (1502, 1572), (1500, 1570)]
    assert len(found) == len(needs)
    for fault, (mtu, need) in zip(found, needs):
        assert f"with MTU {mtu} needs {need}" in fault
        assert "; write {dev: eth0, mtu: 1572}, and the same MTU on all hosts of that link, or set " in fault


def test_hosts_that_end_no_tunnel_are_told_that_mtu_too():
    """Below what IPv6 itself needs they are refused, and they may forward for others."""
    nodes, registry = service_nodes(), registry_hosts()
    for host in (*nodes.values(), *registry.values()):
        host["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1279
    found = faults_of(nodes=nodes, registry=registry)
    assert [fault.split(":")[0] for fault in found] == ["sn1", "sn2", "reg1"]
    assert all("needs 1280 with no encryption; write {dev: eth0, mtu: 1570}, and" in fault for fault in found)


def test_a_segment_that_fits_no_device_is_proposed_to_nobody():
    def change(words, hosts):
        words["fabric_segments"][1]["mtu"] = 65500
        hosts["s1"]["preflight_host"]["interfaces"].update(eth0={"mtu": 65535}, eth2={"mtu": 65535})
        hosts["s2"]["preflight_host"]["interfaces"].update(eth0={"mtu": 65535}, eth2={"mtu": 65535})
        hosts["s3"]["preflight_host"]["interfaces"]["eth0"]["mtu"] = 1500

    *large, small = faults_of(change)
    assert not any("write {dev" in fault for fault in large)
    assert "write {dev: eth0, mtu: 1570}, and" in small


def test_without_host_facts_nothing_is_said_of_them():
    def change(words, hosts):
        words["fabric_segments"][0]["mtu"] = 10000
        for host in hosts.values():
            host["preflight_host"] = None

    assert faults_of(change) == []


def test_dummy_loopback_on_a_kernel_without():
    def change(words, hosts):
        hosts["s1"]["preflight_host"]["features"]["dummy"] = False
        hosts["s1"]["vtep_loopback_device"] = "loop0"

    (fault,) = faults_of(change)
    assert fault == "s1: vtep_loopback_device: loop0 would be a dummy device, and the kernel has none; take lo"


def test_vlan_on_a_kernel_without():
    def change(words, hosts):
        hosts["s3"]["preflight_host"]["features"]["vlan"] = False
        hosts["s3"]["vtep_access_ports"] = [{"dev": "eth1", "vlan": 7}]

    (fault,) = faults_of(change)
    assert fault.startswith("s3: vtep_access_ports: eth1.7 would be VLAN devices, and the kernel has none")


def test_a_port_in_somebody_elses_bridge():
    def change(alias):
        def enslave(_words, hosts):
            interfaces = hosts["s2"]["preflight_host"]["interfaces"]
            interfaces["eth1"]["master"] = "lan"
            interfaces["lan"] = {"kind": "bridge", "alias": alias}

        return enslave

    (fault,) = faults_of(change(None))
    assert "s2: vtep_access_ports: eth1 is in lan, which vtep.fabric did not make" in fault
    assert faults_of(change("vtep.fabric segment 7")) == [], "a bridge that a former inventory named"


def test_the_same_address_twice_is_one_fault():
    def change(_words, hosts):
        for host in ("s1", "s3"):
            hosts[host]["vtep_address"] = "2001:db8:1::1"

    found = faults_of(change)
    assert [fault for fault in found if "also that of s1" in fault] == [
        "s3: vtep_address: 2001:db8:1::1 is also that of s1; give each host its own"
    ]


def test_a_variant_that_is_missing_is_not_called_unknown():
    assert faults_of(variant="") == [
        "fabric: variant: is missing; give it by -e variant=... or fabric_variant; known are "
        + ", ".join(plan.VARIANTS)
    ]


def test_dead_interval():
    def change(words, hosts):
        hosts["s1"].update(underlay_ospf_hello_interval=5, underlay_ospf_dead_interval=5)

    (fault,) = faults_of(change)
    assert fault.startswith("s1: underlay_ospf_dead_interval: 5 s is not longer than the hello interval of 5 s")


def test_dead_interval_against_the_default():
    (fault,) = set_("s1 underlay_ospf_hello_interval", 40)
    assert fault.startswith("s1: underlay_ospf_dead_interval: 40 s is not longer than the hello interval of 40 s")


def test_ospfv2_takes_shorter_keys():
    """MD5 is all that FRR's OSPFv2 has, and its key has 16 bytes."""
    authentication = {"key_id": 1, "algorithm": "hmac-sha-256", "key": "k" * 17}

    def change(words, hosts):
        for host in ("s1", "s2"):
            hosts[host]["underlay_ospf_authentication"] = authentication
        hosts["s1"]["vtep_address"] = "2001:db8:1::1"

    (fault,) = faults_of(change)
    assert fault == "s2: underlay_ospf_authentication: key: has 17 characters; md5 takes at most 16"


def test_a_secret_is_not_told():
    def change(words, hosts):
        hosts["s1"]["underlay_ospf_authentication"] = {"key_id": 1, "key": "hunter2 hunter2"}

    (fault,) = faults_of(change)
    assert fault.startswith("s1: underlay_ospf_authentication: key: ") and "hunter2" not in fault


def test_port_by_its_endpoints():
    """A bare name is in the VNI of the endpoints on it."""
    words, hosts = fabric()
    hosts["s2"]["vtep_access_ports"] = [{"dev": "eth1", "vni": 100}, "eth2"]
    found, faults = plan.read(words, hosts, FLOOD)
    assert not faults
    assert [(port.name, port.vni) for port in found.vteps["s2"].ports] == [("eth1", 100), ("eth2", 200)]


def test_port_with_endpoints_of_two_segments():
    def change(words, hosts):
        hosts["s2"]["vtep_access_ports"] = ["eth1", "eth2"]
        words["fabric_endpoints"] += [
            {"mac": "50:54:33:00:00:08", "vtep": "s2", "port": "eth1", "vni": 100},
            {"mac": "50:54:33:00:00:09", "vtep": "s2", "port": "eth1", "vni": 200},
        ]

    found = faults_of(change)
    assert found[0].startswith("s2: vtep_access_ports: eth1 could be in VNI 100, 200; write {dev: eth1, vni: ...}")


def test_trunk_named_by_an_endpoint_is_ambiguous():
    def change(words, hosts):
        hosts["s3"]["vtep_access_ports"] = [{"dev": "eth1", "vni": 100, "vlan": n} for n in (5, 6)]

    (fault,) = faults_of(change)
    assert fault == "fabric: fabric_endpoints row 3: port: eth1 of s3 can be eth1.5 or eth1.6; name one of them"


# Variant multicast


def test_multicast_needs_groups():
    found = set_("fabric_segments 0 multicast_group", DELETE, MULTICAST)
    assert found == [
        "fabric: fabric_segments: VNI 100: multicast_group: is missing; variant multicast needs one, such as ff05::100"
    ]
    assert set_("fabric_segments 0 multicast_group", DELETE, FLOOD) == []


def test_multicast_needs_the_underlays_family():
    (fault,) = set_("fabric_segments 0 multicast_group", "239.0.0.1", MULTICAST)
    assert "VNI 100: multicast_group: 239.0.0.1 is IPv4, and the underlay is IPv6" in fault
    assert set_("fabric_segments 0 multicast_group", "239.0.0.1", FLOOD) == []


def test_multicast_needs_one_underlay_interface():
    (fault,) = set_("s2 vtep_underlay_interfaces", ["eth0", "lo"], MULTICAST)
    assert fault.startswith("s2: vtep_underlay_interfaces: eth0, lo are 2")
    (fault,) = set_("s3 vtep_access_ports", [{"dev": "eth1", "vni": 100}, {"dev": "eth2", "vni": 100}, "eth2"])
    assert fault.startswith("s3: vtep_access_ports: eth2 is already used")


# Size


def test_row_57123_of_100000():
    words, hosts = fabric()
    words["fabric_endpoints"] = [
        {"mac": f"50:54:33:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", "vtep": "s1", "port": "eth1", "vni": 100}
        for n in range(100000)
    ]
    words["fabric_endpoints"][57122]["mac"] = "50:54:33:00:00:0g"
    assert plan.read(words, hosts, FLOOD)[1] == [
        "fabric: fabric_endpoints row 57123: mac: '50:54:33:00:00:0g' is not a MAC address; write it like 50:54:33:00:00:01"
    ]


def test_bounded():
    faults = [f"fault {n}" for n in range(250)]
    shown = plan.bounded(faults)
    assert shown[:100] == faults[:100]
    assert shown[100:] == ["and 150 more; the filter vtep.fabric.validate lists all with limit=0"]
    assert plan.bounded(faults, 0) == faults
    assert plan.bounded(faults[:100]) == faults[:100]


def test_large_junk_makes_a_short_fault():
    for junk in ("x" * 1000000, [["x" * 1000] * 1000] * 1000, {"k" * 100000: "v"}, {n: n for n in range(100000)}):
        for path in (
            "s1 vtep_address",
            "fabric_segments 0 vni",
            "fabric_endpoints 0 mac",
            "fabric_segments 0 multicast_group",
        ):
            for fault in set_(path, copy.copy(junk)):
                assert len(fault) < 600


# What only some variants need

ND, RSC, ROUTING = "unicast-static-nd", "unicast-static-rsc", "unicast-routing"


@pytest.mark.parametrize(
    ("path", "value", "variant", "said"),
    [
        ("fabric_endpoints 0 addresses", [], ND, ["fabric_endpoints: 50:54:33:00:00:01: addresses: is missing", ND]),
        ("fabric_endpoints 0 addresses", [], ROUTING, ["fabric_endpoints: 50:54:33:00:00:01: addresses: is missing"]),
        ("fabric_endpoints 0 addresses", [], FLOOD, []),
        ("fabric_endpoints 0 addresses", [], RSC, []),
        ("fabric_segments 1 routers", None, RSC, ["VNI 200: routers: is missing", "MAC address of the gateway"]),
        ("fabric_segments 1 routers", None, ND, []),
        ("fabric_segments 1 routers", [{"addresses": ["192.0.2.254/24"], "vtep_address": "2001:db8:99::1"}], RSC,
         ["row 2: routers row 1: mac: is missing", "give the gateway's MAC address"]),
        ("fabric_segments 0 routers 0 mac", "50:54:33:00:00:03", RSC, ["VNI 100: routers: 50:54:33:00:00:03 is also"]),
        ("fabric_segments 0 routers 0 addresses", ["2001:db8:ff::1/64"], RSC, ["2001:db8:ff::1 is also an address of"]),
        ("fabric_segments 0 routers 0 addresses", ["2001:db8:ff::9"], RSC, ["subnet of one address", "/64"]),
        ("fabric_segments 0 routers 0 vtep_address", "203.0.113.99", RSC, ["no IPv6 vtep_address"]),
        ("fabric_segments 0 routers", [ROUTER, ROUTER], RSC, ["02:00:00:00:00:01 is there twice"]),
        ("fabric_segments 0 routers", [ROUTER, dict(ROUTER, mac="02:00:00:00:00:02", addresses=["192.0.2.9/24"])], RSC,
         ["192.0.2.0/24 has gateways 02:00:00:00:00:01 and 02:00:00:00:00:02"]),
        ("fabric_segments 0 table", 0, ROUTING, ["row 1: table: 0", "1 to 4294967295"]),
        ("fabric_endpoints 1 addresses", ["2001:db8:ff::1"], ROUTING,
         ["2001:db8:ff::1 of VNI 200 is also in VNI 100", "table 254", "table of its own, such as 1000000200"]),
        ("fabric_endpoints 1 addresses", ["2001:db8:ff::1"], ND, []),
        ("fabric_endpoints 1 addresses", ["2001:db8:2::1"], ROUTING, ["2001:db8:2::1 is also the vtep_address of s2"]),
        ("s1 preflight_host features", {"lwtunnel": False}, ROUTING, ["s1: kernel: has no LWTUNNEL: CONFIG_LWTUNNEL"]),
        ("s1 preflight_host features", {"lwtunnel": False}, ND, []),
        ("s1 vtep_mac", "01:00:00:00:00:01", ROUTING, ["s1: vtep_mac: '01:00:00:00:00:01' is not a unicast MAC"]),
    ],
)  # fmt: skip
def test_one_fault_of_a_variant(path, value, variant, said):
    found = set_(path, value, variant)
    assert len(found) == (1 if said else 0), found
    for part in said:
        assert part in found[0]


def test_endpoints_of_two_gateways_on_one_vtep():
    """The kernel drops what comes from a MAC with a permanent row elsewhere, so both gateways' rows on one VTEP cut it off."""

    def change(words, hosts):
        words["fabric_segments"][0]["routers"].append(
            {"mac": "02:00:00:00:00:02", "addresses": ["2001:db8:fe::fe/64"], "vtep_address": "2001:db8:99::1"}
        )
        words["fabric_endpoints"].append(
            {"mac": "50:54:33:00:00:09", "addresses": ["2001:db8:fe::9"], "vtep": "s1", "port": "eth1", "vni": 100}
        )

    (fault,) = faults_of(change, RSC)
    assert fault.startswith("fabric: fabric_endpoints: VNI 100: s1 has endpoints of 2 gateways")


def test_tenants_with_the_same_addresses_have_tables_of_their_own():
    def change(words, hosts):
        words["fabric_endpoints"][1]["addresses"] = ["2001:db8:ff::1"]
        words["fabric_segments"][1]["table"] = 1000000200

    assert faults_of(change, ROUTING) == []


def test_one_vtep_mac_on_two_hosts():
    def change(words, hosts):
        hosts["s1"]["vtep_mac"] = hosts["s3"]["vtep_mac"] = "02:00:00:00:00:07"

    assert faults_of(change, ROUTING) == ["s3: vtep_mac: 02:00:00:00:00:07 is also that of s1; give each VTEP its own"]
    assert faults_of(change, ND) == []


# Service nodes

HREP, SNR = "vxfld-hrep", "vxfld-snr"


@pytest.mark.parametrize(
    ("path", "value", "variant", "said"),
    [
        ("fabric_service_address", None, HREP,
         ["fabric: fabric_service_address: is missing; variant vxfld-hrep needs an IPv6 address", "2001:db8:100::100"]),
        ("fabric_service_address", "203.0.113.100", SNR,
         ["fabric_service_address: 203.0.113.100 is IPv4, and the underlay is IPv6", "needs an IPv6 address"]),
        ("fabric_service_address", "none", SNR, ["fabric_service_address: 'none' is not an IP address"]),
        ("sn1 service_node_address", "203.0.113.91", SNR,
         ["sn1: service_node_address: 203.0.113.91 is IPv4, and the underlay is IPv6", "give sn1 an IPv6 address"]),
        ("sn1 service_node_address", "203.0.113.91", FLOOD, []),
        ("sn1 service_node_address", 7, SNR, ["sn1: service_node_address: '7' is not an IP address"]),
        ("sn1 preflight_host interfaces eth0 mtu", 1569, SNR,
         ["sn1: service_node_underlay_interfaces: eth0 has MTU 1569, and VNI 100 with MTU 1500 needs 1570"]),
        ("sn1 preflight_host interfaces eth0 mtu", 1569, HREP, []),
        ("fabric_segments 1 dstport", 8472, SNR,
         ["fabric_segments: VNI 200: dstport: 8472 differs from 4789 of VNI 100", "give all segments the same"]),
        ("fabric_segments 1 dstport", 8472, HREP, []),
        ("sn2 preflight_host interfaces old", {"vxlan": {"id": 7, "dstport": 4789, "family": 6, "flags": []}}, SNR,
         ["sn2: groups.service_nodes: the host has a VXLAN device old on UDP port 4789, which vxsnd needs"]),
        ("sn2 preflight_host interfaces old", {"vxlan": {"id": 7, "dstport": 4789, "family": 6, "flags": []}}, HREP, []),
        ("sn2 preflight_host interfaces old", {"vxlan": {"id": 7, "dstport": 4789, "family": 4, "flags": []}}, SNR, []),
        ("sn2 preflight_host interfaces old", {"vxlan": {"id": 7, "dstport": 8472, "family": 6, "flags": []}}, SNR, []),
        ("sn2 preflight_host interfaces old", {"vxlan": {"dstport": 4789, "family": 4, "flags": ["external"]}}, SNR,
         ["sn2: groups.service_nodes: the host has a VXLAN device old on UDP port 4789"]),
    ],
)  # fmt: skip
def test_one_fault_of_a_variant_with_service_nodes(path, value, variant, said):
    found = set_(path, value, variant)
    assert len(found) == (1 if said else 0), found
    for part in said:
        assert part in found[0]


def test_service_nodes_are_needed_and_wanted_by_no_other_variant():
    for variant in plan.VARIANTS:
        found = faults_of(variant=variant, nodes={})
        needed = f"fabric: groups.service_nodes: has no hosts; variant {variant} needs one at least"
        assert len(found) == variant.startswith("vxfld-")
        assert all(fault.startswith(needed) for fault in found)


@pytest.mark.parametrize("variant", [FLOOD, SNR])
def test_a_host_is_not_vtep_and_service_node(variant):
    nodes = service_nodes()
    nodes["s1"] = dict(nodes["sn1"], service_node_address="2001:db8:1::1")
    assert faults_of(variant=variant, nodes=nodes) == [
        "s1: groups.service_nodes: is in group vteps as well, and a service node runs on no VTEP; take it out of one of the groups"
    ]


def test_a_vtep_with_a_service_nodes_address_is_one_fault():
    """Told of the service node, once, though router ids are derived from addresses."""
    nodes = service_nodes()
    nodes["sn1"]["service_node_address"] = ["2001:db8:1::1", "203.0.113.1"]
    assert [fault.split(";")[0] for fault in faults_of(nodes=nodes)] == [
        "sn1: service_node_address: 2001:db8:1::1 is also that of s1",
        "sn1: service_node_address: 203.0.113.1 is also that of s1",
    ]


# The registry

L2, DYNAMIC_ND = "unicast-dynamic-l2", "unicast-dynamic-nd"
ETCD, HTTP = {"kind": "etcd"}, {"kind": "http", "urls": ["https://ipam.example.net/endpoints.json"]}


def dynamic_faults(registry=None, variant=DYNAMIC_ND, hosts=None, **words):
    return faults_of(
        lambda found, _hosts: found.update(fabric_registry=registry, **words), variant=variant, registry=hosts
    )


@pytest.mark.parametrize("variant", [L2, DYNAMIC_ND])
@pytest.mark.parametrize("count", range(5))
def test_etcd_decides_by_majority(variant, count):
    hosts = registry_hosts(count)
    said = {0: "has no hosts; variant", 2: "has 2 hosts; etcd decides by majority, so one less", 4: "has 4 hosts"}
    found = dynamic_faults(ETCD, variant, hosts)
    assert len(found) == (count in said)
    assert all(fault.startswith(f"fabric: groups.registry: {said[count]}") for fault in found)
    for other in (None, HTTP):
        assert dynamic_faults(other, variant, hosts) == []
    assert dynamic_faults(ETCD, FLOOD, hosts) == []


def test_an_etcd_of_ones_own_needs_no_hosts():
    assert dynamic_faults({**ETCD, "urls": ["https://etcd.example.net:2379"]}, hosts={}) == []


def test_the_user_is_one_that_etcd_can_have():
    for name in ("root", "a@b", "-a"):
        (fault,) = dynamic_faults({**ETCD, "username": name}, hosts=registry_hosts(1))
        assert fault.startswith(f"fabric: fabric_registry: username: {name!r} cannot be a user of the registry")
        assert dynamic_faults({**ETCD, "username": name, "urls": ["https://etcd.example.net:2379"]}, hosts={}) == []
    assert dynamic_faults({**ETCD, "username": "a.b-c_1"}, hosts=registry_hosts(1)) == []


def test_a_member_needs_an_address_of_the_underlays_family():
    hosts = registry_hosts(1)
    hosts["reg1"]["registry_address"] = "203.0.113.81"
    assert dynamic_faults(ETCD, hosts=hosts) == [
        "reg1: registry_address: 203.0.113.81 is IPv4, and the underlay is IPv6; give reg1 an IPv6 address as well"
    ]
    assert dynamic_faults(HTTP, hosts=hosts) == dynamic_faults(ETCD, FLOOD, hosts) == []


@pytest.mark.parametrize("variant", [L2, DYNAMIC_ND])
def test_http_needs_one_url(variant):
    said = "fabric: fabric_registry: urls: "
    example = "; kind http asks exactly one, such as [https://ipam.example.net/endpoints.json]"
    assert dynamic_faults({"kind": "http"}, variant) == [f"{said}is missing{example}"]
    assert dynamic_faults({"kind": "http", "urls": ["http://a", "http://b"]}, variant) == [f"{said}has 2 URLs{example}"]
    assert dynamic_faults({"kind": "http"}, FLOOD) == []


@pytest.mark.parametrize("variant", [L2, DYNAMIC_ND])
def test_a_file_is_made_from_the_list(variant):
    found = dynamic_faults(None, variant, fabric_endpoints=None)
    assert [fault.split(" answers")[0] for fault in found] == [
        f"fabric: fabric_endpoints: is missing; variant {variant}"
    ]
    assert dynamic_faults(None, variant, fabric_endpoints=[]) == []
    for registry in (ETCD, HTTP):
        assert dynamic_faults(registry, variant, fabric_endpoints=None) == []


def test_an_endpoint_without_addresses():
    row = {"mac": "50:54:33:00:00:01", "vtep": "s1", "port": "eth1", "vni": 100}
    (fault,) = dynamic_faults(fabric_endpoints=[row])
    assert fault.startswith(
        "fabric: fabric_endpoints: 50:54:33:00:00:01: addresses: is missing; variant unicast-dynamic-nd"
    )
    assert dynamic_faults(ETCD, fabric_endpoints=[row]) == dynamic_faults(HTTP, fabric_endpoints=[row]) == []
    assert dynamic_faults(variant=L2, fabric_endpoints=[row]) == []


def test_an_endpoint_with_more_addresses_than_the_agent_takes():
    row = {"name": "h1", "mac": "50:54:33:00:00:01", "vtep": "s1", "port": "eth1", "vni": 100}
    for count in (256, 257):
        row["addresses"] = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(count)]
        for registry in (None, ETCD):
            found = dynamic_faults(registry, fabric_endpoints=[dict(row)])
            assert len(found) == count - 256
            assert all("fabric_endpoints: h1: addresses: has 257, and the agent takes 256" in fault for fault in found)


def test_a_faulty_registry_brings_no_other_fault():
    assert len(dynamic_faults({"kind": "redis"}, fabric_endpoints=None)) == 1


@pytest.mark.parametrize(("host", "group"), [("s1", "vteps"), ("sn1", "service_nodes")])
def test_a_host_of_the_registry_is_nothing_else(host, group):
    hosts = registry_hosts(1)
    hosts[host] = hosts.pop("reg1")
    for variant in (FLOOD, DYNAMIC_ND):
        assert dynamic_faults(ETCD, variant, hosts) == [
            f"{host}: groups.registry: is in group {group} as well, and the registry has hosts of its own; take it out of one of the groups"
        ]

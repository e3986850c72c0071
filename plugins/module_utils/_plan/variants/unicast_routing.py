# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-routing: no bridge. A VTEP routes each endpoint's address into the tunnel to its VTEP, by a VXLAN device that
takes VNI and destination from the route (IFLA_VXLAN_COLLECT_METADATA, lwtunnel), and answers ARP and ND for it on the
access ports."""

from __future__ import annotations

from ..._model import values
from ..._model.segment import MAIN
from .. import access, overlay
from . import addresses

LENGTH = {4: 32, 6: 128}
RULE_PRIORITY = 1000  # before the main table's 32766; the local table's is 0
TABLES = 1000000000  # the number that a segment's table is proposed from
LAST = 4278198272  # a metric that loses against any other


def check(fabric, faults):
    addresses.check_given(fabric, "unicast-routing", faults)
    check_kernels(fabric, faults)
    check_macs(fabric, faults)
    check_tables(fabric, faults)


def check_kernels(fabric, faults):
    for vtep in fabric.vteps.values():
        if vtep.features.get("lwtunnel") is False:
            faults.add(vtep.host, "kernel", "has no LWTUNNEL: CONFIG_LWTUNNEL; variant unicast-routing needs it")


def check_macs(fabric, faults):
    seen = {}
    for vtep in fabric.vteps.values():
        other = seen.setdefault(vtep.mac, vtep.host)
        if other != vtep.host:
            faults.add(vtep.host, "vtep_mac", f"{vtep.mac} is also that of {other}; give each VTEP its own")


def check_tables(fabric, faults):
    """In one routing table an address leads to one place."""
    underlay = {address: vtep.host for vtep in fabric.vteps.values() for address in vtep.addresses.values()}
    seen = {}
    for segment in fabric.segments:
        for endpoint in fabric.members(segment):
            for address in endpoint.addresses:
                key = f"fabric_endpoints: {endpoint.name or endpoint.mac}: addresses"
                if segment.table == MAIN and address in underlay:
                    message = f"{address} is also the vtep_address of {underlay[address]}; give each its own"
                    faults.add("fabric", key, message)
                others = seen.setdefault((segment.table, address), [])
                if any(other is not segment and set(other.vteps) & set(segment.vteps) for other in others):
                    message = (
                        f"{address} of VNI {segment.vni} is also in VNI {others[0].vni}, and both are routed by table "
                        f"{segment.table}; give one of the segments a table of its own, such as {TABLES + segment.vni}"
                    )
                    faults.add("fabric", key, message)
                others.append(segment)


def compile_vtep(fabric, vtep):
    segments = fabric.segments_of(vtep)
    ports = {segment.vni: access.ports_of(vtep, segment) for segment in segments}
    return {
        "access": access.routed(fabric, vtep),
        "overlay": overlay.compile_vtep(
            vxlans=[vxlan(fabric, segment, vtep) for segment in segments],
            announce=overlay.announce(fabric, vtep, proxied=True),
            neighbors=[line for segment in segments for line in neighbors(fabric, segment, vtep, ports[segment.vni])],
            routes=[line for segment in segments for line in routes(fabric, segment, vtep)],
            rules=[rule for segment in segments for rule in rules(segment, ports[segment.vni])],
            sysctls=dict(setting for segment in segments for setting in sysctls(vtep, segment, ports[segment.vni])),
        ),
        "expect": {
            "broadcast_copies": {str(segment.vni): 0 for segment in segments},
            "paths": overlay.paths(
                (segment.vni, peer.mac, fabric.local(peer))
                for segment in segments
                for peer in fabric.peers(segment, vtep)
                if fabric.attached(segment, peer)
            ),
        },
    }


def vxlan(fabric, segment, vtep):
    """A device for module vtep.fabric.vxlan. The VNI filter keeps it to its own VNI, and lets segments share a UDP port."""
    return {
        **overlay.vxlan(fabric, segment, vtep),
        "external": True,
        "vnifilter": True,
        "vnis": [segment.vni],
        "address": vtep.mac,
        "learning": False,
        # The route's encapsulation asks for no UDP checksum, as iproute2 can only ask for one over IPv4.
        "udp_zero_csum6_tx": True,
        "udp_zero_csum6_rx": True,
        "master": "",
    }


def neighbors(fabric, segment, vtep, ports):
    """Where a frame goes behind the tunnel, the endpoints' own MACs, and for whom each port answers ARP and ND.

    proxy_arp would do for IPv4 without rows, but it answers for whatever the host has a route to: with a default route for
    every address, and so for ones that nobody has.
    """
    for endpoint in fabric.members(segment):
        peer = fabric.vteps[endpoint.vtep]
        port = fabric.device(endpoint) if peer is vtep else None
        for address in endpoint.addresses:
            # The host has no address on its ports to ask from, and the inventory knows.
            yield overlay.neighbor(address, port or segment.vxlan, endpoint.mac if port else peer.mac)
            yield from (f"{address} dev {name} proxy" for name in ports if name != port)


def routes(fabric, segment, vtep):
    """A host route for each endpoint, and an end to the lookup where the segment has a table of its own."""
    local = fabric.local(vtep)
    encap = "encap ip6" if fabric.family == 6 else "encap ip"
    table = "" if segment.table == MAIN else f" table {segment.table}"
    for endpoint in fabric.members(segment):
        way = f"dev {segment.vxlan}"
        if endpoint.vtep == vtep.host:
            way = f"dev {fabric.device(endpoint)}"
        else:
            dst = fabric.local_of(endpoint)
            way = f"{encap} id {segment.vni} src {local} dst {dst} ttl {segment.ttl} tos {segment.tos} {way}"
        for address in endpoint.addresses:
            yield f"{address}/{LENGTH[values.family(address)]} {way}{table}"
    if table:
        yield from (f"unreachable {everything}{table} metric {LAST}" for everything in ("0.0.0.0/0", "::/0"))


def rules(segment, ports):
    """What comes from a segment is looked up in its own table."""
    if segment.table != MAIN:
        for dev in (segment.vxlan, *ports):
            for family in (4, 6):
                yield {"family": family, "priority": RULE_PRIORITY, "iif": dev, "table": segment.table}


def sysctls(vtep, segment, ports):
    """(key, value). proxy_delay: by default an answer for another host waits up to 0.8 seconds."""
    single = vtep.features.get("force_forwarding")  # Linux 6.17: IPv6 forwarding of single devices
    for dev in (segment.vxlan, *ports):
        yield f"net/ipv4/conf/{dev}/forwarding", "1"
        yield f"net/ipv6/conf/{dev}/forwarding", "1"
        if single:
            yield f"net/ipv6/conf/{dev}/force_forwarding", "1"
    if not single:
        yield "net/ipv6/conf/all/forwarding", "1"
    for dev in ports:
        yield f"net/ipv6/conf/{dev}/proxy_ndp", "1"
        yield f"net/ipv4/neigh/{dev}/proxy_delay", "0"
        yield f"net/ipv6/neigh/{dev}/proxy_delay", "0"

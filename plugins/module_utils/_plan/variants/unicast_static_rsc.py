# SPDX-License-Identifier: GPL-3.0-or-later
"""unicast-static-rsc: route short circuit (IFLA_VXLAN_RSC). A frame that an endpoint sends to its gateway's MAC for another
endpoint of the segment, in another subnet, goes straight to that endpoint; the gateway need not exist.

A VTEP holds the rows of the gateways that its own endpoints use and of no others: the other gateways' MACs are what
arriving frames come from, and the kernel drops frames from a MAC that has a permanent row elsewhere (vxlan_snoop).
"""

from __future__ import annotations

from .. import bridged, overlay


def check(fabric, faults):
    for segment in fabric.segments:
        key = f"fabric_segments: VNI {segment.vni}: routers"
        if not segment.routers:
            message = (
                "is missing; variant unicast-static-rsc needs the MAC address of the gateway of each subnet, such as "
                "[{mac: '02:00:00:00:00:01', addresses: ['2001:db8:ff::1/64'], vtep_address: '2001:db8:99::1'}]"
            )
            faults.add("fabric", key, message)
        before = len(faults.found)
        check_routers(fabric, segment, key, faults)
        if len(faults.found) == before:
            for vtep in fabric.vteps.values():
                check_vtep(fabric, segment, vtep, faults)


def check_routers(fabric, segment, key, faults):
    stations = {endpoint.mac: endpoint for endpoint in fabric.members(segment)}
    addresses = {address: endpoint for endpoint in fabric.members(segment) for address in endpoint.addresses}
    seen = {}
    for router in segment.routers:
        if fabric.family not in router.vtep_addresses:
            message = (
                f"{router.mac} has no IPv{fabric.family} vtep_address, and the underlay is IPv{fabric.family}; add one"
            )
            faults.add("fabric", key, message)
        if router.mac in stations:
            name = stations[router.mac].name or router.mac
            faults.add("fabric", key, f"{router.mac} is also the MAC address of endpoint {name}; give each its own")
        if seen.setdefault(router.mac, router) is not router:
            faults.add("fabric", key, f"{router.mac} is there twice; list all its addresses in one row")
            continue
        for network in router.networks:
            if str(network.ip) in addresses:
                name = addresses[str(network.ip)].name or addresses[str(network.ip)].mac
                faults.add("fabric", key, f"{network.ip} is also an address of endpoint {name}; give each its own")
            other = seen.setdefault(network.network, router)
            if other is not router:
                faults.add("fabric", key, f"{network.network} has gateways {other.mac} and {router.mac}; keep one")


def check_vtep(fabric, segment, vtep, faults):
    used = routers_of(fabric, segment, vtep)
    if len(used) > 1:
        macs = ", ".join(router.mac for router in used)
        message = (
            f"{vtep.host} has endpoints of {len(used)} gateways ({macs}), and the kernel's short circuit serves one a VTEP "
            "and VNI; move the endpoints of one subnet to another VTEP or VNI"
        )
        faults.add("fabric", f"fabric_endpoints: VNI {segment.vni}", message)


def compile_vtep(fabric, vtep):
    return bridged.compile_vtep(
        fabric,
        vtep,
        settings=lambda segment: {"learning": True, "rsc": True},
        rows=lambda segment: rows(fabric, segment, vtep),
        copies=lambda segment: len(fabric.peers(segment, vtep)),
        neighbors=lambda segment: [
            overlay.neighbor(address, segment.vxlan, endpoint.mac)
            for endpoint, address in beyond(fabric, segment, vtep)
        ],
    )


def rows(fabric, segment, vtep):
    """Flooding as without the short circuit, the gateways, and the endpoints behind them: their own MACs are never seen
    as a source, since what they send comes from their gateway's, so they could not be learned."""
    gateways = [
        (router.mac, router.vtep_addresses[fabric.family], "router") for router in routers_of(fabric, segment, vtep)
    ]
    behind = dict.fromkeys(endpoint for endpoint, address in beyond(fabric, segment, vtep))
    macs = [(endpoint.mac, fabric.local_of(endpoint)) for endpoint in behind]
    return bridged.flood_rows(fabric, segment, vtep) + gateways + macs


def routers_of(fabric, segment, vtep):
    """The gateways of a VTEP's own endpoints."""
    addresses = [address for endpoint in fabric.attached(segment, vtep) for address in endpoint.addresses]
    return [router for router in segment.routers if any(router.serves(address) for address in addresses)]


def beyond(fabric, segment, vtep):
    """(endpoint, address) of all that the VTEP's own endpoints reach by their gateways."""
    near = routers_of(fabric, segment, vtep)
    return [
        (endpoint, address)
        for endpoint in (fabric.remote(segment, vtep) if near else ())
        for address in endpoint.addresses
        if not any(router.serves(address) for router in near)
    ]

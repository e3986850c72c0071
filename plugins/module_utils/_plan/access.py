# SPDX-License-Identifier: GPL-3.0-or-later
"""A VTEP's side towards the endpoints: bridges, access ports and, in restricted segments, the endpoints' own entries."""

from __future__ import annotations

from .._model import secured

# Every flag that one of the variants or the restricted mode sets, so that leaving it puts the flag back.
PORT = {
    "learning": True,
    "flood": True,
    "mcast_flood": True,
    "bcast_flood": True,
    "neigh_suppress": False,
    "isolated": False,
    "hairpin": False,
}


def compile_vtep(fabric, vtep):
    segments = fabric.segments_of(vtep)
    by_vni = {segment.vni: segment for segment in segments}
    ports = sorted(vtep.ports, key=lambda port: port.name)
    table = local_rows(fabric, vtep, {segment.vni for segment in segments if segment.restricted})
    return {
        "links": [
            *(bridge(segment) for segment in segments),
            *parents(ports),
            *(access_port(port, by_vni[port.vni]) for port in ports),
        ],
        "isolation": [
            *(segment.bridge for segment in segments),
            *(port.name for port in ports),
            *(segment.vxlan for segment in segments),
            *(secured.device(segment.vxlan) for segment in segments if fabric.encryption.macsec == "inside"),
        ],
        "routed": [],
        "fdb": {"dev": [port.name for port in ports], "table": "".join(line + "\n" for line in sorted(table))},
    }


def routed(fabric, vtep):
    """Of a variant without bridges: ports that stand alone and may forward within their segment only."""
    ports = sorted(vtep.ports, key=lambda port: port.name)
    segments = {segment.vni: segment for segment in fabric.segments_of(vtep)}
    return {
        "links": [*parents(ports), *(own_port(port, segments[port.vni]) for port in ports)],
        "isolation": [],
        "routed": [[segment.vxlan, *ports_of(vtep, segment)] for segment in segments.values()],
        "fdb": {"dev": [], "table": ""},
    }


def ports_of(vtep, segment):
    return sorted(port.name for port in vtep.ports if port.vni == segment.vni)


def bridge(segment):
    return {
        "name": segment.bridge,
        "type": "bridge",
        "mtu": segment.mtu,
        "alias": segment.alias,
        "addrgenmode": "none",
        "bridge": {"mcast_snooping": False, "stp_state": False},
        "up": True,
    }


def parents(ports):
    """The devices that carry tagged ports: they must be up, and are in a bridge only where they are a port as well."""
    plain = {port.name for port in ports}
    return [{"name": dev, "up": True} for dev in sorted({port.dev for port in ports} - plain)]


def access_port(port, segment):
    return {**own_port(port, segment), "master": segment.bridge, "port": port_settings(segment)}


def own_port(port, segment):
    """A port in no bridge."""
    link = {"name": port.name, "master": "", "up": True}
    if port.vlan is None:
        return link
    return {
        **link,
        "type": "vlan",
        "vlan": {"dev": port.dev, "id": port.vlan},
        "mtu": segment.mtu,
        "alias": segment.alias,
        "addrgenmode": "none",
    }


def port_settings(segment):
    """Restricted: an endpoint is reached by the MAC that the inventory gives it, and by broadcast and multicast."""
    return {**PORT, "learning": False, "flood": False} if segment.restricted else dict(PORT)


def vxlan_port(segment):
    """The VXLAN device as a port. Restricted: the bridge knows its local endpoints and learns no others. All else floods to
    the VXLAN device, and its own FDB decides."""
    return {**PORT, "learning": not segment.restricted}


def local_rows(fabric, vtep, restricted):
    return [
        f"{endpoint.mac} dev {fabric.device(endpoint)} static master"
        for endpoint in fabric.endpoints
        if endpoint.vtep == vtep.host and endpoint.vni in restricted
    ]

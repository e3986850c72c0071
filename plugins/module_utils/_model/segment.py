# SPDX-License-Identifier: GPL-3.0-or-later
"""A segment: one Ethernet network of the overlay, one VNI (RFC 7348)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from . import overhead, reading, values

MAIN = 254  # the routing table that a host looks into by itself (linux/rtnetlink.h: RT_TABLE_MAIN)


@dataclass(frozen=True)
class Router:
    """A gateway of endpoints that answers nowhere, or behind one VTEP: its frames take a short cut (variant -rsc)."""

    mac: str
    networks: tuple  # ip_interface: its address in each subnet that it serves
    vtep_addresses: dict  # family -> where frames go that no short cut is known for

    def serves(self, address):
        ip = ipaddress.ip_address(address)
        return any(ip in network.network for network in self.networks if network.version == ip.version)


@dataclass(frozen=True)
class Segment:
    vni: int
    name: str | None
    mtu: int
    inner_vlan_tags: int  # of endpoints' frames, which the MTU does not count
    multicast_group: str | None
    vteps: tuple  # names of the hosts that have it, in the inventory's order
    restricted: bool
    dstport: int
    ttl: int
    tos: int
    bridge: str
    vxlan: str
    routers: tuple
    table: int

    @property
    def alias(self):
        return f"vtep.fabric segment {self.vni}" + (f" {self.name}" if self.name else "")


def read(value, hosts, faults):
    """(the sound segments, the VNIs of all of them, None when some cannot be told). hosts: the names of all VTEPs."""
    segments = []
    vnis = []
    if value is None:
        faults.add("fabric", "fabric_segments", "is missing; write it into group_vars of vteps, such as [{vni: 100}]")
        return segments, None
    if value == []:
        faults.add("fabric", "fabric_segments", "is empty; name at least one segment, such as {vni: 100}")
    for _number, words in reading.rows(faults, "fabric", "fabric_segments", value):
        vni = words.get("vni", reading.vni, required="give each segment its number, 1 to 16777215")
        segment = Segment(
            vni=vni,
            name=words.get("name", label),
            mtu=words.get("mtu", reading.whole(68, 65535), 1500),
            inner_vlan_tags=words.get("inner_vlan_tags", reading.whole(0, overhead.MOST_TAGS), 0),
            multicast_group=words.get("multicast_group", reading.multicast_group),
            vteps=words.get("vteps", lambda value: subset(value, hosts), tuple(hosts)),
            restricted=words.get("restricted", reading.truth, False),
            dstport=words.get("dstport", reading.whole(1, 65535), 4789),
            ttl=words.get("ttl", reading.whole(1, 255), 5),
            tos=words.get("tos", reading.whole(0, 255), 0),
            bridge=words.get("bridge", reading.dev, f"br{vni}"),
            vxlan=words.get("vxlan", reading.dev, f"vxlan{vni}"),
            routers=tuple(read_routers(words)),
            table=words.get("table", reading.whole(1, 0xFFFFFFFF), MAIN),
        )
        if words.finish():
            segments.append(segment)
        vnis.append(vni)
    told = vnis and None not in vnis and len(vnis) == len(value)
    return segments, set(vnis) if told else None


def read_routers(words):
    words.known.append("routers")
    value = words.mapping.get("routers")
    for _number, inner in reading.rows(
        words.faults, words.where, f"{words.prefix}routers", [] if value is None else value
    ):
        router = Router(
            mac=inner.get("mac", reading.mac, required="give the gateway's MAC address, such as 02:00:00:00:00:01"),
            networks=inner.get(
                "addresses", router_addresses, required="give its address in each subnet, such as 2001:db8:ff::1/64"
            ),
            vtep_addresses=inner.get(
                "vtep_address",
                reading.host_addresses,
                required="give the address of the VTEP that it is behind; it may be that of none",
            ),
        )
        if inner.finish():
            yield router


def router_addresses(value):
    if not isinstance(value, list) or not value:
        raise ValueError(f"{reading.shown(value)} is not a list of addresses with prefix lengths")
    found = tuple(ipaddress.ip_interface(values.interface(reading.text(one))) for one in value)
    for one in found:
        if one.network.num_addresses == 1:
            raise ValueError(
                f"{one} is a subnet of one address; write the subnet's prefix length, such as {one.ip}/{64 if one.version == 6 else 24}"
            )
    return found


def label(value):
    """A segment's name goes into its devices' alias, which tools show on one line."""
    found = reading.text(value)
    if not found.isprintable() or len(found) > 64:
        raise ValueError(f"{found!r} is not a name; take up to 64 printable characters")
    return found


def subset(value, hosts):
    if not isinstance(value, list) or not value:
        raise ValueError(f"{reading.shown(value)} is not a list of VTEPs; leave it out for all of them")
    names = [reading.text(name) for name in value]
    unknown = [name for name in names if name not in hosts]
    if unknown:
        raise ValueError(f"{', '.join(unknown[:5])} is not in group vteps; add the host there or take the name out")
    return tuple(host for host in hosts if host in names)


def check_duplicates(segments, faults):
    vnis, devices = {}, {}
    for number, segment in enumerate(segments, 1):
        if vnis.setdefault(segment.vni, number) != number:
            faults.add("fabric", "fabric_segments: vni", f"{segment.vni} is there twice; give each segment its own")
            continue  # so are its devices' names
        for key, dev in (("bridge", segment.bridge), ("vxlan", segment.vxlan)):
            if devices.setdefault(dev, (number, key)) != (number, key):
                faults.add("fabric", f"fabric_segments: {key}", f"{dev} names two devices; give each its own name")

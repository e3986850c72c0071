# SPDX-License-Identifier: GPL-3.0-or-later
"""A segment: one Ethernet network of the overlay, one VNI (RFC 7348)."""

from __future__ import annotations

from dataclasses import dataclass

from . import reading


@dataclass(frozen=True)
class Segment:
    vni: int
    name: str | None
    mtu: int
    multicast_group: str | None
    vteps: tuple  # names of the hosts that have it, in the inventory's order
    restricted: bool
    dstport: int
    ttl: int
    tos: int
    bridge: str
    vxlan: str

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
            multicast_group=words.get("multicast_group", reading.multicast_group),
            vteps=words.get("vteps", lambda value: subset(value, hosts), tuple(hosts)),
            restricted=words.get("restricted", reading.truth, False),
            dstport=words.get("dstport", reading.whole(1, 65535), 4789),
            ttl=words.get("ttl", reading.whole(1, 255), 5),
            tos=words.get("tos", reading.whole(0, 255), 0),
            bridge=words.get("bridge", reading.dev, f"br{vni}"),
            vxlan=words.get("vxlan", reading.dev, f"vxlan{vni}"),
        )
        if words.finish():
            segments.append(segment)
        vnis.append(vni)
    told = vnis and None not in vnis and len(vnis) == len(value)
    return segments, set(vnis) if told else None


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

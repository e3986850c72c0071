# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTU planner: the overlay's MTU out of the underlay's or the other way round, with an account of every byte."""

from __future__ import annotations

import re
from dataclasses import replace

from .._model import encryption, overhead, reading

WORDS = ("family", "encryption", "vlan_tags", "vlan_tags_counted", "inner_vlan_tags", "carries_ipv6")


def plan(mtu, known, words):
    """(the plan as plain data, every fault). mtu: in bytes; known: whose it is, `underlay` or `overlay`; words: those of WORDS."""
    faults = reading.Faults()
    inner = reading.Words(faults, "mtu_plan", "", {"mtu": mtu, "known": known, **words})
    known = inner.get("known", reading.choice("underlay", "overlay"), required="write underlay or overlay")
    mtu = inner.get("mtu", reading.whole(overhead.IPV4_MIN, overhead.MAX), required="give the MTU that is known")
    carries_ipv6 = inner.get("carries_ipv6", reading.truth, True)
    stack = overhead.Stack(
        family=inner.get("family", lambda value: int(reading.choice("4", "6")(value)), 6),
        encryption=encryption_of(inner),
        vlan_tags=inner.get("vlan_tags", reading.whole(0, overhead.MOST_TAGS), 0),
        vlan_tags_counted=inner.get("vlan_tags_counted", reading.truth, False),
        inner_vlan_tags=inner.get("inner_vlan_tags", reading.whole(0, overhead.MOST_TAGS), 0),
    )
    if stack.vlan_tags_counted and stack.vlan_tags == 0:
        inner.fault("vlan_tags_counted", "is true, and there are no vlan_tags to count; say how many, or leave it out")
    if not inner.finish():
        return None, faults.found
    if known == "overlay":
        overlay, underlay = mtu, max(overhead.needed(stack, mtu), overhead.least(stack))
        fault = refused_overlay(stack, overlay, underlay, carries_ipv6)
    else:
        overlay, underlay = overhead.largest(stack, mtu), mtu
        fault = refused_underlay(stack, overlay, underlay, carries_ipv6)
    if fault:
        return None, [f"mtu_plan: mtu: {fault}"]
    return told(stack, overlay, underlay), []


def encryption_of(words):
    """The Encryption of a mode or of a mapping like fabric_encryption, whose words must be those of its mode."""
    words.known.append("encryption")
    value = words.mapping.get("encryption")
    mode, mapping = (value, None) if isinstance(value, str) else (None, value)
    faults = reading.Faults()
    found = encryption.read(mapping, mode, faults, strict=True)
    # They tell of the inventory's word, which is another place.
    words.faults.found += [
        re.sub("^fabric: (fabric_)?encryption: ", "mtu_plan: encryption: ", fault) for fault in faults.found
    ]
    if found is None or found.mode != "macsec-mka":
        return found
    if (mapping or {}).get("macsec_mode") is None:
        return replace(found, macsec_mode="underlay")  # the only one that it has
    if found.macsec == "inside":
        message = "inside does not go with macsec-mka, which agrees on keys on the underlay's links; take underlay"
        words.fault("encryption: macsec_mode", message)
    return found


def refused_overlay(stack, overlay, underlay, carries_ipv6):
    if carries_ipv6 and overlay < overhead.IPV6_MIN:
        return (
            f"{overlay} is below {overhead.IPV6_MIN}, the least that IPv6 needs (RFC 8200, section 5); raise it, or write "
            "carries_ipv6: false where endpoints have no IPv6"
        )
    if underlay > overhead.MAX:
        return (
            f"{overlay} of the overlay needs {underlay} of the underlay, and no device has more than {overhead.MAX}; take "
            f"{overhead.largest(stack, overhead.MAX)} at most"
        )
    return None


def refused_underlay(stack, overlay, underlay, carries_ipv6):
    if underlay < overhead.least(stack):
        return f"{underlay} is too small for an underlay of IPv{stack.family}{below(stack)}; it takes {overhead.least(stack)} at least"
    low = overhead.IPV6_MIN if carries_ipv6 else overhead.IPV4_MIN
    if overlay >= low:
        return None
    need = max(overhead.needed(stack, low), overhead.least(stack))
    leaves = f"leaves {overlay} for the overlay" if overlay > 0 else "leaves nothing for the overlay"
    least = f"{low} is the least that IPv{6 if carries_ipv6 else 4} needs (RFC {'8200, section 5' if carries_ipv6 else '791, 3.2'})"
    return f"{underlay} {leaves}, and {least}; raise it to {need}" + (
        ", or write carries_ipv6: false where endpoints have no IPv6"
        if carries_ipv6 and overlay >= overhead.IPV4_MIN
        else ""
    )


def below(stack):
    parts = ["MACsec"] if stack.encryption.macsec == "underlay" else []
    parts += ["VLAN tags"] if stack.vlan_tags_counted and stack.vlan_tags else []
    return f" below {' and '.join(parts)}" if parts else ""


def told(stack, overlay, underlay):
    """What a plan tells, with running sums: `mtu` of what the link's MTU has to hold, `wire` of what a capture shows."""
    need = overhead.needed(stack, overlay)
    rows, mtu, wire = [], 0, 0
    for layer in overhead.layers(stack, overlay):
        mtu += layer.bytes if layer.counts != overhead.WIRE else 0
        wire += layer.bytes if layer.counts != overhead.RESERVE else 0
        rows.append({"part": layer.part, "bytes": layer.bytes, "mtu": mtu, "wire": wire, "source": layer.source})
    return {
        "overlay_mtu": overlay,
        "underlay_mtu": underlay,
        "vxlan_mtu": overhead.device_mtu(stack, overlay),
        "overhead": need - overlay,
        "spare": underlay - need,
        "wire": wire,
        "layers": rows,
        "lines": lines(rows, underlay, need),
    }


def lines(rows, underlay, need):
    yielded = ["bytes    MTU   wire"]
    yielded += [f"{r['bytes']:5}  {r['mtu']:5}  {r['wire']:5}  {r['part']} ({r['source']})" for r in rows]
    spare = f", {underlay - need} to spare" if underlay > need else ""
    yielded.append(
        f"the underlay's MTU is {underlay}{spare}; the longest frame on the wire is {rows[-1]['wire']} without FCS"
    )
    return yielded

# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN devices: every attribute that the kernel has (Linux 6.18), and what goes with what.

Whether an attribute is live, its range and the rules in `check_final` are those of drivers/net/vxlan/vxlan_core.c
(vxlan_nl2conf, vxlan_config_validate, vxlan_changelink); the kernel tests try each of them.
"""

from __future__ import annotations

import ipaddress

from . import values, vnis
from .errors import InputError
from .link import (
    LINK,
    PORT,
    Attribute,
    Device,
    check,
    normal,
    parse,
    parse_name,
    twice,
)

PORT_IANA = 4789  # RFC 7348, section 8
PORT_GPE = 4790
AGEING = 300  # seconds; the kernel's default, which it also takes for 0
HEADER = {4: 50, 6: 70}  # bytes before the inner packet: outer IP and UDP, VXLAN, inner Ethernet


def _a(option, kernel, number, form, low=0, high=0, **more):
    return Attribute(option, f"IFLA_VXLAN_{kernel}", number, form, "data", low, high, **more)


def _new(option, kernel, number, form, low=0, high=0, **more):
    """An attribute that only a new device takes."""
    return _a(option, kernel, number, form, low, high, live=False, **more)


ATTRIBUTES = (
    _new("id", "ID", 1, "u32", 1, values.VNI_MAX, default=0, since="3.7"),
    _a("group", "GROUP", 2, "ip", number6=16, default="", since="3.7"),
    _a("local", "LOCAL", 4, "ip", number6=17, default="", since="3.7"),
    _a("dev", "LINK", 3, "dev", absent="", default="", since="3.7"),
    _new("dstport", "PORT", 15, "be16", 1, 65535, default=PORT_IANA, since="3.10"),
    _new("srcport", "PORT_RANGE", 10, "ports", 0, 65535, default="0-0", since="3.7"),
    _a("ttl", "TTL", 5, "u8", 0, 255, default=0, since="3.7"),
    _new("ttl_inherit", "TTL_INHERIT", 28, "inheritflag", absent=False, default=False, since="4.18"),
    _a("tos", "TOS", 6, "tos", 0, 255, default=0, since="3.7"),
    _a("df", "DF", 29, "word", words=("unset", "set", "inherit"), absent="unset", default="unset", since="4.20"),
    _a("label", "LABEL", 26, "be32", 0, 0xFFFFF, absent=0, default=0, since="4.6"),
    _a(
        "label_policy",
        "LABEL_POLICY",
        32,
        "word32",
        words=("fixed", "inherit"),
        absent="fixed",
        default="fixed",
        since="6.8",
        probed=True,
    ),
    _a("ageing", "AGEING", 8, "u32", 1, 0xFFFFFFFF, default=AGEING, since="3.7"),
    _new("limit", "LIMIT", 9, "u32", 0, 0xFFFFFFFF, default=0, since="3.7"),
    _a("learning", "LEARNING", 7, "bool", default=True, since="3.7"),
    _new("proxy", "PROXY", 11, "bool", default=False, since="3.8"),
    _new("rsc", "RSC", 12, "bool", default=False, since="3.8"),
    _new("l2miss", "L2MISS", 13, "bool", default=False, since="3.8"),
    _new("l3miss", "L3MISS", 14, "bool", default=False, since="3.8"),
    _new("udp_csum", "UDP_CSUM", 18, "bool", default=True, since="3.16"),
    _new("udp_zero_csum6_tx", "UDP_ZERO_CSUM6_TX", 19, "bool", default=False, since="3.16"),
    _new("udp_zero_csum6_rx", "UDP_ZERO_CSUM6_RX", 20, "bool", default=False, since="3.16"),
    _new("remcsum_tx", "REMCSUM_TX", 21, "bool", default=False, since="4.0"),
    _new("remcsum_rx", "REMCSUM_RX", 22, "bool", default=False, since="4.0"),
    _new("remcsum_nopartial", "REMCSUM_NOPARTIAL", 24, "flag", absent=False, default=False, since="4.0"),
    _new("gbp", "GBP", 23, "flag", absent=False, default=False, since="4.0"),
    _new("gpe", "GPE", 27, "flag", absent=False, default=False, since="4.7"),
    _new("external", "COLLECT_METADATA", 25, "bool", absent=False, default=False, since="4.3"),
    _new("vnifilter", "VNIFILTER", 30, "bool", absent=False, default=False, since="5.18", probed=True),
    _a("localbypass", "LOCALBYPASS", 31, "bool", absent=True, default=True, since="6.5", probed=True),
    _new("reserved_bits", "RESERVED_BITS", 33, "bits", 0, 2**64 - 1, since="6.14", probed=True),
    # Up to 6.18 at least vxlan_fill_info does not tell it.
    _a("mc_route", "MC_ROUTE", 34, "bool", absent=False, default=False, since="6.17", reported=False, probed=True),
    Attribute("vnis", "VXLAN_VNIFILTER_ENTRY", 1, "vnis", "filter", 1, values.VNI_MAX, since="5.18"),
)
KINDS = {"vxlan": ATTRIBUTES}
OPTIONS = {attribute.option: attribute for attribute in (*LINK, *ATTRIBUTES, *PORT)}
DEFAULTS = {attribute.option: attribute.default for attribute in ATTRIBUTES if attribute.default is not None}

# Bits of the VXLAN header that a device uses itself, by option (include/net/vxlan.h); the others are reserved.
USED_BITS = 0x08000000_FFFFFF00
USED_BITS_BY = {"remcsum_rx": 0x00200000_000000FF, "gbp": 0x80FFFFFF_00000000, "gpe": 0x350000FF_00000000}
# A device's reserved_bits after any live change, whatever it uses: vxlan_nl2conf looks at the request only (6.14 to 6.18).
RESERVED_AFTER_A_CHANGE = f"0x{~USED_BITS & (2**64 - 1):016x}"
# What tells two devices with one VNI and port apart (VXLAN_F_RCV_FLAGS): they use different sockets.
SOCKET = ("gbp", "gpe", "udp_zero_csum6_rx", "remcsum_rx", "remcsum_nopartial", "external", "vnifilter")
# What a GPE device may not have (VXLAN_F_ALLOWED_GPE names what it may).
NOT_WITH_GPE = (
    "learning",
    "proxy",
    "rsc",
    "l2miss",
    "l3miss",
    "gbp",
    "ttl_inherit",
    "remcsum_tx",
    "remcsum_rx",
    "remcsum_nopartial",
)


def devices(entries):
    """The normal form of the vxlan module's entries. Raises InputError with every fault."""
    faults, result = [], []
    for position, options in enumerate(entries):
        name = parse_name(options, position, faults)
        absent = options.get("state") == "absent"
        options = dict(options, group=_remote(name, options, faults))
        wanted = {} if absent else parse(name, options, OPTIONS, faults)
        device = Device(
            name=name, kind="vxlan", present=not absent, recreate=bool(options.get("recreate")), wanted=wanted
        )
        check(device, faults)
        faults.extend(f"{name}: {fault}" for fault in conflicts(wanted))
        if wanted.get("ttl") and wanted.get("ttl_inherit"):
            faults.append(f"{name}: ttl: with ttl_inherit it has no effect; give one of the two")
        result.append(device)
    twice(result, faults)
    if faults:
        raise InputError(faults)
    return tuple(result)


def _remote(name, options, faults):
    """`group` and `remote` are one attribute of the kernel: the default destination, multicast or unicast."""
    group, remote = options.get("group"), options.get("remote")
    if group is not None and remote is not None:
        faults.append(f"{name}: group, remote: give one of the two")
    for option, value, multicast in (("group", group, True), ("remote", remote, False)):
        try:
            address = normal(OPTIONS["group"], value) if value else ""
        except ValueError:
            continue  # parse() reports it
        if address and not values.is_any(address) and values.is_multicast(address) != multicast:
            other = "remote" if multicast else "group"
            faults.append(f"{name}: {option}: {value} is {'not ' if multicast else ''}multicast; {other} takes it")
    return remote if group is None else group


def family(has):
    """4 or 6: the underlay's address family, which the kernel takes from local and group."""
    return 6 if any(has.get(option) and values.family(has[option]) == 6 for option in ("local", "group")) else 4


def _real(has, option):
    """An address that is not the unspecified one, or None."""
    text = has.get(option)
    return ipaddress.ip_address(text) if text and not values.is_any(text) else None


def conflicts(has):
    """What does not go together among values that are known. An option that is not in `has` is not judged."""
    faults = []
    local, group = _real(has, "local"), _real(has, "group")
    if local and group and local.version != group.version:
        faults.append(f"local, group: {local} and {group} are of different families")
    if local and local.is_multicast:
        faults.append(f"local: {local} is multicast; it must be an address of this host")
    if group and group.is_multicast and has.get("dev") == "":
        faults.append(f"dev: the multicast group {group} needs it")
    faults.extend(_scopes(has, local, group))
    if family(has) == 4 and (local or group or ("local" in has and "group" in has)):
        faults.extend(
            f"{option}: it goes with an IPv6 underlay only (local or group or remote of IPv6)"
            for option in ("label", "label_policy")
            if has.get(option) not in (None, 0, "fixed")
        )
    if has.get("external") and has.get("id"):
        faults.append("id: an external device takes the VNI from each packet; leave it out")
    if has.get("vnifilter") and has.get("external") is False:
        faults.append("vnifilter: it needs external: true")
    if has.get("vnis") is not None and has.get("vnifilter") is False:
        faults.append("vnis: it needs vnifilter: true and external: true")
    if has.get("gpe"):
        if has.get("external") is False:
            faults.append("gpe: it needs external: true")
        faults.extend(f"gpe: {option} must be false with it" for option in NOT_WITH_GPE if has.get(option))
    if has.get("reserved_bits"):
        overlap = int(has["reserved_bits"], 16) & used_bits(has)
        if overlap:
            faults.append(f"reserved_bits: 0x{overlap:016x} of {has['reserved_bits']} are bits that the device uses")
    return faults


def _scopes(has, local, group):
    """Link-local addresses of IPv6: both ends or neither, and a device to send them by."""
    if not (local or group) or (local or group).version == 4 or has.get("external"):
        return
    if local and local.is_link_local:
        if group and not (group.is_link_local or (group.is_multicast and str(group).startswith("ff02:"))):
            yield f"local, group: {local} is link-local and {group} is not"
        if has.get("dev") == "":
            yield f"dev: the link-local address {local} needs it"
    elif group and group.is_link_local and "local" in has:
        yield f"local, group: {group} is link-local and local is not"


def used_bits(has):
    bits = USED_BITS
    for option, more in USED_BITS_BY.items():
        if has.get(option):
            bits |= more
    return bits


def default_reserved_bits(has):
    return f"0x{~used_bits(has) & (2**64 - 1):016x}"


def check_final(device, final, exists):
    """Faults of a device as it will be: what it has, or a new one's defaults, with what is wanted on top."""
    # What a device that is made anew has of the old one, and cannot keep, is no fault.
    final = {**final, **{option: device.wanted.get(option) for option in ("reserved_bits", "vnis")}}
    faults = conflicts(final)
    if not exists and not final.get("id") and not final.get("external"):
        faults.append("id: a new VXLAN device needs it (or external: true)")
    return [f"{device.name}: {fault}" for fault in faults]


def port_default(wanted):
    """The kernel's own default is 8472, for history; a new device gets the assigned port."""
    return PORT_GPE if wanted.get("gpe") else PORT_IANA


def socket_key(has):
    """Two devices of one network namespace cannot have the same (vxlan_vni_in_use). None: it cannot be said."""
    local = _real(has, "local")
    if local is not None and local.is_link_local:
        return None
    return (has.get("id") or 0, has.get("dstport"), family(has), *(bool(has.get(option)) for option in SOCKET))


def taken(outlook):
    """(device, VNI, other device) for each device with a VNI filter that wants what another has on the same socket."""
    sockets = {}
    for name, has in outlook.items():
        key = socket_key(has) if has.get("vnifilter") else None
        if key is not None:
            sockets.setdefault(key, []).extend((start, end, name) for start, end in vnis.ranges(has.get("vnis")))
    for entries in sockets.values():
        last = None
        for entry in sorted(entries):
            if last and entry[0] <= last[1]:
                yield entry[2], entry[0], last[2]
            if not last or entry[1] > last[1]:
                last = entry


def overhead(has):
    return HEADER[family(has)] - (14 if has.get("gpe") else 0)

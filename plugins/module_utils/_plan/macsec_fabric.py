# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec in a fabric: which devices a host has, whom each hears, and what each sends and receives with while keys change.

underlay: a device on each interface towards the other hosts takes its place in the underlay. The inventory does not tell who
shares a link, so each device has a channel for every other one of the fabric; those that never hear anybody cost nothing.
inside: a device on each VXLAN device takes its place in the bridge, and has a channel for each other VTEP of the segment.

An SCI is made of the host's address and the interface's place, so that it is the same after a reboot and known of hosts that are
away. Keys are never the same again, see macsec_keys.py.
"""

from __future__ import annotations

from .._model import overhead, secured
from .._model.errors import InputError
from .._model.link import is_owned
from .._model.vtep import derived_mac
from . import access, macsec_keys, underlay

# Of one device: so many fit the kernel's answer of 32 KiB (macsec_dump_txsc) with two associations each, as while keys change, and none
# can be read of more.
CHANNELS = 85
# Packets that may come late: what takes several ways, or a card's several queues, is not always in order.
WINDOW = 1024
# Share of the packet numbers. A quarter of 2^32 packets of 1500 bytes lasts 21 minutes at 10 Gbit/s.
ROTATE_AT = 0.75
STEPS = ("settle", "receive", "transmit", "drop")


# What must hold


def check(fabric, variant_hosts, faults):
    """Adds what keeps MACsec from working. variant_hosts: the hosts that take part."""
    how = fabric.encryption
    if how is None or not how.macsec:
        return
    if how.mode == "macsec" and not how.macsec_secret:
        message = "is missing; give 64 hexadecimal digits that nobody knows (openssl rand -hex 32), in a vault"
        faults.add("fabric", "fabric_encryption: macsec_secret", message)
    if how.mode == "macsec-mka" and not how.mka_keys:
        message = "is missing; write [{ckn: ..., cak: ...}] with 32 or 64 hexadecimal digits for the cak (openssl rand -hex 16), in a vault"
        faults.add("fabric", "fabric_encryption: mka_keys", message)
    if how.mode == "macsec-mka" and how.macsec != "underlay":
        message = (
            f"{how.macsec} does not go with macsec-mka, which agrees on keys on the underlay's links; take underlay"
        )
        faults.add("fabric", "fabric_encryption: macsec_mode", message)
    if how.mode == "macsec-mka" and (how.macsec_cipher != "gcm-aes-128" or not how.macsec_send_sci):
        message = (
            "macsec-mka has gcm-aes-128 with SCIs only, which every supplicant of Debian has; leave both words out"
        )
        faults.add("fabric", "fabric_encryption: macsec_cipher, macsec_send_sci", message)
    if how.macsec == "inside" and not how.macsec_send_sci:
        message = (
            "false tells the sender by the frame's MAC address, and inside the VXLAN that is an endpoint's; leave it out, or "
            "take macsec_mode: underlay"
        )
        faults.add("fabric", "fabric_encryption: macsec_send_sci", message)
    for node in variant_hosts:
        check_node(fabric, node, variant_hosts, faults)


def check_node(fabric, node, hosts, faults):
    if node.features.get("macsec") is False and lowers(fabric, node):
        faults.add(
            node.host, "encryption", "kernel has no MACsec: CONFIG_MACSEC; take another mode of encryption, or none"
        )
    elif "xpn" in fabric.encryption.macsec_cipher and node.features.get("macsec_xpn") is False and lowers(fabric, node):
        message = "kernel has no MACsec with extended packet numbers: Linux 5.7; take gcm-aes-128 or gcm-aes-256"
        faults.add(node.host, "fabric_encryption: macsec_cipher", message)
    for dev in lowers(fabric, node):
        name = secured.device(dev)
        known = (node.interfaces or {}).get(name, {})
        if "alias" in known and not (known.get("kind") == "macsec" and is_owned(known["alias"])):
            message = f"the host has a {known.get('kind') or 'network'} device {name}, which MACsec on {dev} is to be called; rename it"
            faults.add(node.host, "encryption", message)
        # A supplicant makes channels for those that are on the link.
        heard = 0 if fabric.encryption.mode == "macsec-mka" else len(peers(fabric, node, dev, hosts))
        if heard > CHANNELS:
            message = (
                f"{name} would hear {heard} others, and the kernel tells about {CHANNELS} channels of a device; take ipsec, or "
                "smaller segments with macsec_mode: inside"
            )
            faults.add(node.host, "encryption", message)
    for one in node.underlay if fabric.encryption.macsec == "underlay" and 4 in node.addresses else ():
        if not any("." in text for text in one.addresses or ()):
            message = (
                f"{one.dev} has no IPv4 address that can go with OSPFv2 to {secured.device(one.dev)}; write "
                f"{{dev: {one.dev}, addresses: [169.254.1.1/24]}}, with another address of the link's network on each host"
            )
            faults.add(node.host, node.word("underlay_interfaces"), message)


# What a host has


def lowers(fabric, node):
    """The devices that MACsec is on."""
    if fabric.encryption.macsec == "underlay":
        return [one.dev for one in node.underlay]
    return [segment.vxlan for segment in fabric.segments_of(node)] if node.kind == "vtep" else []


def carrier(fabric, dev):
    """The device that the underlay runs on: an interface, or MACsec on it."""
    return secured.device(dev) if fabric.encryption.macsec == "underlay" else dev


def compile_node(fabric, node, hosts):
    """The section `macsec` of a host's plan, None without MACsec. hosts: all that take part."""
    how = fabric.encryption
    if not how.macsec:
        return None
    devs = lowers(fabric, node)
    under = how.macsec == "underlay"
    return {
        "where": how.macsec,
        "mka": how.mode == "macsec-mka",
        "cipher": how.macsec_cipher,
        "devices": [link_device(fabric, node, one) for one in node.underlay]
        if under
        else [segment_device(fabric, node, segment) for segment in fabric.segments_of(node) if devs],
        "ports": []
        if under
        else [
            {"name": secured.device(segment.vxlan), "master": segment.bridge, "port": access.vxlan_port(segment)}
            for segment in fabric.segments_of(node)
            if devs
        ],
        "peers": {secured.device(dev): peers(fabric, node, dev, hosts) for dev in devs},
        "vxlan_ports": sorted({segment.dstport for segment in fabric.segments}) if under else [],
    }


def common(fabric, dev):
    how = fabric.encryption
    return {
        "name": secured.device(dev),
        "dev": dev,
        "alias": f"{secured.ALIAS} {dev}",
        "cipher": how.macsec_cipher,
        "send_sci": how.macsec_send_sci,
        "validate": "strict",
        "encrypt": True,
        **({} if how.mode == "macsec-mka" else {"replay": True, "window": WINDOW}),
        "up": True,
    }


def link_device(fabric, node, one):
    mtu = one.mtu or ((node.interfaces or {}).get(one.dev) or {}).get("mtu")
    return underlay.given(
        **common(fabric, one.dev),
        sci=own_sci(fabric, node, one.dev),
        mtu=mtu - overhead.MACSEC if isinstance(mtu, int) else None,
    )


def segment_device(fabric, node, segment):
    return underlay.given(
        **common(fabric, segment.vxlan),
        sci=own_sci(fabric, node, segment.vxlan),
        mtu=segment.mtu,
        addrgenmode="none",
    )


def own_sci(fabric, node, dev):
    """Of the MAC address where that is what receivers go by, and the supplicant of MKA; None as long as it is not known."""
    how = fabric.encryption
    if how.mode == "macsec-mka" or not how.macsec_send_sci:
        mac = ((node.interfaces or {}).get(dev) or {}).get("mac")
        return secured.sci(mac, 1) if mac and how.macsec_send_sci else None
    port = lowers(fabric, node).index(dev) + 1 if how.macsec == "underlay" else 1
    return secured.sci(derived_mac(node.addresses), port)


def told_sci(fabric, node, dev):
    """As far as it can be told before the device is there."""
    mac = ((node.interfaces or {}).get(dev) or {}).get("mac")
    return own_sci(fabric, node, dev) or (secured.sci(mac, 1) if mac else None)


def peers(fabric, node, dev, hosts):
    """Whom a device hears: host, device and SCI of each."""
    if fabric.encryption.macsec == "underlay":
        heard = [(other, one.dev) for other in hosts if other.host != node.host for one in other.underlay]
    else:
        segment = next(segment for segment in fabric.segments if segment.vxlan == dev)
        heard = [(other, dev) for other in fabric.peers(segment, node)]
    return [
        underlay.given(host=other.host, name=secured.device(lower), sci=told_sci(fabric, other, lower))
        for other, lower in heard
    ]


def former(fabric, node):
    """MACsec devices of the collection that the host has and the fabric does not want: (those of the underlay, the others)."""
    wanted = {secured.device(dev) for dev in lowers(fabric, node)} if fabric.encryption.macsec else set()
    there = node.interfaces or {}
    found = {
        name: there.get(known["alias"].removeprefix(secured.ALIAS).strip()) or {}
        for name, known in sorted(there.items())
        if known.get("kind") == "macsec" and is_owned(known.get("alias")) and name not in wanted
    }
    links = [name for name, lower in found.items() if lower.get("kind") != "vxlan"]
    return links, [name for name in found if name not in links]


# Keys


def turn(section, told, secret, host, step, rotate=False):
    """What a host's devices send and receive with at a step: options of module macsec, and what the role decides by.

    told: {host: the devices that its macsec_info told before the first step} of all hosts of the run, the same at each step.
    rotate: whether senders that have a key get another one. Raises InputError.

    settle    what a run that broke off left to receive with goes: nobody sends with it
    receive   what the others will send with is there beside what they send with
    transmit  send with the new key
    drop      only what is sent with is left

    Hosts that are not in `told` are heard with what is there.
    """
    faults, devices, away, blind = [], [], set(), False
    settle = turning = False
    for options in section["devices"]:
        name = options["name"]
        try:
            own = outlook(told.get(host, ()), name, options.get("sci"), secret, section["cipher"], rotate)
            heard = []
            for peer in section["peers"][name]:
                one = None
                if peer["host"] in told:
                    one = outlook(told[peer["host"]], peer["name"], peer.get("sci"), secret, section["cipher"], rotate)
                    turning = turning or bool(one.new)
                else:
                    away.add(peer["host"])
                heard.append((one.sci if one else peer.get("sci"), one))
        except ValueError as error:
            faults.append(f"{host}: {name}: {error}")
            continue
        turning = turning or bool(own.new)
        settle = settle or clashes(own, heard)
        # A channel that cannot be named is not to be purged.
        blind = blind or not all(sci for sci, _one in heard)
        channels = [{"sci": sci, **receiving(one, step)} for sci, one in heard if sci]
        devices.append({**options, **sending(own, step), **({"rx": channels} if step != "transmit" else {})})
    if faults:
        raise InputError(faults)
    return {
        "devices": devices,
        "purge": "listed" if step in ("settle", "drop") and not blind else "none",
        "settle": settle,
        "turning": turning,
        "away": sorted(away),
    }


class Outlook:
    """Of one sender: its SCI, the association that it sends with, and the one that it will send with."""

    def __init__(self, sci, found, now, new, stale):
        self.sci, self.found, self.now, self.new, self.stale = sci, found, now, new, stale


def outlook(devices, name, sci, secret, cipher, rotate):
    found = next((one for one in devices if one["name"] == name), None)
    if found is None:  # it is about to be made
        return Outlook(sci, None, None, None, False)
    sci = found["sci"]
    epochs = found.get("epochs") or {}
    current, fresh = epochs.get("current"), epochs.get("fresh")
    now = made(secret, sci, current, cipher) if current else None
    ids = {one["an"]: one for one in found.get("tx") or ()}
    # Another secret made it: the others know what they receive it with, and this one cannot be told to a new host.
    stale = now is not None and ids.get(now["an"], {}).get("key_id") != now["key_id"]
    if stale:
        now = None
    worn = now is not None and (ids[now["an"]].get("pn_used") or 0) >= ROTATE_AT
    new = None
    if now is None or rotate or worn:
        if not fresh:
            raise ValueError("all four associations are taken; macsec with purge_associations: listed makes room")
        new = {**made(secret, sci, fresh, cipher), "epoch": fresh["epoch"]}
    if now is not None:
        now["epoch"] = current["epoch"]
        now["pn"] = current.get("pn") or None
    return Outlook(sci, found, now, new, stale)


def made(secret, sci, one, cipher):
    return {"an": one["an"], **macsec_keys.sak(secret, sci, one["epoch"], cipher)}


def sending(own, step):
    if step in ("settle", "receive") or own.found is None:
        return {}
    one = own.new or own.now
    tx = {key: value for key, value in one.items() if key != "pn"}
    return {"tx": [tx], "encodingsa": tx["an"]}


def receiving(one, step):
    """`sa` of the channel of a sender; without it, what is there stays."""
    if one is None or one.found is None or (one.stale and step == "settle"):
        return {}
    listed = {"settle": [one.now], "drop": [one.new or one.now]}.get(step, [one.now, one.new])
    words = ({key: value for key, value in sa.items() if key != "epoch" and value is not None} for sa in listed if sa)
    return {"sa": list(words)}


def clashes(own, heard):
    """Whether a number that a new key needs is taken by one that nobody sends with."""
    there = {one["sci"]: one["sa"] for one in (own.found or {}).get("rx") or ()}
    for sci, one in heard:
        wanted = {sa["an"]: sa["key_id"] for sa in ((one.now, one.new) if one else ()) if sa}
        if any(sa["an"] in wanted and sa["key_id"] != wanted[sa["an"]] for sa in there.get(sci, ())):
            return True
    return False

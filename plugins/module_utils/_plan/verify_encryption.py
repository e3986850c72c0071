# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a proof that is about encryption: what it asks of each host, and what it makes of what was seen on the underlay.

A check whose `ok` is None was not run, and its detail tells why.
"""

from __future__ import annotations

import re

from .._model import overhead
from . import macsec_fabric

SECONDS = 900  # that a capture lives when nobody ends it
PROBE = 301  # bytes of a counted frame where MACsec hides its EtherType: no ARP and no DHCP is so long
INSIDE, UNDERLAY, ESP = "inside", "underlay", "esp"


def where(plan):
    """By what a host encrypts: MACsec inside the VXLAN, MACsec on the underlay's links, or ESP. None without."""
    if plan.get("macsec"):
        return plan["macsec"]["where"]
    return ESP if plan.get("ipsec") else None


def anywhere(plans):
    """By what the fabric encrypts."""
    return next((where(plan) for plan in plans.values() if where(plan)), None)


def picked(plans):
    """The inventory's word `encryption` that plans were compiled with."""
    for plan in plans.values():
        if plan.get("macsec"):
            return "macsec-mka" if plan["macsec"]["mka"] else "macsec"
        if plan.get("ipsec"):
            return "ipsec-opportunistic" if plan["ipsec"]["mode"] == "opportunistic" else "ipsec"
    return "none"


# Requests


def rogue_marker(marker):
    """Another marker of 16 bytes, which repeating the first cannot make."""
    return bytes(255 - byte for byte in bytes.fromhex(marker)).hex()


def endpoint_words(plans, marker):
    """What an endpoint's request has beside the others."""
    how = anywhere(plans)
    return {**({"marker": marker} if how else {}), **({"length": PROBE} if how == INSIDE else {})}


def source_words(plans):
    """What tells the proof's frames where MACsec hides their EtherType: the UDP length of the VXLAN packets."""
    return {"secured_length": 8 + 8 + PROBE + overhead.MACSEC} if anywhere(plans) == INSIDE else {}


def node_words(plan, plans, marker):
    """What a node's request has beside the others."""
    how = where(plan)
    if not how:
        return {}
    return {
        "encryption": {
            "where": how,
            "devices": raw_links(plan),
            "macsec": [device["name"] for device in plan["macsec"]["devices"]] if how != ESP else [],
            "ports": ports(plan),
            "dstports": sorted({device["dstport"] for one in plans.values() for device in vxlans(one)}),
            "marker": marker,
            "rogue_marker": rogue_marker(marker),
            "seconds": SECONDS,
            **({"tunnel": True} if tunnel(plan) else {}),
        }
    }


def tunnel(plan):
    """Whether its ESP is in tunnel mode."""
    return where(plan) == ESP and plan["ipsec"].get("esp_mode") == "tunnel"


def raw_links(plan):
    """The underlay's interfaces, below MACsec. The first of the links is the loopback."""
    return [link["name"] for link in plan["underlay"]["links"][1:]]


def ports(plan):
    """A VTEP's access ports."""
    access = plan.get("access")
    if not access:
        return []
    return sorted({*access["fdb"]["dev"], *(port for _vxlan, *routed in access["routed"] for port in routed)})


def vxlans(plan):
    return plan["overlay"]["vxlans"] if "overlay" in plan else ()


def rogue_requests(plans, interfaces, rogues, marker):
    """[{host, request}] for rogue.py: each VTEP that encrypts gets a frame from a rogue's own address, and one from a VTEP's; and one to
    an address of the interface itself, where VXLAN devices listen as well. A service node that replicates gets the first two.

    interfaces: {host: {interface: (MAC address, [address])}}; rogues: {host of the underlay: its
    interface there, of a VTEP's first one where empty}.
    """
    made = {}
    for target, plan in sorted(plans.items()):
        rogue = next((host for host in rogues if host != target), None)
        devices = vxlans(plan) or replicated(plan, plans)
        if rogue is None or not where(plan) or not devices:
            continue
        dev = rogues[rogue] or next(iter(raw_links(plans[rogue])), None) if rogue in plans else rogues[rogue]
        mac, addresses = next(
            (interfaces.get(target, {}).get(link, (None, ())) for link in raw_links(plan)), (None, ())
        )
        device = devices[0]
        if not dev or not mac:
            continue
        others = [one for name, one in sorted(plans.items()) if name != target and vxlans(one)]
        spoofed = sorted(others, key=lambda one: one["host"] == rogue)[:1]
        one = made.setdefault(rogue, {"dev": dev, "marker": rogue_marker(marker), "frames": []})
        common = {
            "mac": mac,
            "dst": plan["local"] if vxlans(plan) else plan["vxfld"]["settings"]["common"]["svcnode_ip"],
            "dstport": device["dstport"],
            "vni": device.get("id") or device["vnis"][0],
            **({"inner": found} if vxlans(plan) and (found := inner(plan)) else {}),
        }
        for src in (None, *(other["local"] for other in spoofed)):
            one["frames"].append({**common, "src": src, "spoofed": src is not None})
        if not vxlans(plan):
            continue
        # The host's other addresses; an external device takes packets of the other family too.
        six = ":" in plan["local"]
        for colon in (six, not six) if device.get("external") else (six,):
            for address in [text for text in addresses if (":" in text) == colon][:1]:
                one["frames"].append(
                    {**common, "dst": address, "src": None if colon == six else "any", "spoofed": False}
                )
    return [{"host": host, "request": request} for host, request in sorted(made.items())]


def replicated(plan, plans):
    """The VXLAN devices of VTEPs that a service node sends copies to; none of any other host."""
    settings = plan["vxfld"]["settings"].get("vxsnd", {}) if plan.get("vxfld") else {}
    taken = settings.get("vxlan_port")
    return [device for one in plans.values() for device in vxlans(one) if str(device["dstport"]) == taken]


def inner(plan):
    """What a VTEP that routes would pass on: {mac, src, dst} of a packet from an endpoint elsewhere to one of its own. None where there is
    none, or where it bridges."""
    device = vxlans(plan)[0]
    mine = next((found for name, *found in (plan.get("access") or {}).get("routed", ()) if name == device["name"]), ())
    ways = {
        words[0]: words[2]
        for words in map(str.split, plan["overlay"]["neighbors"]["table"].splitlines())
        if "lladdr" in words
    }
    for family in (":", "."):
        here = [address for address, dev in ways.items() if family in address and dev in mine]
        there = [address for address, dev in ways.items() if family in address and dev == device["name"]]
        if here and there:
            return {"mac": device["address"], "src": there[0], "dst": here[0]}
    return None


# Checks


def check(kind, host, expected, seen, ok, detail=()):
    """ok: None where it was not run."""
    ok = None if ok is None else bool(ok)
    return {"check": kind, "host": host, "expected": expected, "seen": seen, "ok": ok, "detail": list(detail)}


def host_checks(name, plan, endpoints, answers):
    """The underlay as the host saw it."""
    how = where(plan)
    if not how:
        return
    seen = answers[name].get("encryption")
    if seen is None:
        yield check("capture", name, "an answer", "none", False)
        return
    spoken = talks(name, endpoints, answers)
    # With MACsec on the links OSPF is there to be seen, but proves nothing of VXLAN.
    checks = [*capture_checks(name, how, seen, how == UNDERLAY or spoken, spoken)]
    if tunnel(plan):
        yield check("VXLAN in clear received", name, 0, "not counted", None, [TUNNEL])
    if vxlans(plan):
        checks.extend(rogue_checks(name, seen, is_bridged(plan) or inner(plan)))
    yield from (permitted(one) if is_open(plan) and one["check"] in OPEN else one for one in checks)
    files = seen["files"]
    yield check("keys that everybody can read", name, 0, len(files["exposed"]), not files["exposed"], files["exposed"])
    # With MKA the supplicants see to it.
    if how != ESP and not plan["macsec"]["mka"]:
        yield pn_check(name, seen["after"]["statistics"]["pn_used"])


UNWANTED = (
    "the words of this run want none, and the host has it of the collection: give verify.yml the encryption that site.yml had, or "
    "run site.yml without"
)


def unwanted_checks(plans, ipsec):
    """What encrypts where the fabric is to be in clear, so that nothing of it was proven. ipsec: the hosts with IPsec of the collection."""
    for name, plan in sorted(plans.items()):
        former = plan.get("macsec_former") or {}
        found = [one["name"] for part in sorted(former) for one in former[part]] + (["IPsec"] if name in ipsec else [])
        if found and not where(plan):
            yield check("encryption", name, "none", ", ".join(found), False, [UNWANTED])


def pn_check(name, used):
    """A device whose packet numbers are used up sends nothing more."""
    most, worn = (
        max(used.values(), default=0.0),
        {dev: share for dev, share in used.items() if share >= macsec_fabric.ROTATE_AT},
    )
    detail = [
        f"{dev} has used {share:.0%}; site.yml and rotate_keys.yml bring new keys"
        for dev, share in sorted(worn.items())
    ]
    return check(
        "packet numbers", name, f"less than {macsec_fabric.ROTATE_AT:.0%} used", f"{most:.0%}", not worn, detail
    )


def is_open(plan):
    """Whether it takes and sends VXLAN in clear where there is no association."""
    return bool(plan.get("ipsec")) and plan["ipsec"].get("group") == "private-or-clear"


def permitted(one):
    return {**one, "ok": None, "detail": [*one["detail"], PERMITTED]}


def talks(name, endpoints, answers):
    """Whether pings go between an endpoint of the host's and one of another's."""
    return any(
        mine["vtep"] == name
        and other["vtep"] != name
        and mine["vni"] == other["vni"]
        and {mine["name"], other["name"]} & set(answers)
        for mine in endpoints
        for other in endpoints
    )


# What a check is called, by what the host encrypts with.
THERE = {INSIDE: "VXLAN that holds MACsec", UNDERLAY: "frames with MACsec", ESP: "packets with ESP"}
CLEAR = {INSIDE: "VXLAN that holds no MACsec", UNDERLAY: "VXLAN in clear", ESP: "VXLAN in clear"}
SILENT = "nothing encrypted went both ways, so that nothing is proven: no host of group endpoints pings by this one"
TUNNEL = (
    "the kernel shows what came out of ESP's tunnel at the interface once more, and a capture cannot tell it from what came in clear; "
    "what the others send is looked at there"
)
# What a fabric permits that encrypts where it can.
OPEN = (CLEAR[ESP], "marker on the wire", "a rogue's VXLAN let in", "VXLAN from a VTEP's address let in")
PERMITTED = "ipsec_group private-or-clear permits it; with private it is refused"
MISSED = "{} frames were too quick to be looked at; run it again when there is less traffic"


def capture_checks(name, how, seen, expected, spoken):
    """expected: whether there must have been something to see; spoken: VXLAN of endpoints. What is not there proves nothing."""
    encrypted, samples = seen["encrypted"], seen["samples"]
    proven = bool(encrypted["sent"] and encrypted["received"])
    why = [] if proven else ["no encrypted packet went both ways" if expected else SILENT]
    if seen["dropped"]:
        why.append(MISSED.format(seen["dropped"]))
    whole = not why if proven or expected else None
    yield check(
        THERE[how], name, "both ways", f"{encrypted['sent']} sent, {encrypted['received']} received", whole, why
    )
    for kind, found, word in (
        (CLEAR[how], sum(seen["clear"].values()), "in clear"),
        ("marker on the wire", sum(seen["marker"].values()), "with the marker"),
    ):
        shown = [sample for sample in samples if word in sample]
        if how != UNDERLAY or spoken or found:
            yield check(kind, name, 0, found, False if found else whole, shown + why)
        else:
            yield check(kind, name, 0, found, None, [SILENT])


NO_ROGUE = "none has arrived at the underlay's interface; name a host of its network in verify_rogues, with its interface there"
LET_IN = "{} frames left by access ports: whoever is on the underlay reaches endpoints (CVE-2023-28840)"


ROUTED = "nothing would be passed on, encrypted or not: the VXLAN device is in no bridge, and there are no endpoints here and elsewhere"


def is_bridged(plan):
    """Whether a broadcast that comes by VXLAN would leave by access ports."""
    return not (plan.get("access") or {}).get("routed")


def rogue_checks(name, seen, telling):
    """Nothing that somebody without keys sends gets to an endpoint. What has not arrived proves nothing, nor does what would go nowhere."""
    for key, kind in (("own", "a rogue's VXLAN let in"), ("spoofed", "VXLAN from a VTEP's address let in")):
        arrived, forwarded = seen["arrived"][key], seen["forwarded"][key]
        if forwarded:
            yield check(kind, name, 0, forwarded, False, [LET_IN.format(forwarded)])
        elif arrived and not telling:
            yield check(kind, name, 0, 0, None, [ROUTED])
        elif arrived:
            yield check(kind, name, 0, 0, True)
        else:
            yield check(kind, name, 0, "none sent", None, [NO_ROGUE])


# Wrong keys


def key_checks(plans, endpoints, answers):
    """Where pings or loopbacks fail between two hosts, what tells that their keys are why."""
    for one, other in sorted(set(failing(plans, endpoints, answers))):
        found = [*signs(plans, answers, one, other), *signs(plans, answers, other, one)]
        if found:
            yield check("keys", f"{one}, {other}", "the same", "different", False, list(dict.fromkeys(found)))


def failing(plans, endpoints, answers):
    """Pairs of hosts between which something failed."""
    vteps = {address: e["vtep"] for e in endpoints for address in (bare(one) for one in e["addresses"])}
    hosts = {plan["local"]: name for name, plan in plans.items() if plan.get("local")}
    for endpoint in endpoints:
        answer = answers.get(endpoint["name"], {})
        for kind in ("reach", "loss", "full"):
            for address, n in answer.get(kind, {}).items():
                other = vteps.get(address)
                if n["received"] < (1 if kind == "reach" else n["sent"]) and other not in (None, endpoint["vtep"]):
                    yield tuple(sorted((endpoint["vtep"], other)))
    for name in plans:
        for address, answered in answers.get(name, {}).get("underlay", {}).items():
            if not answered and hosts.get(address) not in (None, name):
                yield tuple(sorted((name, hosts[address])))


def bare(address):
    return address.split("/")[0]


def signs(plans, answers, receiver, sender):
    """What the receiver's kernel and daemon tell about what the sender sends."""
    seen = answers.get(receiver, {}).get("encryption")
    if not seen or not where(plans[receiver]):
        return []
    before, after = seen["before"]["statistics"], seen["after"]["statistics"]
    if where(plans[receiver]) == ESP:
        return esp_signs(plans, receiver, sender, seen, before, after)
    found = [
        words
        for dev, peers in sorted(plans[receiver]["macsec"]["peers"].items())
        for words in macsec_signs(
            receiver, sender, dev, peers, before["macsec"].get(dev, {}), after["macsec"].get(dev, {})
        )
    ]
    # With another CAK there are no channels whose counters would tell, and the supplicant does not say whose packet it was. With another
    # CKN it says nothing.
    if plans[receiver]["macsec"]["mka"]:
        if not any(sci for channels in after["macsec"].values() for sci in channels):
            found.append(DEAF.format(receiver=receiver))
        found += [f"{receiver}'s log: {line}" for line in seen["after"]["journal"]]
    return found


# Of a secure channel and of a device (linux/if_macsec.h; IEEE 802.1AE, 10.6): what it means when the counter grows.
CHANNEL = {
    "InPktsNotValid": "{receiver} and {sender} have different keys: {n} frames of {sender} did not verify on {dev} (InPktsNotValid)",
    "InPktsNotUsingSA": "{receiver} has no key of the number that {sender} sends with: {n} frames on {dev} (InPktsNotUsingSA)",
    "InPktsUnusedSA": "{receiver} has no key of the number that {sender} sends with: {n} frames on {dev} (InPktsUnusedSA)",
    "InPktsInvalid": "{receiver} and {sender} have different keys: {n} frames of {sender} did not verify on {dev} (InPktsInvalid)",
    "InPktsLate": "{receiver} has seen the packet numbers of {sender} before: {n} frames on {dev} (InPktsLate)",
}
DEVICE = {
    "InPktsBadTag": "{receiver} cannot read the SecTAG of {n} frames on {dev} (InPktsBadTag), of {sender} or of others",
    "InPktsNoSCI": "{receiver} has no channel for the sender of {n} frames on {dev} (InPktsNoSCI), {sender} or others",
    "InPktsUnknownSCI": "{receiver} has no channel for the sender of {n} frames on {dev} (InPktsUnknownSCI), {sender} or others",
}
DEAF = (
    "{receiver} has agreed on a key with nobody: its CAK or CKN is not that of the others, or a supplicant does not run"
)


def macsec_signs(receiver, sender, dev, peers, before, after):
    scis = [peer.get("sci") for peer in peers if peer["host"] == sender]
    if not scis:
        return
    # Of a sender whose identifier only his device knows, every channel that is nobody else's.
    others = {peer.get("sci") for peer in peers if peer["host"] != sender}
    mine = [sci for sci in after if sci and (sci in scis or (None in scis and sci not in others))]
    for key, meanings in (*((sci, CHANNEL) for sci in mine), ("", DEVICE)):
        for counter, meaning in meanings.items():
            n = after.get(key, {}).get(counter, 0) - before.get(key, {}).get(counter, 0)
            if n > 0:
                yield meaning.format(receiver=receiver, sender=sender, n=n, dev=dev)


# Of the whole host (Documentation/networking/xfrm_proc.rst).
XFRM = {
    "XfrmInStateProtoError": "{n} packets did not verify at {receiver} (XfrmInStateProtoError): a wrong key, of {sender} or of others",
    "XfrmInNoStates": (
        "{receiver} has no association for {n} packets (XfrmInNoStates): {sender}, or another one, sends with keys that it has not"
    ),
}
# A packet that is not encrypted: by a policy that demands an association, and by one that lets nothing in.
UNENCRYPTED = ("XfrmInTmplMismatch", "XfrmInPolBlock")
IN_CLEAR = "{n} packets that should be encrypted came to {receiver} in clear ({counters}), from {sender} or another one"


def esp_signs(plans, receiver, sender, seen, before, after):
    local, remote = plans[receiver]["local"], plans[sender]["local"]
    failed = {(src, dst, spi): n for src, dst, spi, n in before["states"]}
    n = sum(
        total - failed.get((src, dst, spi), 0)
        for src, dst, spi, total in after["states"]
        if (src, dst) == (remote, local)
    )
    found = []
    if n > 0:
        found.append(
            f"{receiver} and {sender} have different keys: {n} packets of {sender} did not verify at {receiver}"
        )
    grown = {name: total - before["xfrm"].get(name, 0) for name, total in after["xfrm"].items()}
    for counter, meaning in XFRM.items():
        # Which ones of the host's packets did not verify is told above.
        if grown.get(counter, 0) > 0 and not (found and counter == "XfrmInStateProtoError"):
            found.append(meaning.format(receiver=receiver, sender=sender, n=grown[counter]))
    n = sum(grown.get(counter, 0) for counter in UNENCRYPTED) - sum(seen["arrived"].values())
    if n > 0:
        counters = ", ".join(counter for counter in UNENCRYPTED if grown.get(counter, 0))
        found.append(IN_CLEAR.format(receiver=receiver, sender=sender, n=n, counters=counters))
    addresses = {plan["local"] for plan in plans.values() if plan.get("local")} - {local}
    for line in seen["after"]["journal"]:
        told = {word.strip(".") for word in re.findall("[0-9A-Fa-f:.]+", line)}
        if remote in told or not told & addresses:
            found.append(f"{receiver}'s log: {line}")
    return found

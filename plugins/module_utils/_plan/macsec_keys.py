# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of MACsec for a whole fabric, from one secret: which key each host sends with, and what its peers receive with.

A host's key comes from the fabric's key, its SCI and an epoch, a random number that its macsec_info made. An epoch is used
for one association and never again, so a packet number that begins at 1 is always one of a new key. docs/macsec.md tells why.
"""

from __future__ import annotations

import re

from .._model import macsec as model
from .._model.errors import InputError
from .._model.xfrm_keys import hkdf

LABEL = b"vtep.fabric macsec"
STEPS = ("receive", "transmit", "drop")
LISTS = (list, tuple, set)
SSCI = 1  # each sender has a key of its own, so every one of them can have the same (IEEE 802.1AEbw asks that they differ by key)
SHORTEST, LONGEST = 32, 128  # bytes of the fabric's key


def fabric_key(value):
    """The fabric's key as bytes. The message never quotes it."""
    digits = str(value).strip().lower()
    if not re.fullmatch(r"(?:[0-9a-f]{2}){%d,%d}" % (SHORTEST, LONGEST), digits):
        raise ValueError(
            f"the fabric's key must be {2 * SHORTEST} to {2 * LONGEST} hexadecimal digits (openssl rand -hex {SHORTEST})"
        )
    return bytes.fromhex(digits)


def sak(secret, sci, epoch, cipher=model.DEFAULT_CIPHER):
    """The words of an association, but `an`: key, key_id, with XPN also ssci and salt. Raises InputError.

    key = HKDF-SHA256(secret, salt "vtep.fabric macsec", info "key", cipher suite, SCI, epoch), the XPN salt alike with
    info "salt". Cipher suite and SCI are 8 bytes each in network byte order, the epoch is 16 bytes.
    """
    faults, got = [], {}
    for name, value, parse in (
        ("key", secret, fabric_key),
        ("sci", sci, model.sci),
        ("epoch", epoch, model.digits("an epoch", 32)),
        ("cipher", cipher, _cipher),
    ):
        try:
            got[name] = parse(value)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise InputError(faults)
    suite = model.CIPHERS[cipher]
    context = suite.number.to_bytes(8, "big") + bytes.fromhex(got["sci"]) + bytes.fromhex(got["epoch"])
    key = hkdf(got["key"], LABEL, b"key" + context, suite.key)
    if not suite.xpn:
        return {"key": key.hex(), "key_id": model.key_id(key)}
    salt = hkdf(got["key"], LABEL, b"salt" + context, model.SALT)
    return {"key": key.hex(), "key_id": model.key_id(key, salt), "ssci": SSCI, "salt": salt.hex()}


def _cipher(value):
    if str(value) not in model.CIPHERS:
        raise ValueError(f"{value!r} is unknown; known are {', '.join(model.CIPHERS)}")
    return value


def associations(hosts, secret, own, step, cipher=model.DEFAULT_CIPHER, rotate=False):
    """`tx`, `rx` and `encodingsa` of module macsec for the host `own` at a step of a rotation.

    hosts: {host: what macsec_info tells of its device: sci, epochs and rx}, of all that share the link, taken before the
    first step. A host with nothing to send with takes a fresh key; with rotate every host does, as rotate: [host, ...]
    those.

    receive   receive what every peer sends with now and will send with
    transmit  send with the new key; what was sent with before stays
    drop      only the new keys are left
    """
    faults = []
    if step not in STEPS:
        faults.append(f"step: {step!r} is unknown; known are {', '.join(STEPS)}")
    if not isinstance(hosts, dict):
        faults.append("hosts: is not a mapping; write {host: what macsec_info tells of its device}")
        hosts = {}
    if str(own) not in hosts:
        faults.append(f"host: {own!r} is not among {', '.join(map(str, hosts)) or 'the hosts, there are none'}")
    faults += _rotate_faults(rotate, hosts)
    if not isinstance(rotate, (bool, *LISTS)):
        rotate = False
    turns, seen = {}, {}
    for host, device in hosts.items():
        try:
            model.sci(device["sci"])
            turns[host] = _turn(device, rotate is True or host in (rotate or ()), _heard(hosts, device["sci"]))
        except (ValueError, KeyError, TypeError) as error:
            faults.append(
                f"{host}: {error if isinstance(error, ValueError) else 'give what macsec_info tells of its device'}"
            )
            continue
        if device["sci"] in seen:
            faults.append(f"{host}: sci: {device['sci']} is that of {seen[device['sci']]} too")
        seen[device["sci"]] = host
    if faults:
        raise InputError(faults)

    def made(host, turn):
        words = sak(secret, hosts[host]["sci"], turn["epoch"], cipher)
        return {"an": turn["an"], **words}

    current, new = turns[own]
    tx = []
    if current and (new is None or step != "drop"):
        tx.append({**made(own, current), "epoch": current["epoch"]})
    if new and step != "receive":
        tx.append({**made(own, new), "epoch": new["epoch"]})
    rx = []
    for host, (now, then) in turns.items():
        if host == own:
            continue
        heard = [then] if then and step == "drop" else [turn for turn in (now, then) if turn]
        sa = [{**made(host, turn), **_lowest(turn)} for turn in heard]
        rx.append({"sci": hosts[host]["sci"], "sa": sa})
    words = {"tx": tx, "rx": rx}
    if tx:
        words["encodingsa"] = tx[-1]["an"]
    return words


def _rotate_faults(rotate, hosts):
    """A text would be true whatever it says, and has each of its characters in it."""
    if isinstance(rotate, bool):
        return
    if not isinstance(rotate, LISTS):
        yield f"rotate: {rotate!r} is neither true or false nor a list of hosts; in a template, write | bool after it"
        return
    unknown = [str(host) for host in rotate if host not in hosts]
    if unknown:
        yield f"rotate: {', '.join(unknown)}: not among {', '.join(map(str, hosts)) or 'the hosts, there are none'}"


def _lowest(turn):
    """A receiver that begins in the middle takes nothing from before, which an attacker may have kept."""
    return {"pn": turn["pn"]} if turn.get("pn") else {}


def _heard(hosts, sci):
    """The numbers under which any host has an association for a sender already."""
    channels = (channel for device in hosts.values() for channel in device.get("rx") or ())
    return {one["an"] for channel in channels if channel["sci"] == sci for one in channel["sa"]}


def _turn(device, rotate, heard):
    """(the epoch in use or None, the one that comes or None) of a host."""
    epochs = device["epochs"] or {}
    current, fresh = epochs.get("current"), epochs.get("fresh")
    if current and not rotate:
        return current, None
    if not fresh:
        raise ValueError("all four associations are taken; a run with purge_associations: listed makes room")
    # A host that lost its record of keys does not know which number its peers have a former key under.
    numbers = [(fresh["an"] + step) % model.ASSOCIATIONS for step in range(model.ASSOCIATIONS)]
    own = {one["an"] for one in device.get("tx") or ()}
    free = [an for an in numbers if an not in heard | own]
    return current, {**fresh, "an": free[0] if free else fresh["an"]}

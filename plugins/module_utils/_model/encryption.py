# SPDX-License-Identifier: GPL-3.0-or-later
"""How a fabric encrypts: the inventory's fabric_encryption, and the word encryption that picks the mode.

Settings of all modes may stand side by side, so that -e encryption=... goes from one to another. Each is checked, whichever
mode is picked. No fault quotes a key.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from . import ciphers, reading

NONE = "none"
MODES = (NONE, "macsec", "macsec-mka", "ipsec", "ipsec-opportunistic")
MACSEC_MODES = ("inside", "underlay")
IPSEC_MODES = ("ike", "opportunistic", "static")
ESP_MODES = ("transport", "tunnel")
IPSEC_GROUPS = ("private", "private-or-clear")  # Libreswan's
# Words that only some modes read.
READ_BY = {"macsec_": ("macsec", "macsec-mka"), "mka_": ("macsec-mka",), "ipsec_": ("ipsec", "ipsec-opportunistic")}
CAKS = (16, 32)  # bytes of a CAK: AES-CMAC of 128 or 256 bits (IEEE 802.1X, clause 9.3)
CKN = range(1, 33)  # bytes (IEEE 802.1X, clause 9.3.1)
# Static keys are made from a secret of the fabric, one for each sender, or each direction between two hosts.
MACSEC_SECRET = range(32, 129)  # bytes
IPSEC_SECRET = range(32, 257)  # characters


@dataclass(frozen=True)
class Encryption:
    mode: str = NONE
    macsec_mode: str = "inside"  # over the VXLAN, from VTEP to VTEP, or on each link of the underlay
    macsec_cipher: str = "gcm-aes-128"
    macsec_send_sci: bool = True
    ipsec_mode: str = "ike"
    ipsec_cipher: str = "aes128gcm16"
    ipsec_esp_mode: str = "transport"
    ipsec_nat_t: bool = False
    ipsec_group: str = "private"
    ipsec_prefix: str | None = None
    macsec_secret: str | None = field(default=None, repr=False)
    ipsec_secret: str | None = field(default=None, repr=False)
    # ((CKN, CAK), ...) in hexadecimal digits: what is first is in use, and the others are there for changing to them.
    mka_keys: tuple = field(default=(), repr=False)

    @property
    def macsec(self):
        """inside, underlay, or None without MACsec."""
        return self.macsec_mode if self.mode.startswith("macsec") else None

    @property
    def esp(self):
        """The cipher of ESP, or None without it."""
        return ciphers.ESP[self.ipsec_cipher] if self.mode.startswith("ipsec") else None

    @property
    def words(self):
        """What is added to VXLAN, in a few words. Nothing without encryption."""
        if self.macsec:
            return f"MACsec {self.macsec}"
        if self.esp:
            nat = " and NAT traversal" if self.ipsec_nat_t else ""
            return f"ESP in {self.ipsec_esp_mode} mode with {self.ipsec_cipher}{nat}"
        return ""


def read(value, picked, faults, strict=False):
    """The Encryption, or None when a word of it is faulty.

    value: the mapping fabric_encryption; picked: the mode of the word encryption, which wins over that of the mapping. None is
    absent in both. strict: words that the mode does not read are faults.
    """
    before = len(faults.found)
    if picked == "":
        picked = None
    mode = reading.Words(faults, "fabric", "", {"encryption": picked}).get("encryption", reading.choice(*MODES))
    if value is None:
        value = {}
    if not isinstance(value, dict):
        # What it is may hold a key, so it is not shown.
        reason = "is not a mapping (the value is not shown); write it like {mode: macsec}"
        faults.add("fabric", "fabric_encryption", value.reason if isinstance(value, reading.Unreadable) else reason)
        return None
    words = reading.Words(faults, "fabric", "fabric_encryption: ", value, secret=True)
    given = words.get("mode", reading.choice(*MODES), NONE)
    mode = mode or given
    ipsec_mode = words.get("ipsec_mode", reading.choice(*IPSEC_MODES), Encryption.ipsec_mode)
    if mode == "ipsec" and ipsec_mode == "opportunistic":
        mode = "ipsec-opportunistic"
    found = Encryption(
        mode=mode,
        macsec_mode=words.get("macsec_mode", reading.choice(*MACSEC_MODES), Encryption.macsec_mode),
        macsec_cipher=words.get("macsec_cipher", cipher(ciphers.MACSEC, "MACsec"), Encryption.macsec_cipher),
        macsec_send_sci=words.get("macsec_send_sci", reading.truth, Encryption.macsec_send_sci),
        ipsec_mode="opportunistic" if mode == "ipsec-opportunistic" else ipsec_mode,
        ipsec_cipher=words.get("ipsec_cipher", cipher(ciphers.ESP, "ESP"), Encryption.ipsec_cipher),
        ipsec_esp_mode=words.get("ipsec_esp_mode", reading.choice(*ESP_MODES), Encryption.ipsec_esp_mode),
        ipsec_nat_t=words.get("ipsec_nat_t", reading.truth, Encryption.ipsec_nat_t),
        ipsec_group=words.get("ipsec_group", reading.choice(*IPSEC_GROUPS), Encryption.ipsec_group),
        ipsec_prefix=words.get("ipsec_prefix", prefix),
        macsec_secret=words.get("macsec_secret", lambda value: digits(value, MACSEC_SECRET, secret=True)),
        ipsec_secret=words.get("ipsec_secret", passphrase),
        mka_keys=mka_keys(words),
    )
    if strict and mode:
        check_read(words, mode)
    return found if words.finish() and len(faults.found) == before else None


def cipher(known, layer):
    """A parser of one of the known ciphers, in whatever case. One that another layer has is told as such."""

    def parse(value):
        name = reading.text(value).lower()
        if name in known:
            return name
        wrong = f"is no cipher of {layer}" if name in (*ciphers.MACSEC, *ciphers.ESP) else "is unknown"
        raise ValueError(f"{name!r} {wrong}; known are {', '.join(known)}")

    return parse


def prefix(value):
    """A network in the usual notation, whose host bits are zero."""
    found = reading.text(value)
    try:
        network = ipaddress.ip_network(found, strict=False)
    except ValueError:
        raise ValueError(f"{reading.shown(found)} is no network; write it like 2001:db8::/32") from None
    if ipaddress.ip_interface(found).ip != network.network_address:
        raise ValueError(f"{found} has host bits set; write {network}")
    return str(network)


def check_read(words, mode):
    for key, value in words.mapping.items():
        modes = next((modes for start, modes in READ_BY.items() if str(key).startswith(start)), None)
        if modes and value is not None and mode not in modes and key in words.known:
            words.fault(key, f"is not read by mode {mode}; take mode {' or '.join(modes)}, or leave it out")


def passphrase(value):
    if not isinstance(value, str):
        raise ValueError("is not text (the value is not shown); put it in quotes")
    if len(value) not in IPSEC_SECRET:
        low, high = IPSEC_SECRET[0], IPSEC_SECRET[-1]
        raise ValueError(f"has {len(value)} characters (they are not shown); it takes {low} to {high} random ones")
    return value


def mka_keys(words):
    """((CKN, CAK), ...). A CKN with two CAKs does not tell which is meant, and a CAK with two CKNs is no other key."""
    key = "mka_keys"
    words.known.append(key)
    value = words.mapping.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        reason = "is not a list (the value is not shown); write it like [{ckn: ..., cak: ...}]"
        words.fault(key, value.reason if isinstance(value, reading.Unreadable) else reason)
        return ()
    found = {}
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            words.fault(f"{key} row {number}", "is not a mapping (the value is not shown); write {ckn: ..., cak: ...}")
            continue
        inner = reading.Words(words.faults, words.where, f"{words.prefix}{key} row {number}: ", row, secret=True)
        ckn = inner.get("ckn", lambda value: digits(value, CKN), required="name the key")
        cak = inner.get("cak", lambda value: digits(value, CAKS, secret=True), required="give the key")
        if not inner.finish():
            continue
        if ckn in found:
            same = "is there twice" if found[ckn] == cak else "has two CAKs"
            inner.fault("ckn", f"{ckn} {same}; give each CAK a CKN of its own")
        elif cak in found.values():
            other = next(one for one, its in found.items() if its == cak)
            inner.fault("cak", f"is also that of CKN {other} (it is not shown); give each its own")
        found.setdefault(ckn, cak)
    return tuple(found.items())


def digits(value, lengths, secret=False):
    """Hexadecimal digits of a number of bytes, in lower case. What is wrong with a secret is told without it."""
    if not isinstance(value, str):
        raise ValueError("is not text (the value is not shown); put it in quotes")
    found = value.strip().lower()
    if not re.fullmatch("[0-9a-f]*", found):
        shown = "the value is not shown" if secret else reading.shown(value)
        raise ValueError(f"is not hexadecimal digits ({shown})")
    if len(found) % 2 or len(found) // 2 not in lengths:
        first, last = min(lengths), max(lengths)
        if isinstance(lengths, range):
            want = f"an even number from {2 * first} to {2 * last} of them"
        else:
            want = " or ".join(f"{2 * one} ({8 * one} bits)" for one in lengths)
        raise ValueError(f"has {len(found)} hexadecimal digits; it takes {want}")
    return found

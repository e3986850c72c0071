# SPDX-License-Identifier: GPL-3.0-or-later
"""How a fabric encrypts: the inventory's fabric_encryption, and the word encryption that picks the mode.

Settings of all modes may stand side by side, so that -e encryption=... goes from one to another. Each is checked, whichever
mode is picked. No fault quotes a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import ciphers, reading

NONE = "none"
MODES = (NONE, "macsec", "macsec-mka", "ipsec", "ipsec-opportunistic")
MACSEC_MODES = ("inside", "underlay")
IPSEC_MODES = ("ike", "opportunistic", "static")
ESP_MODES = ("transport", "tunnel")
# Words that only some modes read.
READ_BY = {"macsec_": ("macsec", "macsec-mka"), "mka_": ("macsec-mka",), "ipsec_": ("ipsec", "ipsec-opportunistic")}
CAKS = (16, 32)  # bytes of a CAK: AES-CMAC of 128 or 256 bits (IEEE 802.1X, clause 9.3)
CKN = 32  # bytes at most (IEEE 802.1X, clause 9.3.1)
KEY_ID = 16  # bytes at most of a MACsec key's id (linux/if_macsec.h: MACSEC_KEYID_LEN)
IPSEC_SECRET = 32  # bytes; each direction of each pair of VTEPs has a key of its own, made from it


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
    # ((id, key), ...) in hexadecimal digits: what is first is in use, and the others are there for changing to them.
    macsec_keys: tuple = field(default=(), repr=False)
    mka_keys: tuple = field(default=(), repr=False)
    ipsec_keys: tuple = field(default=(), repr=False)

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
    words = reading.Words(faults, "fabric", "fabric_encryption: ", value)
    given = words.get("mode", reading.choice(*MODES), NONE)
    mode = mode or given
    macsec_cipher = words.get("macsec_cipher", cipher(ciphers.MACSEC, "MACsec"), Encryption.macsec_cipher)
    ipsec_mode = words.get("ipsec_mode", reading.choice(*IPSEC_MODES), Encryption.ipsec_mode)
    if mode == "ipsec" and ipsec_mode == "opportunistic":
        mode = "ipsec-opportunistic"
    found = Encryption(
        mode=mode,
        macsec_mode=words.get("macsec_mode", reading.choice(*MACSEC_MODES), Encryption.macsec_mode),
        macsec_cipher=macsec_cipher,
        macsec_send_sci=words.get("macsec_send_sci", reading.truth, Encryption.macsec_send_sci),
        ipsec_mode="opportunistic" if mode == "ipsec-opportunistic" else ipsec_mode,
        ipsec_cipher=words.get("ipsec_cipher", cipher(ciphers.ESP, "ESP"), Encryption.ipsec_cipher),
        ipsec_esp_mode=words.get("ipsec_esp_mode", reading.choice(*ESP_MODES), Encryption.ipsec_esp_mode),
        ipsec_nat_t=words.get("ipsec_nat_t", reading.truth, Encryption.ipsec_nat_t),
        macsec_keys=keys(words, "macsec_keys", ("id", KEY_ID), ("key", macsec_lengths(macsec_cipher))),
        mka_keys=keys(words, "mka_keys", ("ckn", CKN), ("cak", CAKS)),
        ipsec_keys=keys(words, "ipsec_keys", ("id", KEY_ID), ("key", (IPSEC_SECRET,))),
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
        other = {**ciphers.MACSEC, **ciphers.ESP}
        wrong = f"is no cipher of {layer}" if name in other else "is unknown"
        raise ValueError(f"{name!r} {wrong}; known are {', '.join(known)}")

    return parse


def check_read(words, mode):
    for key, value in words.mapping.items():
        modes = next((modes for start, modes in READ_BY.items() if str(key).startswith(start)), None)
        if modes and value is not None and mode not in modes and key in words.known:
            words.fault(key, f"is not read by mode {mode}; take mode {' or '.join(modes)}, or leave it out")


def macsec_lengths(name):
    """The key's length is the cipher's; where that is faulty, any that a cipher has."""
    return (ciphers.MACSEC[name].key,) if name else tuple(sorted({one.key for one in ciphers.MACSEC.values()}))


def keys(words, word, name, secret):
    """((name, key), ...) of a list of mappings. name: (its key, bytes at most); secret: (its key, the lengths in bytes).

    A key under two names would start its packet numbers anew, and a name for two keys does not tell which is meant.
    """
    words.known.append(word)
    value = words.mapping.get(word)
    if value is None:
        return ()
    where = words.prefix + word
    if not isinstance(value, list):
        reason = f"is not a list (the value is not shown); write it like [{{{name[0]}: ..., {secret[0]}: ...}}]"
        words.fault(word, value.reason if isinstance(value, reading.Unreadable) else reason)
        return ()
    found = {}
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            reason = "is not a mapping (the value is not shown)"
            words.fault(f"{word} row {number}", f"{reason}; write {{{name[0]}: ..., {secret[0]}: ...}}")
            continue
        inner = reading.Words(words.faults, words.where, f"{where} row {number}: ", row)
        named = inner.get(name[0], lambda value: digits(value, range(1, name[1] + 1)), required="name the key")
        key = inner.get(secret[0], lambda value: digits(value, secret[1], secret=True), required="give the key")
        if not inner.finish():
            continue
        if named in found:
            same = "is there twice" if found[named] == key else f"has two {secret[0].upper()}s"
            inner.fault(name[0], f"{named} {same}; give each {secret[0]} a {name[0]} of its own")
        elif key in found.values():
            other = next(one for one, its in found.items() if its == key)
            inner.fault(secret[0], f"is also that of {name[0]} {other} (it is not shown); give each its own")
        found.setdefault(named, key)
    return tuple(found.items())


def digits(value, lengths, secret=False):
    """Hexadecimal digits of a number of bytes, in lower case. What is wrong with a secret is told without it."""
    if not isinstance(value, str):
        raise ValueError("is not text (the value is not shown); put it in quotes")
    found = value.strip().lower()
    if not re.fullmatch("[0-9a-f]*", found) or (not secret and len(found) > 2 * reading.LONGEST):
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

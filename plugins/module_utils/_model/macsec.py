# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec devices (IEEE 802.1AE), their secure channels and associations, and the rules for keys and packet numbers.

Numbers: linux/if_link.h (IFLA_MACSEC_*) and linux/if_macsec.h. What is live, and what goes with what, is
drivers/net/macsec.c's (macsec_validate_attr, macsec_newlink, macsec_changelink).

A key is held as bytes that no repr, comparison, diff or error shows. What stands for it everywhere else is its id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from . import link, values
from .errors import InputError


@dataclass(frozen=True)
class Cipher:
    number: int  # the cipher suite's identifier, IEEE 802.1AE-2018, table 14-1
    key: int  # bytes of a key
    xpn: bool = False  # packet numbers of 64 bits (IEEE 802.1AEbw)

    @property
    def numbers(self):
        """How many packet numbers there are."""
        return 1 << (64 if self.xpn else 32)


# The first has the number that the kernel itself tells, MACSEC_DEFAULT_CIPHER_ID; it takes the standard's as well.
CIPHERS = {
    "gcm-aes-128": Cipher(0x0080020001000001, 16),
    "gcm-aes-256": Cipher(0x0080C20001000002, 32),
    "gcm-aes-xpn-128": Cipher(0x0080C20001000003, 16, xpn=True),
    "gcm-aes-xpn-256": Cipher(0x0080C20001000004, 32, xpn=True),
}
CIPHER_WORDS = {0x0080C20001000001: "gcm-aes-128", **{cipher.number: word for word, cipher in CIPHERS.items()}}
DEFAULT_CIPHER = "gcm-aes-128"
ICV_LENGTHS = (8, 12, 13, 14, 15, 16)  # bytes; what GCM takes (crypto_gcm_setauthsize) of macsec.c's 8 to 16
DEFAULT_ICV = 16
ASSOCIATIONS = 4  # a channel's, numbered from 0: two bits in the SecTAG
XPN_WINDOW_MAX = (1 << 30) - 1  # MACSEC_XPN_MAX_REPLAY_WINDOW
SALT = 12  # bytes, MACSEC_SALT_LEN
KEY_ID = 16  # bytes, MACSEC_KEYID_LEN
TAG = 16  # bytes before the payload: Ethertype and SecTAG with SCI; the kernel reckons with the SCI in any case
HEX = re.compile(r"[0-9a-f]+")


def _a(option, kernel, number, form, low=0, high=0, **more):
    return link.Attribute(option, f"IFLA_MACSEC_{kernel}", number, form, "data", low, high, **more)


def _new(option, kernel, number, form, low=0, high=0, **more):
    """An attribute that only a new device takes."""
    return _a(option, kernel, number, form, low, high, live=False, **more)


ATTRIBUTES = (
    link.Attribute("dev", "IFLA_LINK", 5, "dev", "create", live=False),
    _new("sci", "SCI", 1, "sci"),
    _new("port", "PORT", 2, "be16", 1, 0xFFFF),
    _new("icvlen", "ICV_LEN", 3, "u8", 8, 16),
    _new("cipher", "CIPHER_SUITE", 4, "cipher", words=tuple(CIPHERS)),
    _a("window", "WINDOW", 5, "u32", 0, 0xFFFFFFFF),
    _a("encodingsa", "ENCODING_SA", 6, "u8", 0, ASSOCIATIONS - 1),
    _a("encrypt", "ENCRYPT", 7, "bool"),
    _a("protect", "PROTECT", 8, "bool"),
    _a("send_sci", "INC_SCI", 9, "bool"),
    _a("end_station", "ES", 10, "bool"),
    _a("scb", "SCB", 11, "bool"),
    _a("replay", "REPLAY_PROTECT", 12, "bool"),
    _a("validate", "VALIDATION", 13, "word", words=("disabled", "check", "strict")),
    _new("offload", "OFFLOAD", 15, "word", words=("off", "phy", "mac"), absent="off", since="5.7"),
)
KINDS = {"macsec": ATTRIBUTES}
OPTIONS = {attribute.option: attribute for attribute in (*link.LINK, *ATTRIBUTES)}
# What a new device has unless it is told otherwise (macsec_add_dev).
DEFAULTS = {
    "port": 1,
    "icvlen": DEFAULT_ICV,
    "cipher": DEFAULT_CIPHER,
    "encodingsa": 0,
    "encrypt": False,
    "protect": True,
    "send_sci": True,
    "end_station": False,
    "scb": False,
    "replay": False,
    "validate": "strict",
    "offload": "off",
}


# Associations and channels


@dataclass(frozen=True)
class Association:
    """A secure association that is wanted. What is None is not said."""

    an: int
    key: bytes = field(repr=False, compare=False)
    key_id: str  # 32 hexadecimal digits; what the kernel tells instead of the key
    active: bool = True
    pn: int | None = None  # the next packet number of a new association
    ssci: int | None = None
    salt: bytes | None = field(default=None, repr=False)
    epoch: str = ""

    @property
    def fingerprint(self):
        """What stands for the key alone in the record, whatever its id and salt."""
        return key_id(self.key)


@dataclass(frozen=True)
class Channel:
    """A receive channel that is wanted: what comes from one sender. sa None: its associations are left as they are."""

    sci: str
    active: bool | None = None
    sa: tuple | None = None


@dataclass(frozen=True)
class Device(link.Device):
    """A MACsec device that is wanted. tx, rx None: left as they are."""

    tx: tuple | None = None
    rx: tuple | None = None


@dataclass(frozen=True)
class FoundAssociation:
    an: int
    active: bool
    pn: int
    key_id: str
    ssci: int | None = None
    statistics: dict = field(default_factory=dict, compare=False)

    @property
    def received(self):
        """Whether anything came in that its key is right for."""
        return bool(self.statistics.get("InPktsOK"))


@dataclass(frozen=True)
class FoundChannel:
    sci: str
    active: bool
    sa: dict  # by an
    statistics: dict = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Secy:
    """What the kernel's MACsec family tells of a device (a SecY, the standard's word)."""

    index: int
    sci: str
    cipher: str
    encodingsa: int
    operational: bool
    offload: str
    tx: dict  # FoundAssociation by an
    rx: dict  # FoundChannel by sci
    statistics: dict = field(default_factory=dict, compare=False)

    @property
    def offloaded(self):
        """Whether a card counts the packets, so that packet numbers and statistics of the kernel stay as they began."""
        return self.offload != "off"

    def free_pn(self, one):
        """The lowest packet number that an association to send with was certainly not used with, once it is switched off."""
        end = CIPHERS[self.cipher].numbers
        return end if self.offloaded else min((one.pn or end) + MARGIN, end)


# Keys

LABEL = b"vtep.fabric macsec key id"


def key_id(key, salt=b""):
    """The id of a key: the first 16 bytes of HMAC-SHA256 (RFC 2104) of a fixed label under that key, in hexadecimal. With XPN
    the salt follows the label, since the kernel does not tell it either.

    Every user of the host can read it (`ip macsec show`). It tells nothing of a random key; of one that can be guessed it
    confirms the guess.
    """
    return hmac.new(key, LABEL + salt, hashlib.sha256).hexdigest()[: 2 * KEY_ID]


def key(text):
    """A key's bytes from hexadecimal digits. The message never quotes them."""
    digits = str(text).strip().lower()
    if len(digits) not in (32, 64) or not HEX.fullmatch(digits):
        wrong = f"has {len(digits)} characters" if HEX.fullmatch(digits) else "is not hexadecimal"
        raise ValueError(f"it {wrong}; write 32 hexadecimal digits (128 bits) or 64 (256 bits), in quotes")
    return bytes.fromhex(digits)


def digits(what, count):
    """A parser of hexadecimal digits."""

    def parse(value):
        text = str(value).strip().lower()
        if len(text) != count or not HEX.fullmatch(text):
            raise ValueError(f"{values.shown(text)} is not {what}; write {count} hexadecimal digits, in quotes")
        return text

    return parse


def sci(value):
    return link.normal(OPTIONS["sci"], value)


def sci_of(address, port):
    """The SCI of a MAC address and a port."""
    return values.mac(address).replace(":", "") + f"{port:04x}"


# What a user wrote


def devices(entries, read_key):
    """The normal form of the module's entries. Raises InputError with every fault.

    read_key(path): the text of a key file, or ValueError.
    """
    faults, result = [], []
    for position, options in enumerate(entries):
        name = link.parse_name(options, position, faults)
        absent = options.get("state") == "absent"
        wanted, tx, rx = {}, None, None
        if not absent:
            wanted = link.parse(name, options, OPTIONS, faults)
            tx = _associations(f"{name}: tx", options.get("tx"), read_key, faults, transmit=True)
            rx = _channels(f"{name}: rx", options.get("rx"), read_key, faults)
        device = Device(
            name=name,
            kind="macsec",
            present=not absent,
            recreate=bool(options.get("recreate")),
            wanted=wanted,
            tx=tx,
            rx=rx,
        )
        link.check(device, faults)
        faults.extend(f"{name}: {fault}" for fault in conflicts(wanted))
        if "sci" in wanted and "port" in wanted:
            faults.append(f"{name}: sci, port: the SCI has a port already; give one of the two")
        if wanted.get("dev") == "":
            faults.append(f"{name}: dev: a MACsec device needs a device below it")
        if "cipher" in wanted:
            faults.extend(f"{name}: {fault}" for fault in key_faults(wanted["cipher"], tx, rx))
        result.append(device)
    link.twice(result, faults)
    if faults:
        raise InputError(faults)
    return tuple(result)


def _associations(where, listed, read_key, faults, transmit=False):
    if listed is None:
        return None
    found, numbers, keys = [], set(), {}
    for position, options in enumerate(listed):
        one = _association(f"{where} {position + 1}", options, read_key, faults)
        if one is None:
            continue
        if one.an in numbers:
            faults.append(f"{where}: an: {one.an} is there twice")
        numbers.add(one.an)
        if transmit and one.fingerprint in keys:
            faults.append(
                f"{where}: an {keys[one.fingerprint]} and an {one.an} have the same key, and would use it with the same "
                "packet numbers; give each its own"
            )
        keys[one.fingerprint] = one.an
        found.append(one)
    return tuple(found)


def _association(where, options, read_key, faults):
    """One association, or None where it cannot be made of what was written."""
    before = len(faults)
    got = {}

    def take(option, parse):
        value = options.get(option)
        if value is None:
            return
        try:
            got[option] = parse(value)
        except ValueError as error:
            faults.append(f"{where}: {option}: {error}")

    take("an", lambda value: values.integer(value, 0, ASSOCIATIONS - 1))
    if options.get("an") is None:
        faults.append(f"{where}: an: missing; write the association's number, 0 to 3")
    if (options.get("key") is None) == (options.get("key_file") is None):
        faults.append(f"{where}: key, key_file: exactly one of the two is needed")
    else:
        take("key", key)
        take("key_file", lambda path: key(read_key(path)))
    take("key_id", digits("a key id", 2 * KEY_ID))
    take("pn", lambda value: values.integer(value, 1, 2**64 - 1))
    take("ssci", lambda value: values.integer(value, 1, 2**32 - 1))
    take("salt", digits("a salt", 2 * SALT))
    take("epoch", digits("an epoch", 32))
    if len(faults) > before:
        return None
    secret = got.get("key") or got["key_file"]
    if got.get("key_id") == secret.hex():
        faults.append(f"{where}: key_id: it is the key, and every user of the host can read it; leave key_id out")
        return None
    salt = bytes.fromhex(got.get("salt", ""))
    return Association(
        an=got["an"],
        key=secret,
        key_id=got.get("key_id") or key_id(secret, salt),
        active=options.get("active") is not False,
        pn=got.get("pn"),
        ssci=got.get("ssci"),
        salt=salt or None,
        epoch=got.get("epoch", ""),
    )


def _channels(where, listed, read_key, faults):
    if listed is None:
        return None
    found, seen = [], set()
    for position, options in enumerate(listed):
        at = f"{where} {position + 1}"
        name = _channel_sci(at, options, faults)
        sa = _associations(f"{at}: sa", options.get("sa"), read_key, faults)
        if name in seen:
            faults.append(f"{where}: sci: {name} is there twice")
        seen.add(name)
        found.append(Channel(name, options.get("active"), sa))
    return tuple(found)


def _channel_sci(where, options, faults):
    """The SCI of a channel, given as such or by MAC address and port. A unique stand-in where it is faulty."""
    try:
        if (options.get("sci") is None) == (options.get("address") is None):
            raise ValueError("exactly one of sci and address is needed")
        if options.get("sci") is not None:
            if options.get("port") is not None:
                raise ValueError("the SCI has a port already; give port with address only")
            return sci(options["sci"])
        port = 1 if options.get("port") is None else values.integer(options["port"], 1, 0xFFFF)
        return sci_of(values.unicast_mac(options["address"]), port)
    except ValueError as error:
        faults.append(f"{where}: sci: {error}")
        return where


def key_faults(cipher, tx, rx):
    """What is wrong with associations for a cipher."""
    faults, used = [], {}
    suite = CIPHERS[cipher]
    for where, one in each(tx, rx):
        if len(one.key) != suite.key:
            faults.append(
                f"{where}: key: it has {8 * len(one.key)} bits, and {cipher} takes {8 * suite.key} "
                f"({2 * suite.key} hexadecimal digits)"
            )
        if suite.xpn:
            faults.extend(
                f"{where}: {option}: missing; {cipher} needs ssci and salt, the same at sender and receiver"
                for option in ("ssci", "salt")
                if getattr(one, option) is None
            )
            other = used.setdefault((one.fingerprint, one.ssci), where)
            if other.partition(" an ")[0] != where.partition(" an ")[0]:
                faults.append(
                    f"{where}: ssci: {one.ssci} goes with the same key in {other}; two senders with one key need an ssci each"
                )
        else:
            faults.extend(
                f"{where}: {option}: {cipher} has none; leave it out, or take gcm-aes-xpn-128 or -256"
                for option in ("ssci", "salt")
                if getattr(one, option) is not None
            )
        if one.pn is not None and one.pn >= suite.numbers:
            faults.append(f"{where}: pn: {one.pn} is out of range; with {cipher} it must be 1 to {suite.numbers - 1}")
    return faults


def each(tx, rx):
    """(where, Association) of all that are given."""
    for one in tx or ():
        yield f"tx an {one.an}", one
    for channel in rx or ():
        for one in channel.sa or ():
            yield f"rx {channel.sci} an {one.an}", one


def conflicts(has):
    """What does not go together among values that are known. An option that is not in `has` is not judged."""
    faults = []
    tagged = [option for option in ("send_sci", "end_station", "scb") if has.get(option)]
    if len(tagged) > 1:
        faults.append(
            f"{', '.join(tagged)}: only one of them can be true: a frame with an SCI has neither of the bits ES and SCB; "
            "set the others to false (send_sci is true unless said otherwise)"
        )
    if has.get("window") and has.get("replay") is False:
        faults.append("window: it has no effect without replay: true")
    if has.get("icvlen") is not None and has["icvlen"] not in ICV_LENGTHS:
        faults.append(
            f"icvlen: {has['icvlen']} is none that GCM takes; write one of {', '.join(map(str, ICV_LENGTHS))}"
        )
    if CIPHERS.get(has.get("cipher"), Cipher(0, 0)).xpn and (has.get("window") or 0) > XPN_WINDOW_MAX:
        faults.append(f"window: {has['window']} is out of range; with {has['cipher']} it must be 0 to {XPN_WINDOW_MAX}")
    return faults


def overhead(has):
    """Bytes that a frame grows by, as the kernel reckons it for the MTU (macsec_change_mtu)."""
    return TAG + (has.get("icvlen") or DEFAULT_ICV)


# The record of keys that were installed for transmit


@dataclass(frozen=True)
class Used:
    """A key that this host has, or may have, sent with.

    pn: the lowest packet number that was certainly not used yet, where the association was ended by us; None while it is in
    use, and for ever when it was lost: by a reboot, or because somebody else took the device or the association away.
    """

    sci: str
    fingerprint: str
    an: int
    key_id: str
    ssci: int | None = None
    epoch: str = ""
    boot: str = ""
    pn: int | None = None


MARGIN = 1024  # packet numbers that packets on their way may have taken after an association's last was read


def uses(record, cipher, own, one):
    """The rows of the record whose packet numbers would count for an association.

    The nonce of GCM is the SCI and the packet number; with XPN it is SSCI, packet number and salt, without the SCI
    (IEEE 802.1AE-2018, 14.5 and 14.7), so there every use of the key counts. own: the SCI, or None if it is not known yet.
    """
    every = own is None or CIPHERS[cipher].xpn
    same = (row for row in record if row.fingerprint == one.fingerprint or row.key_id == one.key_id)
    return [row for row in same if every or row.sci == own]


def beyond(secy, record, listed=()):
    """A packet number that no association to send with has come to whose key nobody here knows: another hand made it, under a key id of
    its own, and what is wanted now may be the same key. listed: key ids of what is wanted."""
    known = {row.key_id for row in record if row.sci == secy.sci and row.pn is None}.union(listed)
    return max((secy.free_pn(one) for one in secy.tx.values() if one.key_id not in known), default=1)


def first_pn(record, cipher, own, one, least=1):
    """The packet number to begin with. ValueError where the key must not be used (again). least: what beyond() tells; a key of an epoch is
    another one."""
    rows = uses(record, cipher, own, one)
    lost = [row for row in rows if row.pn is None]
    if lost:
        raise ValueError(
            f"key {one.key_id} was in use for transmit as an {lost[0].an} of {lost[0].sci}, and which packet numbers it was used "
            "with is not known any more (reboot, or the device or association went by another hand). A packet number that comes "
            "twice under one key gives away the authentication key and plain text (NIST SP 800-38D, section 8). Give it a key "
            "that was never used, on all its receivers too"
        )
    free = max([row.pn for row in rows], default=1)
    if free >= CIPHERS[cipher].numbers:
        raise ValueError(
            f"key {one.key_id} has no packet numbers left, or a card counted them (offload) and nobody knows which are; give it a key "
            "that was never used"
        )
    if one.pn is not None and one.pn < free:
        raise ValueError(
            f"pn: {one.pn} may have been used with key {one.key_id} already; give {free} or more, or leave pn out"
        )
    if one.pn is None and not one.epoch and least >= CIPHERS[cipher].numbers:
        raise ValueError(
            f"key {one.key_id} may be that of an association that another hand made and that has no packet numbers left; give pn: 1 if it "
            "is none that was ever used, else another key"
        )
    return one.pn or max(free, 1 if one.epoch else least)

# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec states and policies: what they are, tables of them in the words of `ip xfrm`, and their validation.

Keys stand in fields that no text and no repr() shows; faults tell a key's length at most. docs/xfrm.md has the rules.
"""

from __future__ import annotations

import hashlib
import re
import socket
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from . import values
from .errors import InputError
from .table import Faults, address_of

U32_MAX = (1 << 32) - 1
SPI_MIN = 256  # RFC 4303, section 2.1: 1 to 255 are reserved, 0 is for local use
WINDOW_MAX = 4096  # XFRMA_REPLAY_ESN_MAX of linux/xfrm.h
WINDOW = 64  # RFC 4303, section 3.4.3: what to take for want of a better number
OWNER = 118  # in the highest byte of a state's seq and of a policy's index, see docs/xfrm.md
STATE, POLICY = "state", "policy"
IN, OUT, FWD = "in", "out", "fwd"
TRANSPORT, TUNNEL = "transport", "tunnel"
MODES = (TRANSPORT, TUNNEL)
ACTIONS = ("allow", "block")
LEVELS = ("required", "use")
ESPINUDP = "espinudp"
FLAGS = {"noecn": 1, "decap-dscp": 2, "nopmtudisc": 4, "af-unspec": 32}  # XFRM_STATE_* of linux/xfrm.h
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "ipv6-icmp": 58, "sctp": 132}
WITH_PORTS = {6, 17, 33, 132, 136}  # tcp, udp, dccp, sctp, udplite
CREATE, REPLACE, DELETE = "create", "replace", "delete"


class Algorithm(NamedTuple):
    """A cipher with its authentication. Keys in bytes, in the kernel's form: the salt is the end of an AEAD's key."""

    name: str
    kernel: str  # name in the kernel's crypto API
    keys: dict  # {length of the key in bytes: what it is}
    auth: str | None = None
    auth_key: int = 0  # bytes
    icv: int = 128  # bits
    counter: bool = True  # whether a key that begins again at sequence number 0 is broken


ALGORITHMS = {
    one.name: one
    for one in (
        # RFC 4106, section 8.1: 4 bytes of salt after the key.
        Algorithm("aes-gcm", "rfc4106(gcm(aes))", {20: "AES-128", 36: "AES-256"}),
        # RFC 7634, section 2: 36 bytes.
        Algorithm("chacha20-poly1305", "rfc7539esp(chacha20,poly1305)", {36: "ChaCha20"}),
        # RFC 3602; RFC 4868, section 2.1.1: the authentication key is as long as the hash.
        Algorithm("aes-cbc-sha256", "cbc(aes)", {16: "AES-128", 32: "AES-256"}, "hmac(sha256)", 32, counter=False),
    )
}
BY_KERNEL = {one.kernel: one for one in ALGORITHMS.values()}


class Selector(NamedTuple):
    """Which packets (struct xfrm_selector). Addresses in bytes; None takes any of the family."""

    family: int
    src: bytes | None = None
    src_len: int = 0
    dst: bytes | None = None
    dst_len: int = 0
    proto: int = 0
    sport: int | None = None
    dport: int | None = None

    def words(self, whole=True):
        parts = []
        for name in ("src", "dst"):
            address, length = getattr(self, name), getattr(self, f"{name}_len")
            if address is not None or whole:
                parts += [name, f"{address_of(address or bytes(SIZES[self.family]))}/{length}"]
        if self.proto:
            parts += ["proto", PROTOCOL_NAMES.get(self.proto, str(self.proto))]
        for name in ("sport", "dport"):
            if getattr(self, name) is not None:
                parts += [name, str(getattr(self, name))]
        return parts


SIZES = {4: 4, 6: 16}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class Shape(NamedTuple):
    """What thousands of states have in common."""

    mode: str
    algorithm: str
    dir: str | None
    reqid: int = 0
    mark: tuple = (0, 0)  # value and mask
    if_id: int = 0
    encap: tuple | None = None  # source and destination port
    replay_window: int = WINDOW
    esn: bool = False
    flags: tuple = ()


class State(NamedTuple):
    """A security association. Without a shape (when it is to be absent) only what names it counts."""

    src: bytes
    dst: bytes
    spi: int
    shape: Shape | None
    sel: Selector | None
    key: bytes = b""
    auth_key: bytes = b""
    mark: tuple = (0, 0)  # that of the shape

    kind = STATE

    def __repr__(self):
        return f"<{self.text()}>"

    def place(self):
        """What the kernel holds one state for (__xfrm_state_lookup)."""
        return self.dst, self.spi, self.mark

    @property
    def counter(self):
        """Whether its packets' nonces come from its sequence numbers, so that its key must not begin again."""
        return bool(self.shape and ALGORITHMS[self.shape.algorithm].counter)

    def digest(self):
        """What tells its key from others without telling the key."""
        return digest(self.shape.algorithm, self.key)

    def text(self):
        parts = [
            "state",
            "src",
            address_of(self.src),
            "dst",
            address_of(self.dst),
            "proto",
            "esp",
            "spi",
            hex(self.spi),
        ]
        shape = self.shape
        if shape is None:
            return " ".join([*parts, *mark_words(self.mark)])
        algorithm = ALGORITHMS[shape.algorithm]
        parts += ["reqid", str(shape.reqid), "mode", shape.mode, *shape.flags]
        parts += algorithm_words(algorithm.kernel, 8 * len(self.key), algorithm.icv, algorithm.auth)
        parts += [*window_words(shape.replay_window, shape.esn), *encap_words(shape.encap), *mark_words(self.mark)]
        parts += ["if_id", hex(shape.if_id)] if shape.if_id else []
        return " ".join([*parts, *sel_words(self.sel)])


def digest(algorithm, key):
    return hashlib.blake2b(key, digest_size=16, person=algorithm.encode()[:16]).hexdigest()


def algorithm_words(name, bits, icv, auth=None):
    """An algorithm without its key."""
    return [
        *(["auth-trunc", auth, str(icv), "enc"] if auth else ["aead"]),
        name,
        f"{bits}-bit-key",
        *([] if auth else [str(icv)]),
    ]


def window_words(window, esn):
    return [*(["replay-window", str(window)] if window else []), *(["esn"] if esn else [])]


def encap_words(encap):
    return ["encap", ESPINUDP, *map(str, encap)] if encap else []


def mark_words(mark):
    return ["mark", mark_text(mark)] if mark != (0, 0) else []


def mark_text(mark):
    return f"{hex(mark[0])}/{hex(mark[1])}"


def sel_words(sel):
    return ["sel", *sel.words()] if sel else []


class Template(NamedTuple):
    """What a packet that a policy allows has to have been, or has to be, put into."""

    mode: str
    src: bytes | None = None
    dst: bytes | None = None
    spi: int = 0
    reqid: int = 0
    level: str = "required"

    def words(self):
        parts = ["tmpl"]
        for name in ("src", "dst"):
            if getattr(self, name):
                parts += [name, address_of(getattr(self, name))]
        parts += ["proto", "esp"]
        parts += ["spi", hex(self.spi)] if self.spi else []
        parts += ["reqid", str(self.reqid)] if self.reqid else []
        return [*parts, "mode", self.mode, *(["level", self.level] if self.level != "required" else [])]


class Policy(NamedTuple):
    """What happens to packets. The first fields are what the kernel holds one policy for."""

    dir: str
    sel: Selector
    mark: tuple = (0, 0)
    if_id: int = 0
    priority: int = 0
    action: str = "allow"
    tmpl: tuple = ()

    kind = POLICY

    def place(self):
        return self[:4]

    def text(self):
        parts = ["policy", "dir", self.dir, *self.sel.words(), "priority", str(self.priority), "action", self.action]
        parts += mark_words(self.mark) + (["if_id", hex(self.if_id)] if self.if_id else [])
        return " ".join([*parts, *(word for one in self.tmpl for word in one.words())])


@dataclass(frozen=True)
class Found:
    """A state or policy that the kernel holds."""

    kind: str
    owned: bool
    words: str
    message: bytes  # the body of the request that deletes it
    digest: str = ""  # of its key, where it has one of a counter mode

    def text(self):
        return self.words if self.owned else f"{self.words} (of another owner)"


@dataclass
class Wanted:
    """The given states and policies."""

    states: list = field(default_factory=list)
    policies: list = field(default_factory=list)

    def rows(self):
        return [*self.states, *self.policies]


@dataclass
class Seen:
    """What was seen, as far as the plan needs it. Positions count Wanted.rows()."""

    missing: list = field(default_factory=list)
    different: list = field(default_factory=list)  # (position, Found, in words how it differs where no text shows it)
    same: list = field(default_factory=list)  # positions
    strangers: list = field(default_factory=list)  # Found: our own that nobody wants


@dataclass
class Operation:
    """One kind of change, in bulk."""

    kind: str
    rows: list  # State or Policy; Found for DELETE


# Reading what the user wrote


def from_entries(states, policies, absent=False, read_key=None):
    """The wanted rows from lists of dictionaries. read_key(path): the words of a key file. Raises InputError."""
    faults = Faults()
    wanted = Wanted()
    names = {STATE: [], POLICY: []}
    for i, entry in enumerate(states or (), 1):
        names[STATE].append(f"states row {i}")
        wanted.states.append(_read(faults, names[STATE][-1], _state, _given(entry), absent, read_key))
    for i, entry in enumerate(policies or (), 1):
        names[POLICY].append(f"policies row {i}")
        wanted.policies.append(_read(faults, names[POLICY][-1], _policy, _given(entry), absent))
    return _checked(wanted, names, faults)


def from_table(text, absent=False, read_key=None):
    """The wanted rows from lines in the words of `ip xfrm`, each after `state` or `policy`. Raises InputError."""
    faults = Faults()
    wanted = Wanted()
    names = {STATE: [], POLICY: []}
    known = {}  # of states that a line was read of: one for each way in which lines differ in more than a state's own words
    for number, line in enumerate(text.split("\n"), 1):
        quick = None if absent else _quick(line, known)
        if quick is not None and quick[0] is not None:
            row = quick[0]
            (wanted.states if row.kind == STATE else wanted.policies).append(row)
            names[row.kind].append(f"src line {number}")
            continue
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        name = f"src line {number}"
        if words[0] == STATE:
            wanted.states.append(_read(faults, name, _state_line, words, absent, read_key))
        elif words[0] == POLICY:
            wanted.policies.append(_read(faults, name, _policy_line, words, absent))
        else:
            faults.add(f"{name}: it begins with neither 'state' nor 'policy'")
            continue
        names[words[0]].append(name)
        if quick is not None:
            made = (wanted.states if words[0] == STATE else wanted.policies)[-1]
            if made is not None:
                known[quick[1]] = made
    return _checked(wanted, names, faults)


# Thousands of lines differ in addresses, SPIs and keys. These are the places of those words in lines as they mostly are.
_STATE_LINE = re.compile(
    r"state src (\S+) dst (\S+) proto esp spi (\S+) (.*?)aead (\S+) 0x([0-9a-fA-F]+) (\S+)(.*?)(?: sel src (\S+) dst (\S+)(.*))?"
)
_POLICY_LINE = re.compile(
    r"policy src (\S+) dst (\S+) (.*?)tmpl src (\S+) dst (\S+) proto esp (?:spi (\S+) )?(reqid .*)"
)


def _quick(line, known):
    """(the row, what tells the line's way) of a line as lines mostly are; the row is None where its way is new.

    None for other lines. Whatever is wrong with a line is found by the other way to read it.
    """
    match = _STATE_LINE.fullmatch(line)
    try:
        if match:
            return _quick_state(match.groups(), known)
        match = _POLICY_LINE.fullmatch(line)
        return _quick_policy(match.groups(), known) if match else None
    except ValueError:
        return None


def _quick_state(words, known):
    src, dst, spi, head, name, key, icv, tail, sel_src, sel_dst, sel_tail = words
    src, dst, spi, key = one_address(src), one_address(dst), int(spi, 0), bytes.fromhex(key)
    ends = (_end(sel_src), _end(sel_dst)) if sel_src is not None else _NO_ENDS
    way = (STATE, head, name, icv, tail, sel_tail, len(src), len(dst), len(key), ends[0][1], ends[1][1])
    like = known.get(way)
    if like is None or not SPI_MIN <= spi <= U32_MAX or not any(key):
        return None, way
    sel = like.sel
    if sel is not None:
        (src_prefix, _size, src_len), (dst_prefix, _size, dst_len) = ends
        sel = Selector(sel.family, src_prefix, src_len, dst_prefix, dst_len, *sel[5:])
    return State(src, dst, spi, like.shape, sel, key, b"", like.mark), way


def _quick_policy(words, known):
    src, dst, middle, tmpl_src, tmpl_dst, spi, tail = words
    ends = _end(src), _end(dst)
    tmpl_src, tmpl_dst = one_address(tmpl_src), one_address(tmpl_dst)
    number = 0 if spi is None else int(spi, 0)
    way = (POLICY, middle, tail, spi is None, ends[0][1], ends[1][1], len(tmpl_src), len(tmpl_dst))
    like = known.get(way)
    if like is None or spi is not None and not SPI_MIN <= number <= U32_MAX:
        return None, way
    (src_prefix, _size, src_len), (dst_prefix, _size, dst_len) = ends
    sel = Selector(like.sel.family, src_prefix, src_len, dst_prefix, dst_len, *like.sel[5:])
    (tmpl,) = like.tmpl
    tmpl = Template(tmpl.mode, tmpl_src, tmpl_dst, number, tmpl.reqid, tmpl.level)
    return Policy(like.dir, sel, like.mark, like.if_id, like.priority, like.action, (tmpl,)), way


_NO_ENDS = ((None, 0, 0), (None, 0, 0))


@lru_cache(maxsize=1 << 16)
def _end(text):
    """(address or None for any, bytes of an address, prefix length) of one end of a selector."""
    packed, length = _prefix(text, "")
    return (packed if any(packed) else None), len(packed), length


def _given(value):
    """An entry as far as it says something."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return [_given(inner) for inner in value] if isinstance(value, list) else value


class _Wrong(Exception):
    """All that is wrong with a row."""

    def __init__(self, told):
        super().__init__(*told)
        self.told = told


def _read(faults, name, read, *how):
    """What `read` makes of a row, or None with its faults told."""
    try:
        return read(*how)
    except _Wrong as error:
        for text in error.told:
            faults.add(f"{name}: {text}")
    except ValueError as error:
        faults.add(f"{name}: {error}")
    return None


def _named(name, check, value, told):
    """The normal form of a value, or None with its fault told."""
    try:
        return check(value)
    except ValueError as error:
        told.append(f"{name}: {error}")
        return None


def _shown(word):
    """A word that a fault may quote: one that cannot be a key."""
    return repr(word) if len(word) <= 20 else f"a word of {len(word)} characters"


# States


def _state(given, absent, read_key):
    told = []
    key = auth_key = ""
    if "key_file" in given:
        if "key" in given or "auth_key" in given:
            told.append("key_file: it goes without key and auth_key; leave it or them out")
        else:
            key, auth_key = _named("key_file", lambda path: _key_words(read_key(path)), given["key_file"], told) or (
                "",
                "",
            )
            if not key:
                raise _Wrong(told)
    key, auth_key = given.get("key", key), given.get("auth_key", auth_key)
    shape = () if absent else _entry_shape(given)
    sel = given.get("sel")
    for name in ("src", "dst", "spi"):
        if name not in given:
            told.append(f"{name}: missing; a state has a source, a destination and an SPI")
    if told:
        raise _Wrong(told)
    if absent:
        return _absent_state(given["src"], given["dst"], given["spi"], given.get("mark"))
    return _row(given["src"], given["dst"], given["spi"], key, auth_key, shape, sel, told)


def _entry_shape(given):
    """The pairs that a shape is made of, hashable."""
    encap = given.get("encap")
    pairs = [
        (name, given[name])
        for name in ("mode", "algorithm", "dir", "reqid", "mark", "if_id", "replay_window", "esn")
        if name in given
    ]
    if encap:
        pairs.append(("encap", tuple(sorted(encap.items()))))
    if given.get("flags"):
        pairs.append(("flags", tuple(given["flags"])))
    return tuple(pairs)


def _key_words(text):
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise ValueError(
            f"holds {len(words)} words; write the key in hexadecimal, and for aes-cbc-sha256 auth_key after it"
        )
    return words[0], words[1] if len(words) == 2 else ""


def _row(src, dst, spi, key, auth_key, pairs, sel, told):
    """A State from what a user wrote of it. Raises _Wrong with all that is wrong."""
    source = _named("src", one_address, src, told)
    destination = _named("dst", one_address, dst, told)
    number = _named("spi", _spi, spi, told)
    shape = bad = None
    try:
        shape = _shape(pairs)
    except _Wrong as error:
        bad = error.told
        told += bad
    if source and destination and len(source) != len(destination):
        told.append(f"src {src} and dst {dst} are of different families; both addresses of a state are of one")
    selector = _named("sel", _selector_of, sel, told) if sel else None
    if shape and selector and destination:
        family = 4 if len(destination) == 4 else 6
        if "af-unspec" in shape.flags:
            told.append("sel: it goes without the flag af-unspec, which takes all of both families; leave one out")
        elif shape.mode == TRANSPORT and selector.family != family:
            told.append(
                f"sel: it is of IPv{selector.family} and the addresses are of IPv{family}; only mode tunnel mixes families"
            )
    algorithm = ALGORITHMS[shape.algorithm] if shape else None
    secret = secret_auth = b""
    if algorithm:
        secret = _named("key", lambda text: _key(text, algorithm.keys, algorithm.name), key, told)
        secret_auth = _named("auth_key", lambda text: _auth_key(text, algorithm), auth_key, told)
    if told:
        raise _Wrong(told)
    return State(source, destination, number, shape, selector, secret, secret_auth, shape.mark)


def _absent_state(src, dst, spi, mark):
    told = []
    source = _named("src", one_address, src, told)
    destination = _named("dst", one_address, dst, told)
    number = _named("spi", _spi, spi, told)
    made = _named("mark", _mark, mark, told) if mark is not None else (0, 0)
    if told:
        raise _Wrong(told)
    return State(source, destination, number, None, None, mark=made)


@lru_cache(maxsize=1 << 16)
def one_address(text):
    """An address in bytes, not the unspecified one."""
    text = str(text)
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        packed = values.pack(values.address(text))
    if not any(packed):
        raise ValueError(f"{text} means any address; name the host's own")
    return packed


def _spi(value):
    number = values.integer(value, 0, U32_MAX)
    if number < SPI_MIN:
        raise ValueError(f"{value!r} is reserved (RFC 4303, section 2.1); it must be {SPI_MIN} to {U32_MAX}")
    return number


def _hexadecimal(text):
    """A key in bytes. What is wrong with it is told without it."""
    text = str(text).strip()
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(
            f"its {len(digits)} characters are not pairs of hexadecimal digits; write it like 0x00ff..., in quotes"
        ) from None


def _key(text, lengths, name):
    if text == "":
        raise ValueError(f"missing; {name} needs {_lengths(lengths)}")
    key = _hexadecimal(text)
    if len(key) not in lengths:
        raise ValueError(f"it is {len(key)} bytes long; {name} needs {_lengths(lengths)}")
    if not any(key):
        raise ValueError("it is all zero; give it 16 or more random bytes")
    return key


def _lengths(lengths):
    return " or ".join(f"{length} bytes ({what})" if what else f"{length} bytes" for length, what in lengths.items())


def _auth_key(text, algorithm):
    if algorithm.auth:
        return _key(text, {algorithm.auth_key: "HMAC-SHA-256"}, algorithm.name)
    if text:
        raise ValueError(f"{algorithm.name} authenticates by its one key; leave it out")
    return b""


@lru_cache(maxsize=4096)
def _shape(pairs):
    """A Shape from pairs of names and values, as they were written. Raises _Wrong."""
    given = dict(pairs)
    told = []
    made = {
        "mode": _choice("mode", given.get("mode"), MODES, told),
        "dir": _choice("dir", given.get("dir"), (IN, OUT), told),
        "algorithm": _named("algorithm", _algorithm, given.get("algorithm"), told),
    }
    for name, check in (
        ("reqid", lambda value: values.integer(value, 0, U32_MAX)),
        ("mark", _mark),
        ("if_id", lambda value: values.integer(value, 0, U32_MAX)),
        ("encap", _encap),
        ("replay_window", lambda value: values.integer(value, 0, WINDOW_MAX)),
        ("esn", bool),
        ("flags", _flags),
    ):
        if name in given:
            made[name] = _named(name, check, given[name], told)
    if "af-unspec" in (made.get("flags") or ()) and made["mode"] == TRANSPORT:
        told.append("flags: af-unspec is for mode tunnel, where families mix")
    if made.get("esn") and made.get("replay_window", WINDOW) == 0:
        told.append("replay_window: extended sequence numbers (esn) need one; write 1 to 4096, or leave it out for 64")
    if told:
        raise _Wrong(told)
    return Shape(**made)


def _choice(name, value, known, told):
    if value in known:
        return value
    told.append(
        f"{name}: missing; write one of {', '.join(known)}"
        if value is None
        else f"{name}: {_shown(str(value))} is none of {', '.join(known)}"
    )
    return None


def _algorithm(value):
    if value is None:
        raise ValueError(f"missing; write one of {', '.join(ALGORITHMS)}")
    if value in ALGORITHMS:
        return value
    if value in BY_KERNEL:
        return BY_KERNEL[value].name
    raise ValueError(f"{_shown(str(value))} is not known; known are {', '.join(ALGORITHMS)}")


def _encap(pairs):
    given = dict(pairs)
    if given.get("type", ESPINUDP) != ESPINUDP:
        raise ValueError(f"type: {_shown(str(given['type']))} is not known; it is {ESPINUDP} (RFC 3948)")
    return tuple(_port(given.get(name, 4500)) for name in ("sport", "dport"))


def _port(value):
    return values.integer(value, 1, 65535)


def _flags(given):
    for flag in given:
        if flag not in FLAGS:
            raise ValueError(f"{_shown(str(flag))} is none of {', '.join(FLAGS)}")
    return tuple(flag for flag in FLAGS if flag in given)


def _mark(value):
    """(value, mask) from a number or value/mask."""
    mark, slash, mask = str(value).partition("/")
    mark = values.integer(mark, 0, U32_MAX)
    mask = values.integer(mask, 0, U32_MAX) if slash else U32_MAX
    if mark & ~mask:
        raise ValueError(f"{value!r} has bits that its mask leaves out; write {mark_text((mark & mask, mask))}")
    return mark, mask


# Selectors


def _selector_of(given):
    return _selector(tuple(sorted(given.items())) if isinstance(given, dict) else given)


@lru_cache(maxsize=1 << 16)
def _selector(pairs):
    """A Selector from pairs of names and values. Raises ValueError."""
    made = {}
    family = None
    for name, value in pairs:
        if name == "family":
            family = values.integer(value, 4, 6)
        elif name in ("src", "dst"):
            address, length = _prefix(value, name)
            if made.get("family") not in (None, 4 if len(address) == 4 else 6):
                raise ValueError("src and dst are of different families; a selector is of one")
            made["family"] = 4 if len(address) == 4 else 6
            made[f"{name}_len"] = length
            made[name] = address if any(address) else None
        elif name == "proto":
            made[name] = _proto(value)
        elif name in ("sport", "dport"):
            try:
                made[name] = _port(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        else:
            raise ValueError(f"{_shown(str(name))} is none of src, dst, proto, sport, dport")
    if family and made.setdefault("family", family) != family:
        raise ValueError(f"family: it is {family}, and src and dst are of IPv{made['family']}; leave it out")
    if "family" not in made:
        raise ValueError("names no family; write src or dst, 0.0.0.0/0 or ::/0 for any")
    if made.get("proto", 0) not in WITH_PORTS and ("sport" in made or "dport" in made):
        raise ValueError("sport and dport want a proto that has ports; write proto udp")
    return Selector(**made)


def _prefix(value, name):
    text = str(value)
    address, slash, length = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        raise ValueError(
            f"{name}: {_shown(text)} is not a prefix; write it like 2001:db8::1/128 or 192.0.2.1"
        ) from None
    bits = 8 * len(packed)
    if not slash:
        return packed, bits
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise ValueError(f"{name}: {_shown(text)}: the prefix length must be 0 to {bits}")
    size = int(length)
    left = int.from_bytes(packed, "big") & ((1 << bits - size) - 1)
    if left:
        network = (int.from_bytes(packed, "big") ^ left).to_bytes(len(packed), "big")
        raise ValueError(f"{name}: {_shown(text)} has host bits set; write {address_of(network)}/{size}")
    return packed, size


def _proto(value):
    if value in PROTOCOLS:
        return PROTOCOLS[value]
    try:
        return values.integer(value, 0, 255)
    except ValueError:
        raise ValueError(f"proto: {_shown(str(value))} is neither a number nor one of {', '.join(PROTOCOLS)}") from None


# Policies


def _policy(given, absent):
    told = []
    made = {
        "dir": _choice("dir", given.get("dir"), (IN, OUT, FWD), told),
        "sel": _named("selector", _selector_of, {name: given[name] for name in SELECTOR if name in given}, told),
    }
    for name, check in (
        ("mark", _mark),
        ("if_id", lambda value: values.integer(value, 0, U32_MAX)),
        ("priority", lambda value: values.integer(value, 0, U32_MAX)),
    ):
        if name in given:
            made[name] = _named(name, check, given[name], told)
    if "action" in given:
        made["action"] = _choice("action", given["action"], ACTIONS, told)
    templates = given.get("tmpl") or []
    if templates and made.get("action") == "block":
        told.append("tmpl: what is blocked is put into nothing; leave it out, or write action allow")
    if len(templates) > TEMPLATES:
        told.append(f"tmpl: {len(templates)} are too many; the kernel takes {TEMPLATES}")
    made["tmpl"] = tuple(
        _template(one, f"tmpl {i}: ", made["sel"].family if made["sel"] else None, made["dir"], told)
        for i, one in enumerate(templates, 1)
    )
    if told:
        raise _Wrong(told)
    return Policy(**made)


SELECTOR = ("family", "src", "dst", "proto", "sport", "dport")
TEMPLATES = 6  # XFRM_MAX_DEPTH of the kernel's include/net/xfrm.h


def _template(given, where, family, direction, told):
    before = len(told)
    made = {"mode": _choice(f"{where}mode", given.get("mode"), MODES, told)}
    for name in ("src", "dst"):
        if name in given:
            made[name] = _named(f"{where}{name}", one_address, given[name], told)
    if "spi" in given:
        made["spi"] = _named(f"{where}spi", _spi, given["spi"], told)
    if "reqid" in given:
        made["reqid"] = _named(f"{where}reqid", lambda value: values.integer(value, 0, U32_MAX), given["reqid"], told)
    if "level" in given:
        made["level"] = _choice(f"{where}level", given["level"], LEVELS, told)
    if given.get("proto", "esp") != "esp":
        told.append(f"{where}proto: {_shown(str(given['proto']))} is not known; it is esp")
    if len(told) > before:
        return None
    ends = [made[name] for name in ("src", "dst") if name in made]
    if made["mode"] == TUNNEL:
        if len(ends) < 2:
            told.append(f"{where}a tunnel wants src and dst, between which it leads")
    elif any(len(one) != SIZES[family] for one in ends if family):
        told.append(
            f"{where}its addresses are not of IPv{family}, which the policy is of; only mode tunnel mixes families"
        )
    if len(ends) == 2 and len(ends[0]) != len(ends[1]):
        told.append(f"{where}src and dst are of different families")
    if made.get("spi") and direction == OUT and "dst" not in made and made["mode"] == TUNNEL:
        told.append(f"{where}spi: it names a state together with dst; write dst")
    return None if len(told) > before else Template(**made)


# Lines

STATE_WORDS = (
    "src",
    "dst",
    "proto",
    "spi",
    "reqid",
    "mode",
    "dir",
    "mark",
    "mask",
    "if_id",
    "replay-window",
    "flag",
    "encap",
    "aead",
    "auth-trunc",
    "enc",
    "key-file",
    "algorithm",
    "sel",
)
POLICY_WORDS = ("src", "dst", "proto", "sport", "dport", "dir", "priority", "action", "mark", "mask", "if_id", "tmpl")


def _state_line(words, absent, read_key):
    """A State from a line. What most lines share is looked up by the words that are left when the others are cut out."""
    found, rest, sel = {}, [], ()
    at = 1
    end = len(words)
    try:
        while at < end:
            word = words[at]
            if word in ("src", "dst", "spi", "key-file"):
                _put(found, word, words[at + 1])
                at += 2
            elif word == "aead":
                rest += (word, words[at + 1], words[at + 3])
                _put(found, "key", words[at + 2])
                at += 4
            elif word == "auth-trunc":
                rest += (word, words[at + 1], words[at + 3])
                _put(found, "auth_key", words[at + 2])
                at += 4
            elif word == "enc":
                rest += (word, words[at + 1])
                _put(found, "key", words[at + 2])
                at += 3
            elif word == "sel":
                sel = _pairs(words[at + 1 :], SELECTOR, "sel")
                at = end
            elif word == "encap":
                rest += words[at : at + 4]
                at += 5 if at + 4 < end and words[at + 4] not in STATE_WORDS else 4  # ip wants an address here
            else:
                rest += words[at : at + 2]
                at += 2
    except IndexError:
        raise ValueError(f"{_shown(words[at])} lacks its value") from None
    for name in ("src", "dst", "spi"):
        if name not in found:
            raise ValueError(f"{name}: missing; a state has a source, a destination and an SPI")
    pairs = _rest(tuple(rest))
    if absent:
        return _absent_state(found["src"], found["dst"], found["spi"], dict(pairs).get("mark"))
    if "key-file" in found:
        if "key" in found:
            raise ValueError("key-file: it goes without a key; leave one out")
        try:
            found["key"], found["auth_key"] = _key_words(read_key(found["key-file"]))
        except ValueError as error:
            raise ValueError(f"key-file: {error}") from None
    return _row(
        found["src"], found["dst"], found["spi"], found.get("key", ""), found.get("auth_key", ""), pairs, sel, []
    )


def _put(found, name, value):
    if name in found:
        raise ValueError(f"{name!r} stands twice; leave one out")
    found[name] = value


def _pairs(words, known, where):
    if len(words) % 2:
        raise ValueError(f"{where}: {_shown(words[-1])} lacks its value, or is one too many")
    for name in words[::2]:
        if name not in known:
            raise ValueError(f"{where}: {_shown(name)} is not one of its words; known are {', '.join(known)}")
    return tuple(zip(words[::2], words[1::2]))


@lru_cache(maxsize=4096)
def _rest(words):
    """The pairs of a Shape from the words of a line that are not a state's own."""
    found = {}
    flags = []
    at = 0
    while at < len(words):
        word = words[at]
        value = words[at + 1] if at + 1 < len(words) else None
        if value is None:
            raise ValueError(f"{_shown(word)} lacks its value")
        at += 2
        if word == "flag":
            flags.append(value)
        elif word in ("reqid", "mode", "dir", "if_id", "mark", "mask", "algorithm"):
            _put(found, word, value)
        elif word == "replay-window":
            _put(found, "replay_window", value)
        elif word == "proto":
            if value != "esp":
                raise ValueError(f"proto: {_shown(value)} is not known; it is esp")
        elif word == "aead":
            if words[at] != "128":
                raise ValueError(f"aead: the integrity check value is 128 bits long, not {_shown(words[at])}")
            _put(found, "algorithm", value)
            at += 1
        elif word == "auth-trunc":
            if (value, words[at]) != ("hmac(sha256)", "128"):
                raise ValueError("auth-trunc: it is hmac(sha256) with 128 bits")
            at += 1
        elif word == "enc":
            _put(found, "algorithm", value)
        elif word == "encap":
            if len(words) < at + 2:
                raise ValueError("'encap' lacks its value: espinudp SPORT DPORT")
            _put(found, word, (("type", value), ("sport", words[at]), ("dport", words[at + 1])))
            at += 2
        else:
            raise ValueError(f"{_shown(word)} is not a word of a state; known are {', '.join(STATE_WORDS)}")
    _join_mark(found)
    if "esn" in flags:
        flags.remove("esn")
        found["esn"] = True
    if flags:
        found["flags"] = tuple(flags)
    return tuple(found.items())


def _join_mark(found):
    """`mark V mask M` as value/mask."""
    mask = found.pop("mask", None)
    if mask is not None:
        if "mark" not in found or "/" in found["mark"]:
            raise ValueError("mask: it stands after 'mark' and its value")
        found["mark"] = f"{found['mark']}/{mask}"


def _policy_line(words, absent):
    """A Policy from a line."""
    given = here = {}
    at = 1
    while at < len(words):
        word = words[at]
        if word == "tmpl":
            here = {}
            given.setdefault("tmpl", []).append(here)
            at += 1
            continue
        known = TEMPLATE_WORDS if here is not given else POLICY_WORDS
        if word not in known:
            what = "a template" if here is not given else "a policy"
            raise ValueError(f"{_shown(word)} is not a word of {what}; known are {', '.join(known)}")
        if at + 1 == len(words):
            raise ValueError(f"{word!r} lacks its value")
        _put(here, word, words[at + 1])
        at += 2
    _join_mark(given)
    return _policy(given, absent)


TEMPLATE_WORDS = ("src", "dst", "proto", "spi", "reqid", "mode", "level")


# What only all rows together tell


def _checked(wanted, names, faults):
    """Raises InputError with every fault, also those of rows that stand in one another's way."""
    _check_places(wanted.states, names[STATE], faults)
    _check_keys(wanted.states, names[STATE], faults)
    _check_dirs(wanted.states, names[STATE], faults)
    _check_policies(wanted.policies, names[POLICY], faults)
    if faults.count:
        raise InputError(faults.lines())
    return wanted


def _check_places(states, names, faults):
    """States of one destination and SPI stand in one another's way if a mark that one takes is taken by the other."""
    if len({(state.dst, state.spi) for state in states if state is not None}) == len(states):
        return
    at = {}
    for name, state in zip(names, states):
        if state is None:
            continue
        first = at.setdefault((state.dst, state.spi), [])
        for other_name, other in first:
            if covers(other.mark, state.mark) or covers(state.mark, other.mark):
                faults.add(
                    f"{name}: dst {address_of(state.dst)} proto esp spi {hex(state.spi)} {' '.join(mark_words(state.mark))}".rstrip()
                    + f" is taken by {other_name}; give it another spi, or leave one out"
                )
                break
        first.append((name, state))


def _check_keys(states, names, faults):
    """Two states with one key count their packets separately, so that nonces come twice (RFC 4106, section 2)."""
    if len({state.key for state in states if state is not None}) == len(states):
        return
    at = {}
    for name, state in zip(names, states):
        if state is not None and state.counter:
            first = at.setdefault((state.shape.algorithm, state.key), name)
            if first is not name:
                faults.add(
                    f"{name}: key: it is that of {first}; each state of {state.shape.algorithm} needs a key of its own"
                )


def _check_dirs(states, names, faults):
    """What comes from this host does not come in. Which keys may be used again hangs on `dir`, so it must be right."""
    mine = {state.src for state in states if state is not None and state.shape and state.shape.dir == OUT}
    for name, state in zip(names, states):
        if state is not None and state.shape and state.shape.dir == IN and state.src in mine:
            faults.add(
                f"{name}: dir: src {address_of(state.src)} is this host's own, by states that go out; write dir out, or another src"
            )


def covers(mine, theirs):
    """Whether a packet with the mark of `theirs` is taken by a state with the mark `mine` (__xfrm_state_lookup)."""
    return theirs[0] & theirs[1] & mine[1] == mine[0]


def _check_policies(policies, names, faults):
    at = {}
    for name, policy in zip(names, policies):
        if policy is None:
            continue
        first = at.setdefault(policy.place(), name)
        if first is not name:
            faults.add(
                f"{name}: it takes the same packets as {first}, and the kernel keeps one policy for them; leave one out"
            )

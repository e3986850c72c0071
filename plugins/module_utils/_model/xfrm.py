# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec states and policies: what they are, and their text in the words of `ip xfrm`.

Keys stand in fields that no text and no repr() shows. docs/xfrm.md has the rules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from .table import address_of

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


AES = {16: "AES-128", 32: "AES-256"}
ALGORITHMS = {
    one.name: one
    for one in (
        # RFC 4106, section 8.1: 4 bytes of salt after the key.
        Algorithm("aes-gcm", "rfc4106(gcm(aes))", {20: "AES-128", 36: "AES-256"}),
        # RFC 7634, section 2: 36 bytes.
        Algorithm("chacha20-poly1305", "rfc7539esp(chacha20,poly1305)", {36: "ChaCha20"}),
        # RFC 3602; RFC 4868, section 2.1.1: the authentication key is as long as the hash.
        Algorithm("aes-cbc-sha256", "cbc(aes)", AES, "hmac(sha256)", 32, 128, counter=False),
        Algorithm("aes-cbc-sha384", "cbc(aes)", AES, "hmac(sha384)", 48, 192, counter=False),
        Algorithm("aes-cbc-sha512", "cbc(aes)", AES, "hmac(sha512)", 64, 256, counter=False),
    )
}
# A cipher without its authentication is the first that has it.
BY_KERNEL = {one.kernel: one for one in reversed(ALGORITHMS.values())}
BY_AUTH = {(one.auth, one.icv): one for one in ALGORITHMS.values() if one.auth}


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

    def family(self, before):
        """Of the packet that it makes out of one of the family before, which without addresses it does not change."""
        end = self.dst or self.src
        return (4 if len(end) == 4 else 6) if end else before

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


def covers(mine, theirs):
    """Whether a packet with the mark of `theirs` is taken by a state with the mark `mine` (__xfrm_state_lookup)."""
    return theirs[0] & theirs[1] & mine[1] == mine[0]

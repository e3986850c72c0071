# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of IPsec states from one secret of the fabric: a key for each direction between two hosts, and another one whenever
the epoch of either host is another one. HKDF with SHA-256 (RFC 5869).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

SALT = b"vtep.fabric xfrm 1"
SECRET_MIN = (
    32  # characters: as many bits as the longest key, when they are hexadecimal digits of a random 128-bit number
)
SPI_MIN = 256  # RFC 4303, section 2.1


class End(NamedTuple):
    """A host as one end. Its epoch is a text that never comes back: that of its boot, and of its last rotation."""

    name: str
    address: str
    epoch: str


class Keys(NamedTuple):
    """What both ends must know of one direction."""

    spi: int
    key: bytes
    auth_key: bytes

    def __repr__(self):
        return f"Keys(spi={self.spi:#x})"


def hkdf(secret, salt, info, length):
    """RFC 5869, sections 2.2 and 2.3."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    made = block = b""
    number = 0
    while len(made) < length:
        number += 1
        block = hmac.new(extracted, block + info + bytes((number,)), hashlib.sha256).digest()
        made += block
    return made[:length]


def direction(secret, sender, receiver, algorithm, key_length, auth_length=0, use=()):
    """The Keys of what `sender` sends to `receiver`. secret: bytes; algorithm: its name; lengths in bytes. use: what else a state is
    made for, since a state that is made anew for something else must not have the key of the former one.
    """
    parts = [*sender, *receiver, algorithm, str(key_length), *use]
    # Each part with its length before it: no two lists of parts make the same bytes.
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (str(part).encode() for part in parts))
    made = hkdf(secret, SALT, info, 4 + key_length + auth_length)
    spi = SPI_MIN + int.from_bytes(made[:4], "big") % ((1 << 32) - SPI_MIN)
    return Keys(spi, made[4 : 4 + key_length], made[4 + key_length :])

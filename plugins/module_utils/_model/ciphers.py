# SPDX-License-Identifier: GPL-3.0-or-later
"""The ciphers of MACsec and ESP that Linux has, by the names of iproute2 and strongSwan: how long their keys are, and what
they add to a packet. Lengths are in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Macsec:
    """Of any of them the ICV is 16 bytes, and the SecTAG has no other length (IEEE 802.1AE, clauses 9.3 and 14)."""

    key: int


@dataclass(frozen=True)
class Esp:
    key: int  # of encryption, with the salt where there is one, and of authentication together
    iv: int  # in each packet
    block: int  # what is encrypted is a multiple of it
    icv: int
    source: str


MACSEC = {
    "gcm-aes-128": Macsec(16),
    "gcm-aes-256": Macsec(32),
    "gcm-aes-xpn-128": Macsec(16),
    "gcm-aes-xpn-256": Macsec(32),
}

# Keys of AEAD ciphers end in a salt of 4 bytes (RFC 4106, section 8.1; RFC 7634, section 2). ESP aligns to 4 bytes whatever the
# cipher (RFC 4303, section 2.4).
ESP = {
    "aes128gcm16": Esp(16 + 4, 8, 4, 16, "RFC 4106"),
    "aes256gcm16": Esp(32 + 4, 8, 4, 16, "RFC 4106"),
    "chacha20poly1305": Esp(32 + 4, 8, 4, 16, "RFC 7634"),
    "aes128-sha256": Esp(16 + 32, 16, 16, 16, "RFC 3602, RFC 4868"),
    "aes256-sha256": Esp(32 + 32, 16, 16, 16, "RFC 3602, RFC 4868"),
    "aes256-sha384": Esp(32 + 48, 16, 16, 24, "RFC 3602, RFC 4868"),
    "aes256-sha512": Esp(32 + 64, 16, 16, 32, "RFC 3602, RFC 4868"),
}

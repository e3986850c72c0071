# SPDX-License-Identifier: GPL-3.0-or-later
"""The ciphers of MACsec and ESP that a fabric can have, and what those of ESP add to a packet.

Those of MACsec all add the same (IEEE 802.1AE, clauses 9.3 and 14) and have iproute2's names, those of ESP strongSwan's.
"""

from __future__ import annotations

from dataclasses import dataclass

MACSEC = ("gcm-aes-128", "gcm-aes-256", "gcm-aes-xpn-128", "gcm-aes-xpn-256")


@dataclass(frozen=True)
class Esp:
    """Lengths are in bytes."""

    iv: int  # in each packet
    block: int  # what is encrypted is a multiple of it
    icv: int
    source: str
    xfrm: tuple  # algorithm and bits of the key in the words of filter xfrm_mesh


# ESP aligns to 4 bytes whatever the cipher (RFC 4303, section 2.4).
ESP = {
    "aes128gcm16": Esp(8, 4, 16, "RFC 4106", ("aes-gcm", 128)),
    "aes256gcm16": Esp(8, 4, 16, "RFC 4106", ("aes-gcm", 256)),
    "chacha20poly1305": Esp(8, 4, 16, "RFC 7634", ("chacha20-poly1305", 256)),
    "aes128-sha256": Esp(16, 16, 16, "RFC 3602, RFC 4868", ("aes-cbc-sha256", 128)),
    "aes256-sha256": Esp(16, 16, 16, "RFC 3602, RFC 4868", ("aes-cbc-sha256", 256)),
    "aes256-sha384": Esp(16, 16, 24, "RFC 3602, RFC 4868", ("aes-cbc-sha384", 256)),
    "aes256-sha512": Esp(16, 16, 32, "RFC 3602, RFC 4868", ("aes-cbc-sha512", 256)),
}

# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and secure channel identifiers of the MACsec devices that a fabric makes."""

from __future__ import annotations

import zlib

PREFIX = "ms-"
LONGEST = 15  # characters of a device's name (linux/if.h: IFNAMSIZ)
ALIAS = "vtep.fabric macsec on"


def device(dev):
    """The MACsec device on another one: ms-eth0. A long name is cut, and four digits keep it from meeting another's."""
    name = PREFIX + dev
    if len(name) <= LONGEST:
        return name
    return f"{name[:10]}-{zlib.crc32(dev.encode()) & 0xFFFF:04x}"


def sci(mac, port):
    """IEEE 802.1AE, 7.1.2: a MAC address and a port, 16 hexadecimal digits."""
    return mac.replace(":", "") + f"{port:04x}"

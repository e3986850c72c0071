# SPDX-License-Identifier: GPL-3.0-or-later
"""Normal forms of the field's basic values: MAC addresses, IP addresses, VNIs, device names.

Each function takes what a user wrote and returns its normal form, or raises ValueError with a message that names the
value and what is allowed. Callers add the host and the key.
"""

from __future__ import annotations

import ipaddress
import re
import socket

VNI_MAX = (1 << 24) - 1  # RFC 7348, section 5: 24 bits. 0 is what the kernel takes for "none".
# The collection's mark where the kernel keeps the number of who made a thing: IFA_PROTO (kernel 5.18 and newer keep it),
# rtm_protocol, FRA_PROTOCOL, NDA_PROTOCOL. linux/rtnetlink.h leaves numbers above 4 to whoever needs one; nobody known uses
# this one.
PROTOCOL = 118
AGENT_PROTOCOL = 119  # of neighbours that vtep-agent writes; they come and go with traffic
ZERO_MAC = "00:00:00:00:00:00"  # the FDB's default entry: where BUM frames go

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_KEY = re.compile(r"\s*(0x)?[0-9a-fA-F]{32,}\s*")
_DEV = re.compile(r"[^\s/:]{1,15}")


def mac(value):
    """A MAC address in the kernel's form: six pairs of lower-case hexadecimal digits joined by colons."""
    text = str(value).strip().lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise ValueError(f"{value!r} is not a MAC address; write it like 50:54:33:00:00:01")
    return text


def unicast_mac(value):
    """A MAC address that one station can hold: neither multicast nor all zero."""
    text = mac(value)
    if is_multicast_mac(text) or text == ZERO_MAC:
        raise ValueError(f"{value!r} is not a unicast MAC address")
    return text


def is_multicast_mac(text):
    return bool(int(text[1], 16) & 1)


def address(value, family=None):
    """An IP address without a prefix, in canonical form (RFC 5952 for IPv6). family: 4, 6 or None for either."""
    try:
        ip = ipaddress.ip_address(str(value).strip())
    except ValueError:
        raise ValueError(f"{quoted(value)} is not an IP address (write it without a prefix length)") from None
    if getattr(ip, "scope_id", None):
        raise ValueError(f"{value!r} has a scope; write the address without %{ip.scope_id}")
    if family and ip.version != family:
        raise ValueError(f"{value!r} is not an IPv{family} address")
    return str(ip)


def interface(value):
    """An address with its prefix length, in canonical form; a bare address is a host prefix (/32 or /128)."""
    try:
        return str(ipaddress.ip_interface(str(value).strip()))
    except ValueError:
        raise ValueError(
            f"{quoted(value)} is not an address with a prefix length; write it like 2001:db8::1/64"
        ) from None


def family(text):
    """4 or 6 for a normalised address."""
    return 6 if ":" in text else 4


def is_multicast(text):
    """Of a normalised address: 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291), by its first byte as in the kernel.

    Tables have thousands of addresses, and ipaddress is ten times slower; since Python 3.13 it also looks into
    IPv4-mapped ones.
    """
    first = pack(text)[0]
    return first == 0xFF if ":" in text else first >> 4 == 0xE


def is_any(text):
    """The unspecified address, 0.0.0.0 or ::, which the kernel takes for "none"."""
    return ipaddress.ip_address(text).is_unspecified


def pack(text):
    """A normalised address as network-order bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def integer(value, low, high):
    """A whole number in low..high. Booleans and fractions are not numbers here."""
    try:
        if isinstance(value, (bool, float)):
            raise ValueError
        number = int(str(value).strip(), 0)
    except ValueError:
        raise ValueError(f"{quoted(value)} is not a whole number; it must be {low} to {high}") from None
    if not low <= number <= high:
        raise ValueError(f"{quoted(value)} is out of range; it must be {low} to {high}")
    return number


def vni(value):
    """A VXLAN network identifier, 1 to 16777215."""
    return integer(value, 1, VNI_MAX)


def dev(value):
    """A network device's name: 1 to 15 characters without white space, '/' or ':' (kernel dev_valid_name)."""
    text = str(value)
    if not _DEV.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{value!r} is not a device name; 1 to 15 characters without blanks, '/' or ':'")
    return text


def quoted(value):
    """A value as a fault quotes it. Digits as long as a key may be one, in the wrong place."""
    return shown(str(value)) if _KEY.fullmatch(str(value)) else repr(value)


def shown(word):
    """A word that a fault may quote: one that cannot be a key."""
    return repr(word) if len(word) <= 20 else f"a word of {len(word)} characters"

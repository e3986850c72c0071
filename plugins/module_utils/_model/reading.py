# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what a user wrote: every fault is gathered, none raises, and each names where, the key, the value and the fix."""

from __future__ import annotations

import ipaddress
import reprlib

from . import values

LONGEST = 200  # no word of the inventory is longer; what is gets cut before it is quoted in a fault

LONGEST_SECRET = 31  # what is longer may be a key, of which the shortest has 32 hexadecimal digits

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlevel = 2
_short.maxdict = _short.maxlist = 4


class Faults:
    """The faults found so far, as sentences `where: key: what is wrong; what to do`. where is a host or `fabric`."""

    def __init__(self):
        self.found = []

    def add(self, where, key, message):
        self.found.append(f"{where}: {key}: {message}")


class Unreadable:
    """Stands for a word that could not be read at all, with the reason."""

    def __init__(self, reason):
        self.reason = reason


class Words:
    """A mapping that a user wrote. A key is told as faulty when it is read, an unknown one by `finish`."""

    def __init__(self, faults, where, prefix, mapping, secret=False):
        """secret: values are not to be told, nor what a missing blank after a colon has made a key of."""
        self.secret = secret
        self.faults = faults
        self.where = where
        self.prefix = prefix
        self.mapping = mapping
        self.known = []
        self.before = len(faults.found)

    def get(self, key, parse, default=None, required=None):
        """The parsed value; the default where the key is absent or null, None where it is faulty.

        required: what to do when the key is absent, which then is a fault.
        """
        self.known.append(key)
        value = self.mapping.get(key)
        if value is None:
            if required:
                self.fault(key, f"is missing; {required}")
            return default
        try:
            if isinstance(value, Unreadable):
                raise ValueError(value.reason)
            return parse(value)
        except ValueError as error:
            self.fault(key, without(value, str(error)) if self.secret else str(error))
            return None

    def fault(self, key, message):
        self.faults.add(self.where, self.prefix + key, message)

    def finish(self):
        """True when this mapping has no fault."""
        for key in self.mapping:
            if key not in self.known:
                told, hint = str(key)[:LONGEST], ""
                if self.secret and ":" in told:
                    told, hint = told[: told.index(":")], "; write a blank after the colon"
                self.fault(
                    values.shown(told) if self.secret and len(told) > LONGEST_SECRET else told,
                    f"is not a known key; known are {', '.join(self.known)}{hint}",
                )
        return len(self.faults.found) == self.before


def shown(value):
    """A value as a fault quotes it: on one line, and short whatever it holds."""
    found = _short.repr(value)
    return found if len(found) <= LONGEST else found[:LONGEST] + "..."


def without(value, message):
    """A fault without the value, where that may be or hold a key in the wrong place."""
    text = str(value).strip()[:LONGEST]
    if isinstance(value, (str, int, float)) and len(text) <= LONGEST_SECRET:
        return message
    told = f"a word of {len(str(value))} characters" if isinstance(value, (str, int, float)) else "what is there"
    for one in (shown(value), repr(text), shown(text), text, repr(text.lower()), text.lower()):
        message = message.replace(one, told)
    return message


def rows(faults, where, key, value):
    """(number from 1, Words) of each mapping in a list of mappings."""
    for number, row in enumerate(sequence(faults, where, key, value), 1):
        if isinstance(row, dict):
            yield number, Words(faults, where, f"{key} row {number}: ", row)
        else:
            faults.add(where, f"{key} row {number}", f"{shown(row)} is not a mapping of keys and values")


def sequence(faults, where, key, value):
    if isinstance(value, list):
        return value
    reason = f"{shown(value)} is not a list; write it as [...]"
    faults.add(where, key, value.reason if isinstance(value, Unreadable) else reason)
    return []


def text(value):
    """A string that is not empty; a whole number is taken as its digits."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{shown(value)} is not text; write one word, in quotes")
    found = str(value).strip()[:LONGEST]
    if not found:
        raise ValueError("is empty; give it a value or leave it out")
    return found


def dev(value):
    return values.dev(text(value))


def mac(value):
    try:
        return values.unicast_mac(text(value))
    except ValueError as error:
        if isinstance(value, int):
            raise ValueError(f"{error}, in quotes: YAML takes it for a number otherwise") from None
        raise


def vni(value):
    return values.vni(_number(value))


def whole(low, high):
    """A parser of whole numbers in low..high."""
    return lambda value: values.integer(_number(value), low, high)


def _number(value):
    return value if isinstance(value, (int, float)) else text(value)


def choice(*allowed):
    """A parser of one word out of several."""

    def parse(value):
        found = text(value)
        if found not in allowed:
            raise ValueError(f"{found!r} is unknown; known are {', '.join(allowed)}")
        return found

    return parse


def truth(value):
    if isinstance(value, bool):
        return value
    found = text(value).lower()
    if found not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError(f"{found!r} is neither true nor false; write one of them")
    return found in ("true", "yes", "on", "1")


def host_address(value):
    """An address that one host can have and that is reachable beyond one link."""
    found = values.address(text(value))
    ip = ipaddress.ip_address(found)
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback or (ip.version == 6 and ip.is_link_local):
        raise ValueError(f"{found!r} cannot be routed to one host; take a global or private unicast address")
    return found


def host_addresses(value):
    """{family: address} of one address, or of a list with at most one of each family."""
    found = {}
    for one in value if isinstance(value, list) else [value]:
        address = host_address(one)
        family = values.family(address)
        if family in found:
            raise ValueError(f"{found[family]} and {address} are both IPv{family}; give one of each family at most")
        found[family] = address
    if not found:
        raise ValueError("is an empty list; give one address at least")
    return found


def multicast_group(value):
    found = values.address(text(value))
    if not values.is_multicast(found):
        raise ValueError(
            f"{found!r} is not a multicast address; take one of ff00::/8 or 224.0.0.0/4, such as ff05::100"
        )
    return found

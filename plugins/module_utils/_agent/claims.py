# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: that an endpoint is behind a VTEP. The two forms in which registries have them, a document and etcd's keys.

All that is read here was written by others: what is wrong raises ValueError, in words of one bounded line, and nothing else. Keys that
are not known are passed over, so that a newer writer may add some.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
import socket
from typing import NamedTuple

from .._model import reading, values

LARGEST = 256 << 20  # octets of a document
MOST_ADDRESSES = 256  # of an endpoint
MOST_FAULTS = 100
LARGEST_VALUE = 64 << 10  # octets of a value in etcd
_QUOTED = 80  # characters of a value in a fault
_WORD = 80  # no MAC address or IP address is as long
_DIGITS = 20
_PIECE = 256 << 10  # octets of a document that are made text at once
_LARGEST_ROW = 4 << 20  # characters; 256 addresses are 12 000

_BLANKS = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")


class Claim(NamedTuple):
    vni: int
    mac: bytes  # 6 octets
    vtep: bytes  # 4 or 16 octets
    addresses: tuple  # of 4 or 16 octets each, sorted, each once
    order: int  # of two claims the one with the greater order is newer


def claim(entry, order):
    """The claim in {"vni": 100, "mac": "50:54:33:00:00:01", "vtep": "192.0.2.1", "addresses": ["10.0.0.1"]}."""
    if not isinstance(entry, dict):
        raise ValueError(f'{shown(entry)} is no endpoint; write it like {{"vni": 100, "mac": "...", "vtep": "..."}}')
    get = entry.get
    return Claim(_vni(get("vni")), _mac(get("mac")), _vtep_of(get("vtep")), _addresses(get("addresses")), order)


def document(data):
    """(claims, faults) of {"version": 1, "endpoints": [...]}. A claim's order is its row's number, from 1: the later row is newer."""
    if len(data) > LARGEST:
        raise ValueError(f"has {len(data)} octets; {LARGEST} are the most, make it smaller")
    reader = _Reader(data)
    version, found = None, None
    for key in reader.object():
        if key != "endpoints":
            value = reader.value()
            version = value if key == "version" else version
        elif found is not None:
            raise ValueError("has endpoints twice; write one list of them")
        else:
            found = _rows(reader)
    reader.end()
    if version != 1 or isinstance(version, bool):
        raise ValueError(f'version: {shown(version)} is not known; write {{"version": 1, "endpoints": [...]}}')
    if found is None:
        raise ValueError('endpoints: is missing; write {"version": 1, "endpoints": [...]}')
    return found


def dump(claims):
    """A document of claims, one on a line, sorted, and of two of one endpoint the newer one last."""
    ordered = sorted(claims, key=lambda one: (one.vni, one.mac, one.order, one.vtep))
    rows = [
        f'{{"vni": {one.vni}, "mac": "{one.mac.hex(":")}", "vtep": "{address_text(one.vtep)}", '
        f'"addresses": {_listed(one.addresses)}}}'
        for one in ordered
    ]
    return '{"version": 1, "endpoints": [\n' + ",\n".join(rows) + "\n]}\n"


def etcd_key(prefix, vni, mac, vtep):
    """PREFIX/endpoints/VNI/MAC/VTEP"""
    return f"{etcd_start(prefix)}{vni}/{mac.hex(':')}/{address_text(vtep)}"


def etcd_start(prefix):
    """What all keys of endpoints start with."""
    return f"{prefix.rstrip('/')}/endpoints/"


def etcd_endpoint(prefix, key):
    """(vni, mac, vtep) in a key of etcd. Only etcd_key's spelling is taken: no two keys are of one claim."""
    try:
        text = key.decode("ascii")
        start = etcd_start(prefix)
        vni, mac, vtep = text[len(start) :].split("/")
        found = int(vni) if len(vni) <= _DIGITS else 0, _mac(mac), _vtep_of(vtep)
        if not 0 < found[0] <= values.VNI_MAX or etcd_key(prefix, *found) != text:
            raise ValueError
    except ValueError:
        like = f"{etcd_start(shown(prefix)[1:-1])}100/50:54:33:00:00:01/192.0.2.1"
        raise ValueError(f"key {shown(key)[1:]} is no endpoint's; write it like {like}") from None
    return found


def from_etcd(prefix, key, value, revision):
    """The claim of a key and its value {"addresses": [...]}; of two claims the one written at the later revision is newer."""
    vni, mac, vtep = etcd_endpoint(prefix, key)
    if len(value) > LARGEST_VALUE:
        fault = f"has {len(value)} octets; {LARGEST_VALUE} are the most, make it smaller"
    else:
        try:
            found = _decode(value)
            if not isinstance(found, dict):
                raise ValueError(f'{shown(found)} is no endpoint; write {{"addresses": [...]}}')
            return Claim(vni, mac, vtep, _addresses(found.get("addresses")), revision)
        except ValueError as error:
            fault = str(error)
    raise ValueError(f"{vni}/{mac.hex(':')}/{address_text(vtep)}: {fault}")


def to_etcd(claim):
    """The value of a claim's key."""
    return f'{{"addresses": {_listed(claim.addresses)}}}'.encode()


def address_text(packed):
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def shown(value):
    """A value as a fault quotes it: 80 characters at most, and no control characters."""
    try:
        found = reading.shown(value)
    except ValueError:  # int's, of a number that is too long to be written in decimal
        found = f"a {type(value).__name__}"
    return found if len(found) <= _QUOTED else found[: _QUOTED - 3] + "..."


def _listed(addresses):
    return "[" + ", ".join([f'"{address_text(one)}"' for one in addresses]) + "]"


# --- the parts of a claim ------------------------------------------------------------------------------------------


def _vni(value):
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= values.VNI_MAX:
        return value
    raise ValueError(f"vni: {shown(value)} is not a VNI; write a number, 1 to {values.VNI_MAX}, without quotes")


def _mac(value):
    try:
        if not isinstance(value, str) or len(value) > _WORD:
            raise ValueError
        return bytes.fromhex(values.unicast_mac(value).replace(":", ""))
    except ValueError:
        raise ValueError(
            f"mac: {shown(value)} is not the MAC address of one station; write it like 50:54:33:00:00:01"
        ) from None


def _vtep_of(value):
    try:
        if not isinstance(value, str) or len(value) > _WORD:
            raise ValueError
        return _vtep(value)
    except ValueError:
        raise ValueError(
            f"vtep: {shown(value)} is not a VTEP's address; write an address that is routed to one host"
        ) from None


@functools.lru_cache(maxsize=4096)
def _vtep(text):
    """Kept, since many endpoints have few VTEPs; and so they share the octets."""
    packed = values.pack(reading.host_address(text))
    mapped = len(packed) == 16 and packed[:12] == bytes(10) + b"\xff\xff"
    if mapped or (len(packed) == 4 and (packed[0] == 0 or packed[0] >= 0xE0)):
        raise ValueError
    return packed


def _addresses(value):
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f'addresses: {shown(value)} is not a list; write it like ["10.0.0.1"]')
    if len(value) > MOST_ADDRESSES:
        raise ValueError(f"addresses: {len(value)} are too many; {MOST_ADDRESSES} are the most of one endpoint")
    if len(value) == 1:
        return (_address(value[0]),)
    return tuple(sorted({_address(one) for one in value}))


def _address(value):
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
        if any(packed) and (packed[0] < 0xE0 if len(packed) == 4 else packed[0] != 0xFF):
            return packed
    except (OSError, TypeError, ValueError):  # ValueError of what has a NUL, or half a surrogate pair
        pass
    raise ValueError(f"addresses: {shown(value)} is not one station's address; write it without a prefix length")


# --- JSON ----------------------------------------------------------------------------------------------------------


_number = functools.lru_cache(maxsize=4096)(int)  # many rows have the same VNI and share it


def _whole(text):
    """A number of JSON. int takes minutes for one of a million digits, or refuses it, and the whole text with it."""
    return _number(text) if len(text) <= _DIGITS else float(text)


_json = json.JSONDecoder(parse_int=_whole)


def _decode(data):
    try:
        return _json.decode(data.decode())
    except (RecursionError, ValueError):
        raise ValueError(f"{shown(data)[1:]} is not JSON; write it as JSON in UTF-8") from None


def _rows(reader):
    claims, faults, more = [], [], 0
    for number, entry in enumerate(reader.array(), 1):
        try:
            claims.append(claim(entry, number))
        except ValueError as error:
            if len(faults) < MOST_FAULTS:
                faults.append(f"row {number}: {error}")
            else:
                more += 1
    return claims, faults + [f"and {more} more"] * bool(more)


class _Reader:
    """A JSON text, read value by value: 100 000 rows at once, as dictionaries, would be 70 MB for a moment."""

    def __init__(self, data):
        self._data = memoryview(data)
        self._read = 0  # octets
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0  # where in the text the next value is

    def object(self):
        """Each key; the caller reads its value before it asks for the next one."""
        self._take("{")
        if self._next() == "}":
            self._at += 1
            return
        while True:
            if self._next() != '"':
                raise self._wrong()
            key = self.value()
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def array(self):
        """Each value."""
        self._take("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            between = _COMMA.match(self._text, self._at)  # saves two calls a row
            if between:
                self._at = between.end()
            elif self._take(",]") == "]":
                return

    def value(self):
        if not self._text.startswith("{", self._at):
            self._next()
        while True:
            try:
                found, end = _json.raw_decode(self._text, self._at)
                whole = end + 2 < len(self._text)  # what is a number so far may go on with e+5
            except (RecursionError, ValueError):
                end, whole = None, False
            if whole or not self._more():
                break
        if end is None:
            raise self._wrong()
        self._at = end
        return found

    def end(self):
        if self._next():
            raise self._wrong()

    def _next(self):
        """The next character that is no blank, or nothing at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, wanted):
        found = self._next()
        if not found or found not in wanted:
            raise self._wrong()
        self._at += 1
        return found

    def _more(self):
        """Whether there was more of the text, and room for it. The piece doubles with what is left, so that few values are read again."""
        left = self._text[self._at :]
        if self._read == len(self._data) or len(left) > _LARGEST_ROW:
            return False
        size = max(_PIECE, len(left))
        piece = self._data[self._read : self._read + size]
        self._read += len(piece)
        try:
            self._text = left + self._decoder.decode(piece, final=self._read == len(self._data))
        except ValueError:
            raise ValueError(f"is not UTF-8 somewhere before octet {self._read}; write it as JSON in UTF-8") from None
        self._at = 0
        return True

    def _wrong(self):
        here = self._text[self._at : self._at + _QUOTED]
        if not here and self._read == len(self._data):
            return ValueError("is not a whole JSON object: its end is missing; write it anew")
        if len(self._text) - self._at > _LARGEST_ROW:
            return ValueError(f"{shown(here)} begins a value of more than {_LARGEST_ROW} characters; make it smaller")
        return ValueError(
            f'is not JSON from {shown(here)} on; write it like {{"version": 1, "endpoints": [{{"vni": 100, ...}}]}}'
        )

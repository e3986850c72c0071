# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as text, one row a line: a key (a MAC or an IP address), then words as iproute2 writes them.

Large tables have few distinct line ends (100,000 MACs behind 1,000 VTEPs), so a caller cuts the key off, parses each
distinct line end once, and handles keys by the column.
"""

from __future__ import annotations

import ipaddress
import socket
from array import array

from . import values

CHUNK = 1 << 16  # characters cut into lines at a time: the cut lines of a whole table would take ten times its size
FAULTS = 19  # faults told one by one; the rest is counted


class Faults:
    """Faults of a table: the first ones in full, the others counted."""

    def __init__(self):
        self.told = []
        self.count = 0

    def add(self, text):
        self.count += 1
        if len(self.told) < FAULTS:
            self.told.append(text)

    def add_alike(self, bad, index, number):
        """One fault for all rows that share it. bad: {k: fault}; index: the k of each row; number(i): a row's name."""
        rows_of = {}
        for i, k in enumerate(index):
            if k in bad:
                rows_of.setdefault(k, [i, 0])[1] += 1
        for k, (first, count) in rows_of.items():
            more = f" (and {count - 1} more rows like it)" if count > 1 else ""
            self.add(f"{number(first)}: {bad[k]}{more}")

    def lines(self):
        more = self.count - len(self.told)
        return [*self.told, f"and {more} more faults ({self.count} in all)"] if more else self.told


def pieces(text):
    """Pieces of some thousand whole lines, in order, each without its last line's end."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + CHUNK)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def chunks(text):
    """Lists of lines, in order; together they are all lines of the text."""
    for piece in pieces(text):
        yield piece.split("\n")


def cut(lines):
    """The keys and the line ends of rows. Blank lines and comments (#) are no rows."""
    pairs = [pair for pair in [line.split(None, 1) for line in lines] if pair and pair[0][0] != "#"]
    return [pair[0] for pair in pairs], [pair[1] if len(pair) == 2 else "" for pair in pairs]


def line_numbers(text):
    """The line number, from 1, of each row."""
    return [number for number, line in enumerate(text.split("\n"), 1) if line.strip() and line.strip()[0] != "#"]


def row_names(text):
    """What names a row by its line. The lines are counted when the first name is asked for, and kept small."""
    numbers = []

    def number(i):
        if not numbers:
            numbers.append(array("I", line_numbers(text)))
        return f"table row {numbers[0][i]}"

    return number


def words(text, with_value, alone):
    """The words of a line end: {word: its value}, and {word: True} for one that stands alone. ValueError in words."""
    found = {}
    parts = iter(text.split())
    for word in parts:
        if word in found:
            raise ValueError(f"{word!r} stands twice; leave one out")
        if word in alone:
            found[word] = True
        elif word in with_value:
            found[word] = next(parts, None)
            if found[word] is None:
                raise ValueError(f"{word!r} lacks its value")
        else:
            raise ValueError(f"{word!r} is not a word of this table; known are {', '.join([*with_value, *alone])}")
    return found


def mac_column(keys):
    """Many MACs in bytes, or None when one of them needs a closer look."""
    joined = " ".join(keys)
    if any(joined[at::18] != ":" * len(keys) for at in (2, 5, 8, 11, 14)):
        return None
    try:
        packed = bytes.fromhex(joined.replace(":", ""))
    except ValueError:
        return None
    if len(packed) != 6 * len(keys) or len(joined) != 18 * len(keys) - 1:
        return None
    return [packed[at : at + 6] for at in range(0, len(packed), 6)]


def packed_mac(value):
    """One MAC in bytes. ValueError in words."""
    try:
        return bytes.fromhex(values.mac(value).replace(":", ""))
    except ValueError as error:
        number_read = " (YAML reads an unquoted MAC of digits as a number: quote it)" if str(value).isdigit() else ""
        raise ValueError(f"{error}{number_read}") from None


def packed_address(value):
    """An IP address in bytes. The C library is 20 times quicker here than ipaddress, and as strict."""
    text = str(value)
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return values.pack(values.address(value))


def address_of(packed):
    """The canonical form (RFC 5952) of an address in network order."""
    if packed[:10] == bytes(10):  # the C library writes addresses that embed IPv4 otherwise than ipaddress does
        return str(ipaddress.ip_address(packed))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)

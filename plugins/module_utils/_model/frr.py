# SPDX-License-Identifier: GPL-3.0-or-later
"""FRR's configuration as text: which line stands in which block, and how lines are taken out and put in.

`show running-config` and the files in /etc/frr are written alike: a header at the left margin, its lines indented by a
blank, `exit` and `!`. Files written by hand may lack the indentation and the `exit`; FRR reads them, so this does too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENERS = re.compile(
    r"(interface|router|vrf|route-map|line|key chain|nexthop-group|pbr-map|l2vpn|mpls ldp) |(bfd|rpki)$"
)
_SECRET = re.compile(r"(\bkey|\bmd5|password \d|password) (?!id\b)(\S+)$")
_VERSION = re.compile(r"^frr version (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    number: int  # from 0
    header: str  # of the block that it stands in; a header stands in its own block
    text: str  # with single blanks and no indentation


def read(text):
    """Every line but comments, `exit` and `end`. A line outside of every block has the header ""."""
    header = ""
    for number, raw in enumerate(text.split("\n")):
        words = " ".join(raw.split())
        if not raw[:1].isspace() and (not words or words.startswith(("!", "#")) or words in ("exit", "end")):
            header = "" if words else header
            continue
        if not words or words.startswith(("!", "#")):
            continue
        if not raw[:1].isspace() and (not header or _OPENERS.match(words)):
            header = words if _OPENERS.match(words) else ""
        yield Line(number, header, words)


def splice(text, dropped, added):
    """The text without the lines of these numbers, and with lines added to blocks: {header: [line, ...]}.

    A block that loses its last line goes with its `exit`. Everything else stays as it is, to the byte.
    """
    lines = text.split("\n")
    members, ends = {}, {}
    for line in read(text):
        ends[line.header] = line.number
        if line.text != line.header:
            members.setdefault(line.header, set()).add(line.number)
    touched = {line.header for line in read(text) if line.number in dropped}
    emptied = {header for header in touched if header and not members.get(header, set()) - dropped} - set(added)
    own = {line.number for line in read(text) if line.header in emptied}
    gone = dropped | own
    for line in read(text):
        if line.number in own and line.text == line.header:
            gone |= _closing(lines, own, line.number + 1)
    after = {ends[header]: new for header, new in added.items() if header in ends}
    found = []
    for number, raw in enumerate(lines):
        if number not in gone:
            found.append(raw)
        found += [f" {line}" for line in after.get(number, ())]
    tail = []
    while found and found[-1].strip() in ("", "end"):
        tail.insert(0, found.pop())
    for header, new in added.items():
        if header not in ends:
            found += [header, *(f" {line}" for line in new), "exit", "!"]
    return "\n".join(found + (tail or [""]))


def _closing(lines, own, number):
    """The numbers of the `exit` and the `!` that end a block. An `exit` without a block would end the whole file."""
    while number < len(lines) and (number in own or not lines[number].strip() or lines[number][0].isspace()):
        number += 1
    found = set()
    for closing in ("exit", "!"):
        if number < len(lines) and lines[number].strip() == closing:
            found.add(number)
            number += 1
    return found


def masked(text):
    """A line with its secret hidden."""
    return _SECRET.sub(r"\1 ********", text)


def secret(text):
    """The secret in a line, or None."""
    found = _SECRET.search(text)
    return found.group(2) if found else None


def version(text):
    """The version that a running configuration names, or "unknown"."""
    found = _VERSION.search(text)
    return found.group(1) if found else "unknown"

# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be said to FRR, and written into its files, so that they hold the desired lines and none of our old ones.

Lines belong to us when the record says that we wrote them. A line that somebody else wrote stays, unless the user asks
for another value in its slot.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields

from .._model import frr
from .._model.ospf import REPLACED, undo


def fingerprint(text, salt):
    """A line as the record holds it: its secret, if it has one, only as a salted hash."""
    secret = frr.secret(text)
    if secret is None:
        return text
    return frr.masked(text) + " " + hashlib.sha256(f"{salt}{secret}".encode()).hexdigest()


@dataclass(frozen=True)
class Changes:
    """From one configuration to another. Each item is ((block, slot), text)."""

    remove: tuple = ()
    add: tuple = ()

    def __bool__(self):
        return bool(self.remove or self.add)


def changes(desired, owned, salt, observed):
    """owned: {(block, slot): {fingerprint, ...}}, the lines that the record names."""
    remove, add = [], []
    for place, line in desired.lines.items():
        have = observed.lines.get(place)
        if have == line.text or (line.default and have is None):
            continue
        if have is not None and (line.default or REPLACED.match(place[1])):
            remove.append((place, have))
        if not line.default:
            add.append((place, line.text))
    for place, prints in owned.items():
        have = observed.lines.get(place)
        if place not in desired.lines and have is not None and fingerprint(have, salt) in prints:
            remove.append((place, have))
    remove = _keep_used_router(desired.protocol, observed, remove)
    return Changes(tuple(sorted(remove, key=_removal_order(desired.protocol))), tuple(add))


def _keep_used_router(protocol, observed, remove):
    """Leave the router's block where others still use it: lines of theirs in it, or interfaces in an area."""
    gone = {place for place, _text in remove}
    if (protocol.router, "") not in gone:
        return remove
    left = observed.lines.keys() - gone
    used = protocol.router in observed.others or any(block == protocol.router or slot == "area" for block, slot in left)
    return [item for item in remove if item[0] != (protocol.router, "")] if used else remove


def _removal_order(protocol):
    """Interfaces before the router, a router's settings before the router, a BFD profile before BFD."""

    def order(item):
        (block, slot), _text = item
        return (block == protocol.router, not slot if block == protocol.router else slot != "bfd profile")

    return order


def parted(change):
    """(Changes, Changes): all but what puts interfaces into areas, and that, which comes after their other settings."""
    joins = tuple(item for item in change.add if item[0][1] == "area")
    return Changes(change.remove, tuple(item for item in change.add if item not in joins)), Changes(add=joins)


def commands(protocol, change, written):
    """The text for vtysh. `written`: the lines to remove as FRR writes them."""
    blocks = []
    for place, text in change.remove:
        command = undo(protocol, *place, written.get(place, text))
        blocks.append(("" if not place[1] else place[0], command))
    for (block, slot), text in change.add:
        blocks.append((block, text if slot else None))
    lines, current = [], ""
    for block, command in blocks:
        if block != current:
            lines += ["exit"] if current else []
            lines += [block] if block else []
            current = block
        if command:
            lines.append(f" {command}" if block else command)
    lines += ["exit"] if current else []
    return "".join(f"{line}\n" for line in lines)


def rewritten(change, configuration, text):
    """A configuration file's text with the changes made in it."""
    dropped = {number for place, _text in change.remove for number in configuration.numbers[place]}
    added = {}
    for place, line in change.add:
        dropped |= set(configuration.numbers.get(place, ()))
        block = added.setdefault(place[0], [])
        if place[1]:
            block.append(line)
    return frr.splice(text, dropped, added)


def after(change, lines):
    """The lines {(block, slot): text} once the changes are made."""
    found = dict(lines)
    for place, _text in change.remove:
        found.pop(place, None)
    found.update(change.add)
    return found


def shown(protocol, lines, old=None):
    """Lines as a configuration's text, in FRR's order and without secrets. A secret that is not the old one is told."""
    found = []
    for block in sorted({block for block, _slot in lines}, key=lambda block: (block == protocol.router, block)):
        found.append(block)
        for slot, text in sorted((slot, text) for (one, slot), text in lines.items() if one == block and slot):
            before = (old or {}).get((block, slot), text)
            new = before != text and frr.secret(text) and frr.masked(before) == frr.masked(text)
            found.append(f" {frr.masked(text)}" + (" (another key)" if new else ""))
    return found


def record_before(owned, salt, change):
    """The record to write before a change: what we have, and what we are about to add."""
    found = {place: set(prints) for place, prints in owned.items()}
    for place, text in change.add:
        found.setdefault(place, set()).add(fingerprint(text, salt))
    return found


def record_after(desired, owned, salt, observed):
    """The record once a change is made: lines that we wrote, that are there and that are still desired."""
    found = {}
    for place, prints in owned.items():
        have = observed.lines.get(place)
        if have is not None and place in desired.lines and fingerprint(have, salt) in prints:
            found[place] = {fingerprint(have, salt)}
    return found


@dataclass
class Plan:
    running: Changes = Changes()  # to what runs; to what will run, where the daemon is started first
    saved: Changes = Changes()  # to the file
    switch_on: list = field(default_factory=list)  # daemons
    start: list = field(default_factory=list)  # daemons that do not run
    switch_off: list = field(default_factory=list)  # daemons of ours that nothing needs any more
    renumber: bool = False  # the router id in use is not the desired one
    record: bool = False  # the record names lines that are gone

    def __bool__(self):
        return any(bool(getattr(self, one.name)) for one in fields(self))


def unused(text, change, configuration, pattern):
    """Whether nothing in a configuration needs a daemon once our lines are gone. pattern: of the lines that do."""
    gone = {number for place, _text in change.remove for number in configuration.numbers[place]}
    return not any(pattern.search(line.text) for line in frr.read(text) if line.number not in gone)

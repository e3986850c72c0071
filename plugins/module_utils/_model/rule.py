# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rules (`ip rule`): what a rule is, and the normal form of what a user wants of one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from . import values
from .errors import InputError
from .route import TABLES, U32_MAX, protocol_name, table_number

PROTOCOL = values.PROTOCOL
LOOKUP = "lookup"
ACTIONS = (LOOKUP, "unreachable", "blackhole", "prohibit")


@dataclass(frozen=True)
class Rule:
    """A rule. The fields have iproute2's names, but for `from`, which Python keeps for itself."""

    family: int
    priority: int
    source: str | None = None
    to: str | None = None
    iif: str | None = None
    oif: str | None = None
    fwmark: tuple | None = None  # mark and mask
    action: str = LOOKUP
    table: int | None = None
    other: tuple = ()  # in words, what the kernel shows and no rule of ours has

    def key(self):
        """Which packets it takes, and when: the first of two rules with one key wins, and the second is never asked."""
        return (self.family, self.priority, self.source, self.to, self.iif, self.oif, self.fwmark, self.other)

    def text(self):
        """The rule in the words of `ip rule`."""
        parts = [f"-{self.family}", "priority", str(self.priority), "from", self.source or "all"]
        for name in ("to", "iif", "oif"):
            if getattr(self, name):
                parts += [name, getattr(self, name)]
        if self.fwmark:
            parts += ["fwmark", mark_text(self.fwmark)]
        parts += [*self.other, self.action]
        return " ".join([*parts, str(self.table)] if self.action == LOOKUP else parts)


def mark_text(fwmark):
    mark, mask = fwmark
    return hex(mark) if mask == U32_MAX else f"{hex(mark)}/{hex(mask)}"


@dataclass(frozen=True)
class Found:
    """A rule that the kernel holds."""

    rule: Rule
    protocol: int
    message: bytes = b""  # what names it to the kernel when it is to be deleted

    @property
    def owned(self):
        return self.protocol == PROTOCOL

    def text(self):
        return self.rule.text() if self.owned else f"{self.rule.text()} proto {protocol_name(self.protocol)}"


def from_list(rules, tables=None, absent=False):
    """Rules from a list of dictionaries. Raises InputError with every fault."""
    tables = TABLES if tables is None else tables
    faults, made, at = [], [], {}
    for number, given in enumerate(rules, 1):
        rule = _rule(
            {name: value for name, value in given.items() if value is not None}, tables, absent, number, faults
        )
        if rule is None:
            continue
        twin = at.setdefault(rule.key(), (number, rule))
        if twin[0] == number:
            made.append(rule)
        elif twin[1] == rule:
            faults.append(f"rules {number}: the same rule as rules {twin[0]}, {rule.text()}; leave one out")
        else:
            faults.append(
                f"rules {number}: {rule.text()} and rules {twin[0]} ({twin[1].text()}) take the same packets at one "
                "priority, so that one of them is never asked; leave it out, or write another priority"
            )
    if faults:
        raise InputError(faults)
    return made


@dataclass
class _Reader:
    """Checks the values of one rule, one by one, and gathers what is wrong with them."""

    given: dict
    number: int
    faults: list
    bad: bool = field(default=False)

    def get(self, name, check):
        if name not in self.given:
            return None
        try:
            return check(self.given[name])
        except ValueError as error:
            self.fault(name, str(error))
            return None

    def fault(self, name, text):
        self.faults.append(f"rules {self.number}: {name}: {text}")
        self.bad = True


def _rule(given, tables, absent, number, faults):
    reader = _Reader(given, number, faults)
    family = given.get("family")
    if family not in (4, 6):
        reader.fault("family", f"{family!r} is none; write 4 or 6")
        return None
    made = {
        "family": family,
        "priority": reader.get("priority", lambda value: values.integer(value, 1, U32_MAX)),
        "source": reader.get("from", lambda value: _prefix(value, family)),
        "to": reader.get("to", lambda value: _prefix(value, family)),
        "iif": reader.get("iif", values.dev),
        "oif": reader.get("oif", values.dev),
        "fwmark": reader.get("fwmark", _mark),
        "table": reader.get("table", lambda value: table_number(value, tables)),
        "action": given.get("action", LOOKUP),
    }
    if "priority" not in given:
        reader.fault("priority", "missing; write 1 to 32765 for a rule that is asked before the table main")
    if made["action"] not in ACTIONS:
        reader.fault("action", f"{made['action']!r} is none of {', '.join(ACTIONS)}")
    elif made["action"] == LOOKUP and "table" not in given and not absent:
        reader.fault("table", "missing; name the routing table to look into, or another action")
    elif made["action"] != LOOKUP and "table" in given:
        reader.fault("table", f"it has no meaning for a rule that is {made['action']}; leave it out")
    return None if reader.bad else Rule(**made)


def _prefix(value, family):
    """A prefix in its normal form; None for one that takes everything."""
    text = str(value).strip()
    if text in ("all", "any", "default"):
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not a prefix; write it like 2001:db8::/64 or 192.0.2.1") from None
    if network.version != family:
        raise ValueError(f"{value!r} is not of IPv{family}, which the rule is for")
    if network.network_address != ipaddress.ip_interface(text).ip:
        raise ValueError(f"{value!r} has host bits set; write {network}")
    return str(network) if network.prefixlen else None


def _mark(value):
    """(mark, mask) from a number or mark/mask."""
    mark, slash, mask = str(value).partition("/")
    mark = values.integer(mark, 0, U32_MAX)
    mask = values.integer(mask, 1, U32_MAX) if slash else U32_MAX
    if not mark and not slash:
        raise ValueError("0 is no mark, since every packet without one has it; write 0/MASK, or leave it out")
    if mark & ~mask:
        raise ValueError(f"{value!r} has bits that its mask leaves out; write {mark_text((mark & mask, mask))}")
    return mark, mask

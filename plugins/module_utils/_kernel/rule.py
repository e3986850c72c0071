# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write policy rules by netlink (linux/fib_rules.h)."""

from __future__ import annotations

import errno as errnos
import socket
import struct

from .._model.errors import KernelError
from .._model.route import U32_MAX
from .._model.rule import LOOKUP, PROTOCOL, Found, Rule
from .._model.table import address_of
from . import codec
from .route import RT_TABLE_COMPAT, RTM_GETRULE, check_policy_routing
from .table import Tables, steady

RTM_NEWRULE, RTM_DELRULE = 32, 33
HEADER = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN = 1, 2, 3, 6, 10, 14
FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_PROTOCOL = 15, 16, 17, 21
KNOWN = {
    FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_PROTOCOL,
}  # fmt: skip
FIB_RULE_INVERT = 2
ACTION_NUMBERS = {LOOKUP: 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}  # FR_ACT_*
ACTION_NAMES = {number: name for name, number in ACTION_NUMBERS.items()}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
NONE = codec.U32.pack(U32_MAX)  # what FRA_SUPPRESS_PREFIXLEN says when there is none


class Rules(Tables):
    """The policy rules of this network namespace."""

    def check(self, families):
        """Raises MissingError when the kernel has no policy routing for one of the families."""
        for family in families:
            check_policy_routing(self.socket, family)

    def rules(self):
        """All rules, as Found, in the order in which the kernel asks them, family by family."""
        return steady("rules", lambda: [found for family in FAMILIES for found in self._rules(family)])

    def _rules(self, family):
        there = []
        try:
            for data, _stride in self.socket.dump(RTM_GETRULE, HEADER.pack(FAMILIES[family], *(0,) * 6), "rules"):
                for kind, _flags, _seq, start, end in codec.messages(data):
                    if kind == RTM_NEWRULE and end - start >= 16 + HEADER.size and data[start + 16] == FAMILIES[family]:
                        there.append(_found(data, start, end))
        except KernelError as error:
            if error.errno not in (errnos.EAFNOSUPPORT, errnos.EOPNOTSUPP):
                raise
        return there

    def add(self, rule):
        self.socket.request(
            RTM_NEWRULE, _message(rule), f"rule add {rule.text()}", codec.NLM_F_CREATE | codec.NLM_F_EXCL
        )

    def delete(self, found):
        try:
            self.socket.request(RTM_DELRULE, found.message, f"rule delete {found.text()}")
        except KernelError as error:
            if error.errno != errnos.ENOENT:  # one that is gone already is as it should be
                raise


def _message(rule):
    parts = codec.attribute(FRA_PRIORITY, codec.U32.pack(rule.priority))
    parts += codec.attribute(FRA_PROTOCOL, bytes((PROTOCOL,)))
    lengths = []
    for number, prefix in ((FRA_DST, rule.to), (FRA_SRC, rule.source)):
        address, _slash, length = (prefix or "/0").partition("/")
        lengths.append(int(length))
        if address:
            parts += codec.attribute(number, socket.inet_pton(FAMILIES[rule.family], address))
    for number, name in ((FRA_IIFNAME, rule.iif), (FRA_OIFNAME, rule.oif)):
        if name:
            parts += codec.attribute(number, name.encode() + b"\0")
    if rule.fwmark:
        mark, mask = rule.fwmark
        parts += codec.attribute(FRA_FWMARK, codec.U32.pack(mark)) + codec.attribute(FRA_FWMASK, codec.U32.pack(mask))
    table = 0
    if rule.table is not None:
        parts += codec.attribute(FRA_TABLE, codec.U32.pack(rule.table))
        table = rule.table if rule.table < 256 else RT_TABLE_COMPAT
    return HEADER.pack(FAMILIES[rule.family], *lengths, 0, table, ACTION_NUMBERS[rule.action], 0) + parts


def _found(data, start, end):
    family, dst_len, src_len, tos, table, action, flags = HEADER.unpack_from(data, start + 16)
    given = codec.attributes(data, start + 16 + HEADER.size, end)
    other = ["not"] if flags & FIB_RULE_INVERT else []
    if tos:
        other += ["tos", str(tos)]
    for number, value in given.items():
        if number not in KNOWN and not (number == FRA_SUPPRESS_PREFIXLEN and value == NONE):
            other += ["fra", f"{number}:{value.hex()}"]
    mark, mask = codec.number(given.get(FRA_FWMARK), 0), codec.number(given.get(FRA_FWMASK), 0)
    name = ACTION_NAMES.get(action, str(action))
    rule = Rule(
        family=4 if family == socket.AF_INET else 6,
        priority=codec.number(given.get(FRA_PRIORITY), 0),
        source=_prefix(given.get(FRA_SRC), src_len),
        to=_prefix(given.get(FRA_DST), dst_len),
        iif=codec.text(given.get(FRA_IIFNAME)),
        oif=codec.text(given.get(FRA_OIFNAME)),
        fwmark=(mark, mask) if mask else None,
        action=name,
        table=codec.number(given.get(FRA_TABLE), table) if name == LOOKUP else None,
        other=tuple(other),
    )
    # All that the kernel tells of a rule names it; flags it does not look at.
    header = HEADER.pack(family, dst_len, src_len, tos, table, action, 0)
    body = data[start + 16 + HEADER.size : end]
    return Found(rule, codec.number(given.get(FRA_PROTOCOL), 0), header + body)


def _prefix(packed, length):
    return f"{address_of(packed)}/{length}" if packed and length else None

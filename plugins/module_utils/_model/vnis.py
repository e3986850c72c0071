# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of VNIs as ranges: a filter may hold all 16777215, which nobody wants to count one by one."""

from __future__ import annotations


def folded(ranges):
    """Ascending ranges of numbers as one text, what follows one another folded: 100-105,200."""
    joined = []
    for first, last in ranges:
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(last, joined[-1][1])
        else:
            joined.append([first, last])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in joined)


def ranges(text):
    """The reverse of folded: [(first, last), ...]."""
    pairs = (part.partition("-") for part in text.split(",")) if text else ()
    return [(int(first), int(last or first)) for first, _dash, last in pairs]


def without(some, others):
    """What of some ranges is in none of others; both are ascending and disjoint."""
    left, at = [], 0
    for first, last in some:
        while at < len(others) and others[at][1] < first:
            at += 1
        place = at
        while place < len(others) and others[place][0] <= last:
            low, high = others[place]
            if low > first:
                left.append((first, low - 1))
            first, place = high + 1, place + 1
        if first <= last:
            left.append((first, last))
    return left

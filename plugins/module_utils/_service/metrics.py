# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import bisect
import re


class Histogram:
    """How many values were up to each of some bounds."""

    def __init__(self, bounds):
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # between two bounds; the last one above all
        self.sum = 0.0

    def observe(self, value, times=1):
        self.counts[bisect.bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def samples(self):
        """(suffix of the name, labels, number)"""
        total = 0
        for bound, count in zip((*self.bounds, None), self.counts):
            total += count
            yield "_bucket", {"le": "+Inf" if bound is None else f"{bound:g}"}, total
        yield "_sum", {}, self.sum
        yield "_count", {}, total

    def quantile(self, share):
        """The bound up to which such a share of the values is; None while there are none, infinite above all bounds."""
        left = share * sum(self.counts)
        if not left:
            return None
        for bound, count in zip(self.bounds, self.counts):
            left -= count
            if left <= 0:
                return bound
        return float("inf")


def text(families):
    """The exposition of {name: (help, "counter" | "gauge", [({label: value}, number), ...])}.

    A family of kind "histogram" has a Histogram instead of the list.
    """
    lines = []
    for name, (words, kind, samples) in families.items():
        lines.append(f"# HELP {name} " + words.replace("\\", r"\\").replace("\n", r"\n"))
        lines.append(f"# TYPE {name} {kind}")
        found = samples.samples() if kind == "histogram" else (("", *one) for one in samples)
        lines += [f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in found]
    return "\n".join(lines) + "\n"


def name(words):
    """Words as a part of a metric's name."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _labels(labels):
    if not labels:
        return ""
    return "{" + ",".join(f'{one}="{_escaped(str(value))}"' for one, value in labels.items()) + "}"


def _escaped(value):
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value):
    return str(int(value)) if float(value).is_integer() else repr(float(value))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import re


def text(families):
    """The exposition of {name: (help, "counter" | "gauge", [({label: value}, number), ...])}."""
    lines = []
    for name, (words, kind, samples) in families.items():
        lines.append(f"# HELP {name} " + words.replace("\\", r"\\").replace("\n", r"\n"))
        lines.append(f"# TYPE {name} {kind}")
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of tables share: their common options, reading `src`, and a bounded report."""

from __future__ import annotations

from itertools import chain, islice

from .._model.errors import InputError
from .run import Outcome

SAMPLE = 10  # rows named in the result
DIFF = 1000  # rows shown on each side of a diff
FORMS = ["entries", "table", "src"]
NAMES = {"type": "list", "elements": "str", "default": []}


def arguments(entry, purge):
    """The options of a module of tables, by those of an entry and the words of `purge`."""
    return {
        "entries": {"type": "list", "elements": "dict", "options": entry},
        "table": {"type": "str"},
        "src": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "str", "choices": purge, "default": "none"},
        "anew": NAMES,
    }


def rows_of(entries, text, from_entries, from_table, *how):
    """The rows of the form that was given."""
    return from_table(text, *how) if entries is None else from_entries(entries, *how)


def text_of(params):
    """The text of a table, or None where there are entries instead."""
    return params["table"] if params["src"] is None else _content(params["src"])


def _content(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"src: {path}: {error.strerror}; write the table to that file on the host first") from None
    except UnicodeDecodeError:
        raise InputError(f"src: {path} is not text in UTF-8; write a table in the words of iproute2") from None


def checked(check, value, name, faults):
    """The normal form of an option's value; what is wrong with it is added to the faults."""
    try:
        return check(value)
    except ValueError as error:
        faults.append(f"{name}: {error}")
        return value


def outcome_of(plan, header, given, added, new, changed, diff=True, warnings=(), **more):
    """The Outcome of a plan for tables: counts, a sample, and a diff where one is wanted.

    given: how many rows are to be there; added: how many were not. new(): their texts; changed(): of the plan's changed
    rows the texts before and after. These make a text when it is shown, and a plan may have 100,000. more: other counts.
    """

    def removed():
        return (found.text() for found in plan.removed)

    counts = {"added": added, "changed": len(plan.changed), "removed": len(plan.removed)}
    share = SAMPLE // max(sum(map(bool, counts.values())), 1)
    sample = [f"added {row}" for row in islice(new(), share)]
    sample += [f"changed {old} to {row}" for old, row in islice(changed(), share)]
    sample += [f"removed {row}" for row in islice(removed(), share)]
    before = chain((old for old, _row in changed()), removed())
    after = chain((row for _old, row in changed()), new())
    return Outcome(
        changed=bool(plan),
        before=_lines(before, counts["changed"] + counts["removed"]) if diff else "",
        after=_lines(after, counts["changed"] + counts["added"]) if diff else "",
        header=header,
        warnings=list(warnings),
        result={
            "rows": {**counts, "unchanged": max(given - counts["added"] - counts["changed"], 0), **more},
            "sample": sample,
        },
    )


def _lines(rows, count):
    """One side of a diff: a line a row, the first DIFF of them, and how many were left out."""
    shown = sorted(islice(rows, DIFF))
    left = count - len(shown)
    return "".join(line + "\n" for line in shown) + (f"... and {left} more rows\n" if left else "")


def bounded(told):
    """The first of some messages, and how many were left out."""
    return told if len(told) <= SAMPLE else [*told[:SAMPLE], f"and {len(told) - SAMPLE} more"]

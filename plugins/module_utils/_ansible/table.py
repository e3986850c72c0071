# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of tables share: their common options, reading `src`, and a bounded diff."""

from __future__ import annotations

from itertools import islice

from .._model.errors import InputError

SAMPLE = 10  # rows named in the result
DIFF = 1000  # rows shown on each side of a diff
FORMS = ["entries", "table", "src"]


def arguments(entry):
    """The options of a module of tables, by those of an entry."""
    return {
        "dev": {"type": "list", "elements": "str", "default": []},
        "entries": {"type": "list", "elements": "dict", "options": entry},
        "table": {"type": "str"},
        "src": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "str", "choices": ["none", "owned", "all"], "default": "none"},
        "anew": {"type": "list", "elements": "str", "default": []},
    }


def rows_of(params, from_entries, from_table, *how):
    """The rows of the form that was given."""
    if params["entries"] is not None:
        return from_entries(params["entries"], *how)
    return from_table(text_of(params), *how)


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


def lines(rows, count):
    """One side of a diff: a line a row, the first DIFF of them, and how many were left out."""
    shown = sorted(islice(rows, DIFF))
    left = count - len(shown)
    return "".join(line + "\n" for line in shown) + (f"... and {left} more rows\n" if left else "")


def bounded(told):
    """The first of some messages, and how many were left out."""
    return told if len(told) <= SAMPLE else [*told[:SAMPLE], f"and {len(told) - SAMPLE} more"]

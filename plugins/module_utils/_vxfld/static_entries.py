# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of static entries: a line `VNI ADDRESS` each, blank lines and `#` remarks between."""

from __future__ import annotations

from .._model.errors import InputError
from . import config, messages

MAX_VNI = 0xFFFFFF
MOST_FAULTS = 20


def vni(text):
    try:
        found = int(text, 10)
    except ValueError:
        found = -1
    if not 0 <= found <= MAX_VNI:
        raise ValueError(f"{text!r} is not a VNI; write 0 to {MAX_VNI}")
    return found


def address(text):
    """The packed address of a VTEP; names are not looked up."""
    found = config.packed(text)
    if found is None:
        raise ValueError(f"{text!r} is not an address; write one such as 192.0.2.1 or 2001:db8::1")
    found = config.address(text)
    if not messages.is_vtep(found):
        raise ValueError(f"{text!r} is no VTEP's address; write one that is")
    return found


def read(path):
    """[(vni, packed address)] of a file, each once. Raises InputError with its faults."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse(path, file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a file that can be read") from None


def parse(path, lines):
    found, faults = {}, []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if len(words) != 2:
                raise ValueError(f"{line.strip()!r} is not understood; write it as `VNI ADDRESS`")
            found[vni(words[0]), address(words[1])] = None
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if faults:
        more = [f"{path}: and {len(faults) - MOST_FAULTS} more faults"] if len(faults) > MOST_FAULTS else []
        raise InputError(faults[:MOST_FAULTS] + more)
    return list(found)

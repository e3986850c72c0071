# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the collection on a host: one archive that Python runs, and links to it, one a command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InputError

MODE = 0o755
NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True)
class Program:
    name: str
    commands: tuple = ()
    sha256: str = ""  # of the archive; empty where it shall not be there
    version: str = ""


@dataclass(frozen=True)
class Archive:
    """An archive as it is on the host."""

    sha256: str
    version: str
    mode: int = MODE
    owner: int | None = None  # its uid, where that is not the module's own


def absent(name):
    """The Program that shall not be there."""
    faults = _name("name", name)
    if faults:
        raise InputError(faults)
    return Program(name)


def program(name, commands, sha256, version):
    """The Program that is wanted. commands: {name: module}."""
    faults = _name("name", name)
    for command, module in commands.items():
        faults += _name("commands", command)
        if not MODULE.fullmatch(str(module)):
            faults.append(f"commands: {command}: {module!r} is not a module's name; write it as _vxfld.vxsnd")
    if not commands:
        faults.append("commands: is empty; name one command at least")
    if not sha256:
        faults.append("sha256: missing; the action plugin of this module gives it, so call it from a playbook")
    if faults:
        raise InputError(faults)
    return Program(name, tuple(sorted(commands)), sha256, version or "")


def _name(key, value):
    if NAME.fullmatch(value):
        return []
    return [f"{key}: {value!r} is not a name; write up to 64 of a-z, 0-9 and -, a letter first"]

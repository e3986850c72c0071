# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon of the collection on a host: its units, its configuration file and its secrets, and which change asks for what."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
from dataclasses import dataclass, field

from .errors import InputError

NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
UNIT = re.compile(r"[a-z][a-z0-9@-]{0,63}\.(service|socket|timer|path)")
KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
VARIABLE = "VTEP_FABRIC_DIGEST"  # in a daemon's environment: what it was started with
_DIGEST = re.compile(rf"^Environment={VARIABLE}=(\S*)$", re.MULTILINE)


@dataclass(frozen=True)
class Daemon:
    name: str
    present: bool = True
    units: dict = field(default_factory=dict)  # {file name: text}
    settings: dict = field(default_factory=dict)  # {section: {key: text}}
    reloadable: frozenset = frozenset()  # (section, key)
    secrets: dict = field(default_factory=dict)  # {name: text}
    program: str = ""  # what its program is; another one asks for a restart
    after_removal: tuple = ()  # units that are started once when the daemon goes

    @property
    def service(self):
        return f"{self.name}.service"


def mark(name):
    """The first line of each file that is ours."""
    return f"# Written by vtep.fabric for {name}; the next run overwrites what is changed here.\n"


def is_ours(text, name):
    return text.startswith(mark(name))


def configuration(daemon):
    """The configuration file's text."""
    parts = [mark(daemon.name)]
    for section in sorted(daemon.settings):
        rows = "".join(f"{key} = {value}\n" for key, value in sorted(daemon.settings[section].items()))
        parts.append(f"\n[{section}]\n{rows}")
    return "".join(parts)


def units(daemon):
    """{file name: text} as they go to the host. The service's environment tells what it was started with, so that a daemon that
    runs with something else is known, however that came about.
    """
    texts = {name: mark(daemon.name) + text for name, text in daemon.units.items()}
    lines = f"# The program: {daemon.program}\n" if daemon.program else ""
    lines += f"Environment={VARIABLE}={_digest(daemon)}\n"
    texts[daemon.service] = texts[daemon.service].replace("[Service]\n", f"[Service]\n{lines}", 1)
    return texts


def digest(unit):
    """What a service's unit says that it is started with; None where it says nothing."""
    found = _DIGEST.search(unit or "")
    return found and found[1]


def _digest(daemon):
    """Of all that a running daemon does not take up: its unit, what its program is, and settings that are read once."""
    fixed = [
        [section, key, value]
        for section, rows in sorted(daemon.settings.items())
        for key, value in sorted(rows.items())
        if (section, key) not in daemon.reloadable
    ]
    return hashlib.sha256(json.dumps([daemon.units[daemon.service], daemon.program, fixed]).encode()).hexdigest()[:16]


def parse(text):
    """{(section, key): value} of a configuration file; None where it cannot be read as one."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return {(section, key): value for section in parser.sections() for key, value in parser[section].items()}


def daemon(name, units, settings, reloadable, secrets, program):
    """The Daemon that is wanted."""
    faults = _names("name", [name], NAME) + _names("units", units, UNIT) + _names("secrets", secrets, KEY)
    service = f"{name}.service"
    if "[Service]\n" not in str(units.get(service, "")):
        faults.append(f"units: {service} is missing, or has no section [Service]")
    for section, rows in settings.items():
        faults += _names("settings", [section], KEY)
        if not isinstance(rows, dict):
            faults.append(f"settings: {section}: {rows!r} is not a mapping of keys and values")
            continue
        faults += _names(f"settings: {section}", rows, KEY)
        for key, value in rows.items():
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                faults.append(f"settings: {section}: {key}: {value!r} is not text or a number; write it in quotes")
            elif "\n" in str(value):
                faults.append(f"settings: {section}: {key}: {value!r} has more than one line")
    pairs = [tuple(word.split(".", 1)) for word in reloadable]
    faults += [f"reloadable: {'.'.join(pair)!r} is not SECTION.KEY" for pair in pairs if len(pair) != 2]
    if "\n" in program:
        faults.append("program: has more than one line")
    for key, value in secrets.items():
        if not isinstance(value, str) or not value:
            faults.append(f"secrets: {key}: is not text, or empty; leave it out where there is none")
    if faults:
        raise InputError(faults)
    texts = {unit: text if text.endswith("\n") else text + "\n" for unit, text in units.items()}
    wanted = {section: {key: str(value) for key, value in rows.items()} for section, rows in settings.items()}
    return Daemon(name, True, texts, wanted, frozenset(pairs), dict(secrets), program)


def absent(name, after_removal):
    """The Daemon that shall not be there."""
    faults = _names("name", [name], NAME) + _names("after_removal", after_removal, UNIT)
    if faults:
        raise InputError(faults)
    return Daemon(name, False, after_removal=tuple(after_removal))


def _names(key, names, pattern):
    return [f"{key}: {name!r} is not a name that can stand here" for name in names if not pattern.fullmatch(str(name))]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of daemons: keys with what they may be, faults told by file, line and key, and what may change while the
daemon runs.

A daemon's settings are a frozen dataclass whose fields are made by `key`.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from dataclasses import field, fields
from pathlib import Path

from .._model.errors import InputError
from . import ini

_TRUE, _FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL", "NOTSET": "DEBUG"}  # Python's other names of them
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
LONGEST_SECRET = 4096  # octets

# --- what a value may be -------------------------------------------------------------------------------------------


def number(low, high):
    def parse(text):
        try:
            found = int(text, 10)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number; write {low} to {high}") from None
        if not low <= found <= high:
            raise ValueError(f"{text!r} is out of range; write {low} to {high}")
        return found

    return parse


def seconds(low, high):
    def parse(text):
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or not low <= float(text) <= high:
            raise ValueError(f"{text!r} is not a time in seconds; write {low} to {high}")
        return float(text)

    return parse


def truth(text):
    found = text.lower()
    if found not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither true nor false; write true or false")
    return found in _TRUE


def word(*allowed):
    def parse(text):
        if text.lower() not in allowed:
            raise ValueError(f"{text!r} is unknown; write {', '.join(allowed[:-1])} or {allowed[-1]}")
        return text.lower()

    return parse


def level(text):
    found = _LEVELS.get(text.upper(), text.upper())
    if found not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError(f"{text!r} is not a log level; write DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return found


def path(text):
    if "\n" in text or "\0" in text:
        raise ValueError(f"{text!r} is not a file name; write it on one line")
    return str(Path(text).absolute())


def logdest(text):
    return text if text in ("syslog", "stdout") else path(text)


def dev(text):
    if not re.fullmatch(r"[^\s/:]{1,15}", text):
        raise ValueError(f"{text!r} is not a device name; write 1 to 15 characters without blanks, '/' or ':'")
    return text


def anything(text):
    return text


def packed(text):
    """A literal address as packed bytes, else None."""
    for family in FAMILIES.values():
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return None


def shown_address(address):
    """A packed address as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


# --- the keys ------------------------------------------------------------------------------------------------------


def key(parse, default, live=False, empty=False, used=True):
    """A key of the file. live: may change while the daemon runs. empty: may be given without a value. used: has an effect."""
    metadata = {"parse": parse, "live": live, "empty": empty, "used": used}
    if isinstance(default, (dict, list)):
        return field(default_factory=type(default), metadata=metadata)  # pylint: disable=invalid-field-call
    return field(default=default, metadata=metadata)  # pylint: disable=invalid-field-call


def keys(cls):
    """{key: its field}"""
    return {one.name: one for one in fields(cls) if one.metadata}


# --- reading -------------------------------------------------------------------------------------------------------


def read(cls, file, overrides, section_of, foreign=()):
    """(settings, {key: where it stands}, faults, warnings) of a file, FILE.override on top, and texts from the command line above.

    section_of: function of a key, which names its section. foreign: sections that are other programs'.
    """
    known, faults, warnings, parsed, places = keys(cls), [], [], {}, {}
    found = []
    for name in (file, f"{file}.override"):
        values, broken = ini.read(name)
        faults += broken
        # [DEFAULT] is for all sections and gives way to them.
        for value in sorted(values, key=lambda one: one.section != "DEFAULT"):
            if _belongs(known, section_of, foreign, value, f"{name}:{value.line}", warnings):
                found.append((f"{name}:{value.line}: [{value.section}] {value.key}", value))
    for name, text in (overrides or {}).items():
        found.append((f"command line: {name}", ini.Value("", name, text, 0, 0)))
    for where, value in found:
        places[value.key] = where
        try:
            parsed[value.key] = parse(known[value.key], value.text)
        except ValueError as error:
            faults.append(f"{where}: {error}{_hint(value)}")
        if not known[value.key].metadata["used"]:
            warnings.append(f"{where}: is known and has no effect here")
    return cls(**parsed), places, faults, warnings


def _belongs(known, section_of, foreign, value, where, warnings):
    own = list(dict.fromkeys(map(section_of, known)))
    if value.section not in ("DEFAULT", *own):
        if value.section not in foreign:
            named = [f"[{one}]" for one in own]
            listed = " and ".join([", ".join(named[:-1]), named[-1]])
            warnings.append(f"{where}: [{value.section}] is not a known section; known are {listed}")
        return False
    if value.key not in known:
        warnings.append(f"{where}: [{value.section}] {value.key}: is not a known key; it has no effect")
        return False
    right = section_of(value.key)
    if value.section not in ("DEFAULT", right):
        warnings.append(f"{where}: [{value.section}] {value.key}: has no effect here; write it into [{right}]")
        return False
    return True


def parse(one, text):
    """The value of a key's text. Raises ValueError."""
    if not text and not one.metadata["empty"]:
        raise ValueError("'' is no value; write one or leave the key out")
    return one.metadata["parse"](text)


def _hint(value):
    if value.last > value.line:
        return f" (the value goes on to line {value.last}, since an indented line continues the one above it)"
    return " (a remark within a line begins with ` ;`, or goes on a line of its own)" if "#" in value.text else ""


def secret(file, what):
    """What a file holds that only its owner and group may read. Raises ValueError."""
    try:
        with open(file, "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            found = opened.read(LONGEST_SECRET)
    except OSError as error:
        raise ValueError(f"{file!r} is not readable ({error.strerror}); write the name of a {what} file") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ValueError(f"{file!r} is open to all users; write the {what} anew and take chmod 640")
    return found


# --- while the daemon runs -----------------------------------------------------------------------------------------


def changed(settings, name, text, program):
    """The value of one key that is to change, by the same rules as in a file. Raises InputError."""
    known = keys(type(settings))
    if name not in known:
        raise InputError(f"{name}: Unknown parameter")
    if not known[name].metadata["live"]:
        raise InputError(f"{name}: Read-Only Parameter; write it into the configuration file and restart {program}")
    if text is None or not (text or known[name].metadata["empty"]):
        raise InputError(f"{name}: Value cannot be None")
    try:
        return parse(known[name], text)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def differences(settings, new):
    """({key: value} of what changes at once, names of changed keys that need a restart)"""
    live, waiting = {}, []
    for name, one in keys(type(settings)).items():
        if getattr(settings, name) == getattr(new, name) or not one.metadata["used"]:
            continue
        if one.metadata["live"]:
            live[name] = getattr(new, name)
        else:
            waiting.append(name)
    return live, waiting

# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of daemons, judged before a host is touched by the very code that reads them there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..module_utils._model import daemon as model
from ..module_utils._model.errors import InputError


def merged(below, above):
    """{section: {key: value}} of two such, the second one on top."""
    return {section: {**below.get(section, {}), **above.get(section, {})} for section in {**below, **above}}


def texts(settings):
    """Settings as the file has them. Sections without keys are left out."""
    return {section: {name: _text(value) for name, value in rows.items()} for section, rows in settings.items() if rows}


def _text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


def judged(daemon, settings, load, secrets=None):
    """Every fault that the daemon would find; see examined."""
    return examined(daemon, settings, load, secrets)[0]


def examined(daemon, settings, load, secrets=None):
    """(every fault that the daemon would find, what it would warn of). load: function of a file's name, which raises InputError, and
    else returns (settings, warnings).

    secrets: {file on the host: (its text, the variable that it comes from)}; settings that name such a file are judged by the text.
    """
    with tempfile.TemporaryDirectory() as folder:
        places, names = {}, {}
        for number, (place, (text, variable)) in enumerate((secrets or {}).items()):
            file = Path(folder) / f"secret{number}"
            file.touch(0o600)
            file.write_text(str(text), encoding="utf-8")
            places[place], names[str(file)] = str(file), variable
        file = Path(folder) / f"{daemon}.conf"
        found = {
            section: {name: places.get(value, value) for name, value in rows.items()}
            for section, rows in settings.items()
        }
        file.write_text(model.configuration(model.Daemon(daemon, settings=found)), encoding="utf-8")
        try:
            found, warnings = [], load(str(file))[1]
        except InputError as error:
            found, warnings = error.faults, []
        return tuple(
            [_readable(one, str(file), f"/etc/{daemon}.conf", names) for one in told] for told in (found, warnings)
        )


def _readable(fault, file, conf, names):
    # No line of the file that is not there yet, and no place of a file that is gone.
    if fault.startswith(file):
        fault = f"{conf}: {fault.split(': ', 1)[1]}"
    for place, variable in names.items():
        fault = fault.replace(place, variable)
    return fault

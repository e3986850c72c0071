# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of vtep-agent: those that the fabric asks for with the role's on top, judged before a host is touched by the very code
that reads them there.
"""

from __future__ import annotations

import posixpath

from ..module_utils._agent import config
from ..module_utils._service import settings as reading
from . import daemon_settings
from .daemon_settings import merged

DAEMON = config.PROGRAM
CREDENTIALS = f"/run/credentials/{DAEMON}.service/"
RUN = f"/run/{DAEMON}/"
FILES = ("password_file", "ca_file", "cert_file", "key_file")  # what the unit hands over when it starts
FIXED = ("pidfile", "udsfile", "statedir")  # what goes with the unit
SECTIONS = ("agent", "registry", "given")


def compose(plan, words, extra, secrets=None):
    """
    {daemon, settings, reloadable, faults, warnings} of a host. plan: `agent` of the compiled plan. words: {key: value} of the role's
    variables; None stands for not given. extra: {section: {key: value}}. secrets: {name of a credential: its text}; the others are not
    judged.
    """
    faults = []
    found = {section: dict(rows) for section, rows in plan["settings"].items()}
    for section, rows in _given(words, extra, faults):
        found = merged(found, {section: rows})
    texts = daemon_settings.texts(found)
    checked, warnings = _checked(texts, secrets or {})
    faults += _unknown(texts) + _unwritable(texts.get("agent", {})) + checked
    return {"daemon": DAEMON, "settings": texts, "reloadable": reloadable(), "faults": faults, "warnings": warnings}


def reloadable():
    """SECTION.KEY of what the agent takes up on a reload."""
    live = (name for name, one in reading.keys(config.Settings).items() if one.metadata["live"])
    return sorted(f"{config.section(name)}.{name}" for name in live if name not in FILES)


def _given(words, extra, faults):
    """(section, {key: value}) of what the role was given."""
    known = reading.keys(config.Settings)
    for name, value in words.items():
        if value is not None and name in known:
            yield config.section(name), {name: value}
        elif value is not None:
            faults.append(f"agent_{name}: is not a setting of {DAEMON}; leave it out")
    for section, rows in extra.items():
        if section not in SECTIONS:
            faults.append(f"agent_extra_settings: {section}: is not a section; known are {', '.join(SECTIONS)}")
        elif not isinstance(rows, dict):
            faults.append(f"agent_extra_settings: {section}: {rows!r} is not a mapping of keys and values")
        else:
            faults += [
                f"agent_extra_settings: {section}: {name}: goes with the unit and cannot be set; leave it out"
                for name in sorted(set(FIXED) & set(rows))
            ]
            yield section, {name: value for name, value in rows.items() if name not in FIXED}


def _unknown(texts):
    """What the agent would only warn of: whoever sets it counts on it."""
    known = {(config.section(name), name) for name in reading.keys(config.Settings)}
    return [
        f"/etc/{DAEMON}.conf: [{section}] {name}: is not a known key; write it as docs/agent.md has it"
        for section, rows in texts.items()
        for name in rows
        if (section, name) not in known
    ]


def _unwritable(rows):
    """What the agent takes, and cannot write under the unit, whose file system is read-only but for one directory."""
    found = []
    if rows.get("logdest", "").startswith("/"):
        found.append(
            f"logdest: {rows['logdest']!r} is a file, which the unit does not let it write; take syslog or stdout"
        )
    if "textfile" in rows and not posixpath.normpath(rows["textfile"]).startswith(RUN):
        message = f"the unit lets it write below {RUN} only; take a timer, as docs/agent.md has it"
        found.append(f"textfile: {rows['textfile']!r} cannot be written, {message}")
    return [f"/etc/{DAEMON}.conf: [agent] {one}" for one in found]


def _checked(texts, secrets):
    """(every fault that the agent would find, what it would warn of)"""
    registry = dict(texts.get("registry", {}))
    for name in FILES:
        # What is only on the host cannot be judged, nor what goes with it.
        if name in registry and registry[name][len(CREDENTIALS) :] not in secrets:
            del registry[name]
    if "password_file" not in registry:
        registry.pop("username", None)
    if not {"cert_file", "key_file"} <= set(registry):
        for name in ("cert_file", "key_file"):
            registry.pop(name, None)
    places = {CREDENTIALS + name: (text, f"agent_{name}") for name, text in secrets.items()}
    return daemon_settings.examined(DAEMON, {**texts, "registry": registry}, config.load, places)

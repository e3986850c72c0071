# SPDX-License-Identifier: GPL-3.0-or-later
"""From a daemon as it is on the host to the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model import daemon as model
from .._model.errors import InputError

RUNNING = ("active", "reloading")  # systemd's words
ENABLED = ("enabled", "enabled-runtime")


@dataclass(frozen=True)
class Observed:
    """What the host has. paths of files -> text, None where there is none."""

    directory: str  # of units
    config: str  # path
    files: dict  # the configuration file, and every unit there that is wanted or ours
    secrets: dict  # {name: text} on disk
    unsafe: tuple = ()  # names of secrets whose file others could read or change
    shown: dict = field(default_factory=dict)  # systemd's properties of the service
    digest: str | None = None  # what the running daemon was started with
    running_secrets: dict = field(default_factory=dict)

    @property
    def running(self):
        return self.shown.get("ActiveState") in RUNNING

    @property
    def enabled(self):
        return self.shown.get("UnitFileState") in ENABLED


@dataclass(frozen=True)
class Plan:
    name: str
    writes: dict = field(default_factory=dict)  # {path: text}
    removes: tuple = ()  # paths
    secrets: dict = field(default_factory=dict)  # those written
    forget: tuple = ()  # names of secrets removed
    daemon_reload: bool = False
    enable: bool = False
    act: str = ""  # start, restart, reload, or remove: stop, disable and forget it
    after_removal: tuple = ()

    def __bool__(self):
        return bool(self.writes or self.removes or self.secrets or self.forget or self.enable or self.act)


def plan(desired, observed):
    return _present(desired, observed) if desired.present else _absent(desired, observed)


def wanted_files(desired, observed):
    """{path: text} of a Daemon's units and configuration."""
    texts = {f"{observed.directory}/{name}": text for name, text in model.units(desired).items()}
    return {**texts, observed.config: model.configuration(desired)}


def _present(desired, observed):
    _refuse(desired, observed)
    wanted = wanted_files(desired, observed)
    writes = {path: text for path, text in wanted.items() if observed.files.get(path) != text}
    removes = tuple(sorted(path for path, text in observed.files.items() if text is not None and path not in wanted))
    stale = {name: text for name, text in desired.secrets.items() if observed.secrets.get(name) != text}
    secrets = {**stale, **{name: desired.secrets[name] for name in observed.unsafe if name in desired.secrets}}
    act = _act(desired, observed, wanted)
    units = any(path != observed.config for path in (*writes, *removes))
    return Plan(
        name=desired.name,
        writes=writes,
        removes=removes,
        secrets=secrets,
        forget=tuple(sorted(set(observed.secrets) - set(desired.secrets))),
        daemon_reload=units or (act in ("start", "restart") and observed.shown.get("NeedDaemonReload") == "yes"),
        enable=not observed.enabled,
        act=act,
    )


def _act(desired, observed, wanted):
    if not observed.running:
        return "start"
    unit = wanted[f"{observed.directory}/{desired.service}"]
    if observed.digest != model.digest(unit) or observed.running_secrets != desired.secrets:
        return "restart"
    old = model.parse(observed.files.get(observed.config) or "")
    new = model.parse(wanted[observed.config])
    if old is None:
        return "restart"
    changed = {pair for pair in {*old, *new} if old.get(pair) != new.get(pair)}
    if changed - desired.reloadable:
        return "restart"
    return "reload" if changed else ""


def _refuse(desired, observed):
    """What others made is not overwritten."""
    faults = []
    for path in wanted_files(desired, observed):
        text = observed.files.get(path)
        if text is not None and not model.is_ours(text, desired.name):
            faults.append(
                f"{path} is there and is not of vtep.fabric; move it away, and what it says into the task that writes it"
            )
    fragment = observed.shown.get("FragmentPath", "")
    if observed.shown.get("LoadState") == "masked":
        faults.append(f"{desired.service} is masked; systemctl unmask {desired.service}")
    elif fragment and not fragment.startswith(f"{observed.directory}/"):
        faults.append(f"{desired.service} is of a package ({fragment}); remove that, or leave the daemon to it")
    if faults:
        raise InputError(faults)


def _absent(desired, observed):
    ours = {
        path: text for path, text in observed.files.items() if text is not None and model.is_ours(text, desired.name)
    }
    installed = f"{observed.directory}/{desired.service}" in ours
    return Plan(
        name=desired.name,
        removes=tuple(sorted(ours)),
        forget=tuple(sorted(observed.secrets)),
        daemon_reload=any(path != observed.config for path in ours),
        act="remove" if installed else "",
        after_removal=desired.after_removal if installed else (),
    )

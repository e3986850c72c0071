# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon's files on this host, and what its process was started with."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .._model import daemon as model
from . import files, systemd

UNITS = Path("/etc/systemd/system")
CONFIGURATIONS = Path("/etc")
SECRETS = Path("/etc/vtep.fabric")
CREDENTIALS = Path("/run/credentials")
RUN = Path("/run")


def config(name):
    return CONFIGURATIONS / f"{name}.conf"


def texts(name, units):
    """{path: text} of the configuration file, of those units, and of all others that are ours; None where there is none."""
    ours = [str(path) for path in UNITS.glob("*.*") if path.is_file() and model.is_ours(files.read(path), name)]
    paths = [str(config(name)), *(str(UNITS / unit) for unit in units), *ours]
    return {path: files.read(path, None) for path in paths if not _is_mask(path)}


def _is_mask(path):
    return os.path.realpath(path) == os.devnull


def secrets(name):
    """({name: text}, names of those whose file others could read)"""
    found, open_ones = {}, []
    folder = SECRETS / name
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        found[path.name] = files.read(path)
        about = path.stat()
        if about.st_mode & 0o077 or about.st_uid != os.geteuid():
            open_ones.append(path.name)
    return found, tuple(open_ones)


def running_secrets(service):
    """{name: text} as the running service got them."""
    folder = CREDENTIALS / service
    return {path.name: files.read(path) for path in folder.iterdir()} if folder.is_dir() else {}


def environment(pid, variable):
    """A variable that a process was started with, or None."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    rows = (row.split(b"=", 1) for row in content.split(b"\0") if b"=" in row)
    return next((value.decode(errors="replace") for key, value in rows if key == variable.encode()), None)


def write(path, text):
    files.install(path, text.encode(), 0o644)


def write_secret(name, secret, text):
    for folder in (SECRETS, SECRETS / name):
        files.make_directory(folder, 0o700)
    files.install(SECRETS / name / secret, text.encode(), 0o600)


def forget_secret(name, secret):
    files.remove(SECRETS / name / secret)
    for folder in (SECRETS / name, SECRETS):
        with contextlib.suppress(OSError):  # others have their secrets there too
            folder.rmdir()


def stop(name, after):
    """Stop and disable a daemon for good, then start the units that clean up after it."""
    service = f"{name}.service"
    systemd.stop(service)
    systemd.disable(service)
    for unit in after:
        systemd.run(unit)
    if (RUN / name).exists():
        systemd.clean(service)

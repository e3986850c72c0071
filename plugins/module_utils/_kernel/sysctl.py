# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of this network namespace, read and written through /proc/sys."""

from __future__ import annotations

from pathlib import Path

from .._model import sysctl as model
from .._model.errors import KernelError

ROOT = Path("/proc/sys")


def read(key):
    """A setting's value with one blank between the numbers of a list, or None where there is no such setting."""
    try:
        return " ".join(_path(key).read_text(encoding="ascii", errors="replace").split())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KernelError(f"read {key}", error.errno) from None


def write(key, value):
    try:
        # Not a new file, should the device go at this moment: /proc refuses that anyway.
        with open(_path(key), "r+", encoding="ascii") as file:
            file.write(value + "\n")
    except OSError as error:
        raise KernelError(f"set {key} to {value!r}", error.errno) from None


def device_exists(key):
    """Whether the device that a key is about has settings of that kind."""
    return _path(key).parent.is_dir()


def forwarding():
    """{key: value} of all that the kernel changes beside model.FORWARDING when that is written."""
    found = {}
    for directory in sorted((ROOT / "net/ipv6/conf").iterdir() if (ROOT / "net/ipv6/conf").is_dir() else ()):
        for name in model.FORWARDED:
            key = model.joined(["net", "ipv6", "conf", directory.name, name])
            value = None if key == model.FORWARDING else read(key)
            if value is not None:
                found[key] = value
    return found


def _path(key):
    return ROOT.joinpath(*model.parts(key))

# SPDX-License-Identifier: GPL-3.0-or-later
"""From the program that is installed to the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from .._model import program as model
from .._model.errors import InputError


@dataclass(frozen=True)
class Plan:
    name: str
    install: bool = False
    remove: bool = False
    link: tuple = ()
    unlink: tuple = ()

    def __bool__(self):
        return bool(self.install or self.remove or self.link or self.unlink)


def plan(desired, archive, links, taken):
    """
    archive: the Archive that is there, or None. links: the commands that are links to its place.
    taken: paths of wanted commands that hold something else, which is not ours to replace.
    """
    if not desired.sha256:
        return Plan(desired.name, remove=archive is not None, unlink=tuple(sorted(links)))
    if taken:
        raise InputError(
            [f"{path} is there and is not a link to {desired.name}; move it away" for path in sorted(taken)]
        )
    same = archive and (archive.sha256, archive.mode, archive.owner) == (desired.sha256, model.MODE, None)
    return Plan(
        desired.name,
        install=not same,
        link=tuple(sorted(set(desired.commands) - set(links))),
        unlink=tuple(sorted(set(links) - set(desired.commands))),
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the program module."""

from __future__ import annotations

from .._daemons import program as adapter
from .._model import program as model
from .._plan import program as planning
from .run import Outcome, Resource

SPEC = {
    "name": {"type": "str", "required": True},
    "commands": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "sha256": {"type": "str"},
    "version": {"type": "str"},
    "src": {"type": "path"},
}


class Program(Resource):
    def __init__(self):
        self.src = None

    def normalise(self, params):
        self.src = params["src"]
        if params["state"] == "absent":
            return model.absent(params["name"])
        return model.program(params["name"], params["commands"], params["sha256"], params["version"])

    def read(self, desired):
        links = adapter.links(desired.name)
        return adapter.load(desired.name), links, adapter.taken(set(desired.commands) - set(links))

    def plan(self, desired, observed):
        return planning.plan(desired, *observed)

    def apply(self, plan):
        if self.waiting(plan):
            return
        for command in plan.unlink:
            adapter.unlink(command)
        if plan.remove:
            adapter.remove(plan.name)
        if plan.install:
            adapter.install(plan.name, self.src)
        for command in plan.link:
            adapter.link(plan.name, command)

    def waiting(self, plan):
        """Whether the archive has to be sent first. Until then nothing is done, and what is told is a prediction."""
        return plan.install and not self.src

    def verify(self, desired, plan):
        left = None if self.waiting(plan) else planning.plan(desired, *self.read(desired))
        return [f"{adapter.path(desired.name)} or a link to it is not as it was written"] if left else []

    def outcome(self, desired, observed, plan, checking):
        archive, links, _taken = observed
        path = str(adapter.path(desired.name))
        after = model.Archive(desired.sha256, desired.version) if desired.sha256 else None
        return Outcome(
            changed=bool(plan),
            before=_text(path, archive, links),
            after=_text(path, after, desired.commands),
            header=desired.name,
            result={"path": path, "sha256": desired.sha256, "version": desired.version, "waiting": self.waiting(plan)},
        )


def _text(path, archive, commands):
    lines = [f"{adapter.COMMANDS / command} -> {path}\n" for command in sorted(commands)]
    if archive:
        owner = "" if archive.owner is None else f", owner {archive.owner}"
        mode = "" if archive.mode == model.MODE else f", mode {archive.mode:04o}"
        lines.append(f"{path}: version {archive.version}, SHA-256 {archive.sha256}{mode}{owner}\n")
    return "".join(lines)

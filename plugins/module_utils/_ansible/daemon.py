# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the daemon module."""

from __future__ import annotations

from .._daemons import daemon as adapter
from .._daemons import files, systemd
from .._model import daemon as model
from .._plan import daemon as planning
from .run import Outcome, Resource

SPEC = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "units": {"type": "dict", "default": {}},
    "settings": {"type": "dict", "default": {}},
    "reloadable": {"type": "list", "elements": "str", "default": []},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "program": {"type": "str", "default": ""},
    "after_removal": {"type": "list", "elements": "str", "default": []},
}
DONE = {"start": "started", "restart": "restarted", "reload": "reloaded", "remove": "removed", "": "none"}


class Daemon(Resource):
    def normalise(self, params):
        if params["state"] == "absent":
            return model.absent(params["name"], params["after_removal"])
        given = (params[key] for key in ("name", "units", "settings", "reloadable", "secrets", "program"))
        return model.daemon(*given)

    def read(self, desired):
        shown = systemd.show(desired.service)
        secrets, unsafe = adapter.secrets(desired.name)
        running = shown.get("ActiveState") in planning.RUNNING
        return planning.Observed(
            directory=str(adapter.UNITS),
            config=str(adapter.config(desired.name)),
            files=adapter.texts(desired.name, desired.units),
            secrets=secrets,
            unsafe=unsafe,
            shown=shown,
            digest=adapter.environment(shown.get("MainPID"), model.VARIABLE) if running else None,
            running_secrets=adapter.running_secrets(desired.service) if running else {},
        )

    def plan(self, desired, observed):
        return planning.plan(desired, observed)

    def apply(self, plan):
        service = f"{plan.name}.service"
        if plan.act == "remove":
            adapter.stop(plan.name, plan.after_removal)
        for name, text in plan.secrets.items():
            adapter.write_secret(plan.name, name, text)
        for name in plan.forget:
            adapter.forget_secret(plan.name, name)
        for path, text in plan.writes.items():
            adapter.write(path, text)
        for path in plan.removes:
            files.remove(path)
        if plan.daemon_reload:
            systemd.daemon_reload()
        if plan.act == "remove":
            systemd.forget(service)
        if plan.enable:
            systemd.enable(service)
        if plan.act in ("start", "restart"):
            systemd.start(service)
        if plan.act == "reload":
            systemd.reload(service)

    def verify(self, desired, plan):
        observed = self.read(desired)
        left = planning.plan(desired, observed)
        return _differences(left, observed, desired.service) if left else []

    def outcome(self, desired, observed, plan, checking):
        paths = sorted({*plan.writes, *plan.removes})
        state = _state(observed)
        goal = "" if not desired.present else "enabled, active"
        goal += f", {DONE[plan.act]}" if plan.act in ("restart", "reload") else ""
        secrets = sorted({*plan.secrets, *plan.forget})
        old = [_secret(name) for name in secrets if name in observed.secrets]
        new = [
            _secret(name) + (" (new)" if name in observed.secrets else "") for name in secrets if name in plan.secrets
        ]
        return Outcome(
            changed=bool(plan),
            before=_text({path: observed.files.get(path) for path in paths}, old, desired.service, state),
            after=_text(plan.writes, new, desired.service, goal if plan else state),
            header=desired.name,
            result={"action": DONE[plan.act], "files": paths},
        )


def _state(observed):
    if observed.shown.get("LoadState") == "not-found":
        return ""
    return f"{'enabled' if observed.enabled else 'not enabled'}, {observed.shown.get('ActiveState', 'unknown')}"


def _secret(name):
    return f"secret {name}"


def _text(texts, secrets, service, state):
    """A side of the diff: each file's lines below its path."""
    lines = []
    for path, text in sorted(texts.items()):
        if text is not None:
            lines += [f"{path}:\n", *(f"  {line}".rstrip() + "\n" for line in text.splitlines())]
    lines += [f"{secret}\n" for secret in secrets]
    if state:
        lines.append(f"{service}: {state}\n")
    return "".join(lines)


def _differences(left, observed, service):
    found = [f"{path} is not as it was written" for path in left.writes]
    found += [f"{path} is still there" for path in left.removes]
    if left.secrets or left.forget:
        found.append("a secret's file is not as it was written")
    if left.act or left.enable:
        found.append(f"{service} is {_state(observed)}")
    return found

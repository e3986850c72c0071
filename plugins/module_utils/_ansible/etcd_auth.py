# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource of the etcd_auth module."""

from __future__ import annotations

from .._daemons.etcd_auth import Etcd, Refusal, knock
from .._model import etcd_auth as model
from .._model.errors import DaemonError, MissingError
from .._plan import etcd_auth as planning
from .run import Outcome, Resource

SPEC = {
    "endpoint": {"type": "str", "default": "https://127.0.0.1:2379"},
    "ca": {"type": "path"},
    "root_password": {"type": "str", "required": True, "no_log": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "prefix": {"type": "str", "required": True},
}


class EtcdAuth(Resource):
    def __init__(self):
        self.desired = None

    def normalise(self, params):
        self.desired = model.auth(**params)
        return self.desired

    def _etcd(self, name="", password=""):
        return Etcd(self.desired.endpoint, self.desired.ca, name, password)

    def _root(self, enabled):
        return self._etcd(planning.ROOT, self.desired.root_password) if enabled else self._etcd()

    def read(self, desired):
        try:
            knock(desired.endpoint)
            enabled = self._etcd().asks_for_passwords()
            root = self._root(enabled)
            if enabled and not root.knows_me(planning.ROOT):
                return planning.Observed(enabled=True, root_is_known=False)
            users = {name: root.roles(name) for name in root.users() if name in (planning.ROOT, desired.username)}
            user = self._etcd(desired.username, desired.password)
            return planning.Observed(
                enabled=enabled,
                users=users,
                permissions=root.permissions(desired.username),
                user_is_known=not enabled or desired.username not in users or user.knows_me(desired.username),
            )
        except (Refusal, MissingError) as error:
            return planning.Observed(silent=str(error))

    def plan(self, desired, observed):
        return planning.plan(desired, observed)

    def apply(self, plan):
        if plan.silent:
            raise DaemonError(plan.silent)
        root = self._root(plan.as_root)
        for step in plan.steps:
            root.do(step.words, step.password)

    def verify(self, desired, plan):
        observed = self.read(desired)
        if observed.silent:
            return [observed.silent]
        return [
            f"etcdctl {' '.join(step.words)} is still to be done" for step in planning.plan(desired, observed).steps
        ]

    def outcome(self, desired, observed, plan, checking):
        told = {step.words[2] for step in plan.steps if step.words[:2] == ("user", "passwd") and observed.enabled}
        wanted = {name: (name,) for name in (planning.ROOT, desired.username)}
        before = _text(desired, observed.enabled, observed.users, observed.permissions)
        after = _text(desired, True, wanted, (desired.permission,), told)
        return Outcome(
            changed=bool(plan),
            before=before,
            after=after if plan else before,
            header=desired.endpoint,
            result={"commands": [" ".join(step.words) for step in plan.steps]},
        )


def _text(desired, enabled, users, permissions, new=()):
    """A side of the diff. new: users whose password changes."""
    lines = [f"passwords: {'asked for' if enabled else 'not asked for'}\n"]
    for name, roles in sorted(users.items()):
        words = " (new password)" if name in new else ""
        lines.append(f"user {name}{words}: {' '.join(sorted(roles)) or 'no role'}\n")
    for kind, key, end in sorted(permissions or ()):
        last = f" to {end!r}" if end else ""
        lines.append(f"role {desired.username}: {kind} {key!r}{last}\n")
    return "".join(lines)

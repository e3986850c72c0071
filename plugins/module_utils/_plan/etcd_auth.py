# SPDX-License-Identifier: GPL-3.0-or-later
"""From what etcd knows of users to what it is to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._model.errors import RefusedError

ROOT = "root"
OPEN_END = "\0"  # etcd's range end for all keys from the first one on


@dataclass(frozen=True)
class Observed:
    """What etcd has."""

    silent: str = ""  # why it could not be asked
    enabled: bool = False  # it asks for passwords
    root_is_known: bool = True  # by the wanted password, where passwords are asked for
    users: dict = field(default_factory=dict)  # {name: roles} of root and the wanted user, as far as they are there
    permissions: tuple | None = None  # of the wanted role, None where there is none
    user_is_known: bool = True  # by the wanted password, where passwords are asked for


@dataclass(frozen=True)
class Step:
    words: tuple  # of etcdctl
    password: str = field(default="", repr=False)  # for its standard input


@dataclass(frozen=True)
class Plan:
    steps: tuple = ()
    as_root: bool = False  # root's password is asked for already
    silent: str = ""

    def __bool__(self):
        return bool(self.steps)


def plan(desired, observed):
    if observed.enabled and not observed.root_is_known:
        raise RefusedError(
            "root_password: is not that of etcd's user root. To change it, tell etcd first: etcdctl user passwd root"
        )
    return Plan(tuple(_steps(desired, observed)), observed.enabled, observed.silent)


def _steps(desired, observed):
    name = desired.username
    if not observed.enabled:
        yield from _user(ROOT, desired.root_password, observed, known=False)
        yield from _roles(ROOT, ROOT, observed)
    yield from _role(desired, observed)
    yield from _user(name, desired.password, observed, known=observed.enabled and observed.user_is_known)
    yield from _roles(name, name, observed)
    if not observed.enabled:
        yield Step(("auth", "enable"))


def _user(name, password, observed, known):
    if name not in observed.users:
        yield Step(("user", "add", name, "--interactive=false"), password)
    elif not known:
        yield Step(("user", "passwd", name, "--interactive=false"), password)


def _roles(name, role, observed):
    """The role is the only one of the user."""
    has = observed.users.get(name, ())
    if role not in has:
        yield Step(("user", "grant-role", name, role))
    for other in sorted(set(has) - {role}):
        yield Step(("user", "revoke-role", name, other))


def _role(desired, observed):
    """What it permits is all that it permits."""
    name, wanted, has = desired.username, desired.permission, observed.permissions
    if has is None:
        yield Step(("role", "add", name))
    for _kind, key, end in sorted(set(has or ())):
        if (key, end) != wanted[1:]:  # one of the same range is replaced by the grant
            yield Step(("role", "revoke-permission", name, *_range(key, end)))
    if wanted not in (has or ()):
        yield Step(("role", "grant-permission", name, wanted[0], *_range(*wanted[1:])))


def _range(key, end):
    """In etcdctl's words."""
    return (key, "--from-key=true") if end == OPEN_END else (key, end) if end else (key,)

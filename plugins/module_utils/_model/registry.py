# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the agents of the variants unicast-dynamic-* ask for endpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import reading

# Words that only some kinds read. Who sets one of them under another kind has probably forgotten the kind.
KINDS = {"file": (), "etcd": ("urls", "prefix", "username"), "http": ("urls", "username", "interval")}
PREFIX = "/vtep.fabric"
USERNAME = "vtep"
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
_URLS = {
    "etcd": (re.compile(rf"https?://{_HOST}/?"), "https://[2001:db8:98::1]:2379"),
    "http": (re.compile(rf"https?://{_HOST}(/[!-~]{{0,2000}})?"), "https://ipam.example.net/endpoints.json"),
}


@dataclass(frozen=True)
class Registry:
    kind: str = "file"
    urls: tuple = ()
    prefix: str = PREFIX  # of its keys in etcd
    username: str | None = None
    interval: int | None = None  # seconds from one look at an HTTP source to the next

    @property
    def has_members(self):
        """Whether hosts of group registry, if there are any, run it."""
        return self.kind == "etcd"

    @property
    def user(self):
        """Whom agents ask as. The collection's own etcd answers nobody without a name."""
        return self.username or (USERNAME if self.has_members and not self.urls else None)


def read(value, faults):
    """The Registry, the default where there is no word, or None when one is faulty."""
    if value is None:
        return Registry()
    if not isinstance(value, dict):
        reason = f"{reading.shown(value)} is not a mapping; write it like {{kind: file}}"
        faults.add("fabric", "fabric_registry", value.reason if isinstance(value, reading.Unreadable) else reason)
        return None
    words = reading.Words(faults, "fabric", "fabric_registry: ", value)
    kind = words.get("kind", reading.choice(*KINDS), "file")
    found = Registry(
        kind=kind,
        urls=words.get("urls", urls(kind), ()),
        prefix=words.get("prefix", prefix, PREFIX),
        username=words.get("username", username),
        interval=words.get("interval", reading.whole(1, 86400)),
    )
    for word in words.known if kind else ():
        readers = [one for one, its in KINDS.items() if word in its]
        if readers and kind not in readers and value.get(word) is not None:
            message = f"is not read by kind {kind}; take kind {' or '.join(readers)}, or leave it out"
            words.fault(word, message)
    return found if words.finish() else None


def urls(kind):
    def parse(value):
        if not isinstance(value, list):
            raise ValueError(f"{reading.shown(value)} is not a list; write it as [...]")
        return tuple(dict.fromkeys(url(kind, one) for one in value))

    return parse


def url(kind, value):
    # Not cut, as other words are.
    found = value.strip() if isinstance(value, str) and value.strip() else reading.text(value)
    if "@" in found:
        raise ValueError("has a user in it; write username beside it, and the password into agent_registry_password")
    pattern, example = _URLS.get(kind, _URLS["http"])
    if not pattern.fullmatch(found):
        raise ValueError(f"{reading.shown(found)} is not a URL that can stand here; write it like {example}")
    return found.rstrip("/") if kind == "etcd" else found


def prefix(value):
    found = reading.text(value)
    if not _PATH.fullmatch(found) or len(found) > 100:
        raise ValueError(
            f"{reading.shown(found)} is not a prefix of keys; write it like {PREFIX}, up to 100 of A-Z, a-z, 0-9, . _ ~ - and /"
        )
    return found


def username(value):
    found = reading.text(value)
    if not re.fullmatch(r"[!-9;-~]{1,64}", found):  # RFC 7617, section 2: no colon
        raise ValueError(
            f"{reading.shown(found)} is not a name that can stand here; take up to 64 ASCII characters without blanks and colons"
        )
    return found

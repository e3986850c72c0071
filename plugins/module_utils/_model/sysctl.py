# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel settings below /proc/sys/net: their keys in sysctl(8)'s words, their values, and the record of those we set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import InputError

# The kernel's own trees of settings a device, whose directory `default` holds what a new device starts with.
BY_DEVICE = (("ipv4", "conf"), ("ipv6", "conf"), ("ipv4", "neigh"), ("ipv6", "neigh"))

FORWARDING = "net.ipv6.conf.all.forwarding"
# Written to every device by the kernel when FORWARDING is (addrconf_forward_change() in net/ipv6/addrconf.c). The second
# is only cleared, together with the first (Linux 6.17).
FORWARDED = ("forwarding", "force_forwarding")

# Keys that the kernel spreads over all devices, so that putting back the one value does not put back the others.
_SPREAD = {
    "net.ipv4.ip_forward": "net.ipv4.conf.<dev>.forwarding",
    "net.ipv4.conf.all.forwarding": "net.ipv4.conf.<dev>.forwarding",
    "net.ipv6.conf.all.force_forwarding": "net.ipv6.conf.<dev>.force_forwarding",
    "net.ipv6.conf.all.disable_ipv6": "net.ipv6.conf.<dev>.disable_ipv6",
}
_PART = re.compile(r"[^\s/\0]+")


def key(text):
    """A key in the form in which `sysctl -a` prints it; dots of a device's name are slashes there.

    As in sysctl(8) the first separator, a dot or a slash, is the one that separates, and the other stands for it.
    """
    text = str(text)
    separator = re.search(r"[./]", text)
    swapped = str.maketrans("./", "/.") if separator and separator.group() == "." else {}
    found = text.translate(swapped).split("/")
    if found[0] != "net":
        raise ValueError(f"{text!r} is not a setting of the network; a key begins with net, such as net.ipv6.conf.eth1")
    if len(found) < 3 or not all(_PART.fullmatch(part) and part not in (".", "..") for part in found):
        raise ValueError(
            f"{text!r} is not a key; write it like net.ipv6.conf.eth1.proxy_ndp or net/ipv6/conf/eth1.100/proxy_ndp"
        )
    return joined(found)


def joined(words):
    return ".".join(word.replace(".", "/") for word in words)


def parts(name):
    """The directories and the file of a key in its normal form."""
    return [word.replace("/", ".") for word in name.split(".")]


def by_device(name):
    """Whether the kernel has such a setting for each device, and for all of them."""
    found = parts(name)
    return len(found) == 5 and tuple(found[1:3]) in BY_DEVICE


def dev(name):
    """The device that a key is about, or None."""
    named = parts(name)[3] if by_device(name) else "all"
    return None if named in ("all", "default") else named


def default(name):
    """The key of what a new device starts with, for the key of a device."""
    found = parts(name)
    return joined([*found[:3], "default", *found[4:]])


def value(raw):
    """A value as the kernel prints it, with one blank between the numbers of a list."""
    if isinstance(raw, bool) or not isinstance(raw, (str, int)):
        raise ValueError(f"{raw!r} is not a value; write a number or a string, such as 1")
    text = " ".join(str(raw).split())
    if not text or "\0" in text:
        raise ValueError(f"{raw!r} is not a value; write a number or a string, such as 1")
    return text


def settings(raw):
    """{key: value} of what a user wrote. Raises InputError with every fault."""
    found, faults = {}, []
    for name, content in raw.items():
        try:
            normal = key(name)
            if normal in found:
                raise ValueError("the same key is named twice")
            if normal in _SPREAD:
                raise ValueError(f"changes every device of the host; set {_SPREAD[normal]} of those that need it")
            found[normal] = value(content)
        except ValueError as error:
            faults.append(f"settings: {name}: {error}")
    if faults:
        raise InputError(faults)
    return found


@dataclass(frozen=True)
class Held:
    """What the record knows of a key that we set."""

    before: str  # the value that goes back
    set: str
    was: str | None = None  # what we had set before `set`, while a run is at it
    others: dict = field(default_factory=dict)  # other keys' values, while a run writes FORWARDING: they are to stay

    def ours(self, current):
        return current is not None and current in (self.set, self.was)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what in etcd: its root, and one user whose role is one prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# etcdctl reads a password up to the first blank.
PASSWORD = re.compile(r"[!-~]{1,256}")
ENDPOINT = re.compile(r"(https?|unixs?)://[!-~]+")
READWRITE = "readwrite"


@dataclass(frozen=True)
class Auth:
    endpoint: str
    ca: str  # path, or empty
    root_password: str
    username: str  # of the role, too
    password: str
    prefix: str

    @property
    def permission(self):
        """As etcd has it: from the prefix to the first key behind it."""
        return (READWRITE, self.prefix, self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1))


def auth(endpoint, ca, root_password, username, password, prefix):
    """The Auth that is wanted."""
    faults = []
    if not ENDPOINT.fullmatch(endpoint):
        faults.append(f"endpoint: {endpoint!r} is no address of etcd; write it as https://[2001:db8::1]:2379")
    if not NAME.fullmatch(username) or username == "root":
        faults.append(f"username: {username!r} cannot be the user's; use A-Z, a-z, 0-9, _, . and -, and not root")
    for key, value in (("root_password", root_password), ("password", password)):
        if not PASSWORD.fullmatch(value):
            faults.append(
                f"{key}: is empty, longer than 256, or has other than printable ASCII characters without blanks"
            )
    if not prefix.startswith("/") or not prefix.endswith("/") or not PASSWORD.fullmatch(prefix):
        faults.append(f"prefix: {prefix!r} does not begin and end with /, or has blanks or other than ASCII characters")
    if faults:
        raise InputError(faults)
    return Auth(endpoint, ca or "", root_password, username, password, prefix)

# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's users, by etcdctl. Passwords go by its environment and its standard input, where nobody else sees them."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess

from .._model.errors import DaemonError, MissingError

PATIENCE = 60  # seconds for a command, whose own limits are shorter
KINDS = {0: "read", 1: "write", 2: "readwrite"}  # Permission.Type of etcd's auth.proto
# etcd's words.
WITHOUT_NAME = "user name is empty"  # of one who gives none where passwords are asked for
NOT_KNOWN = "authentication failed, invalid user ID or password"
UNKNOWN = ("user name not found", "role name not found")


class Refusal(DaemonError):
    """etcd, or etcdctl, said no."""


def knock(endpoint):
    """Raise Refusal where nobody listens at a socket on this host: etcdctl would go on trying for PATIENCE."""
    scheme, _slashes, place = endpoint.partition("://")
    if scheme not in ("unix", "unixs"):
        return
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        try:
            one.connect(place)
        except OSError as error:
            raise Refusal(f"{endpoint}: {error.strerror or error}: etcd does not run") from None


class Etcd:
    """An etcd, and who asks it: nobody, as long as it does not ask for passwords."""

    def __init__(self, endpoint, ca, name="", password=""):
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ETCDCTL_")},
            "LC_ALL": "C",
            "ETCDCTL_API": "3",
            "ETCDCTL_WRITE_OUT": "json",
            "ETCDCTL_ENDPOINTS": endpoint,
            **({"ETCDCTL_CACERT": ca} if ca else {}),
            **({"ETCDCTL_USER": name, "ETCDCTL_PASSWORD": password} if name else {}),
        }

    def do(self, words, password=""):
        """Run a command of etcdctl; what it prints. Raises Refusal with its words."""
        try:
            done = subprocess.run(
                ["etcdctl", *words],
                input=f"{password}\n",
                env=self.environment,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            raise MissingError("etcdctl is not installed", "apt-get install etcd-client") from None
        except subprocess.TimeoutExpired:
            raise Refusal(f"etcdctl {words[0]} has not ended within {PATIENCE} s") from None
        if done.returncode:
            raise Refusal(f"etcdctl {' '.join(words)}: {_reason(done.stderr)}")
        return done.stdout

    def asks_for_passwords(self):
        """Of an Etcd of nobody."""
        try:
            self.users()
        except Refusal as error:
            if WITHOUT_NAME in str(error):
                return True
            raise
        return False

    def knows_me(self, name):
        """Whether the password is that of name, who asks."""
        try:
            self.do(("user", "get", name))
        except Refusal as error:
            if NOT_KNOWN in str(error):
                return False
            raise
        return True

    def users(self):
        return json.loads(self.do(("user", "list"))).get("users", [])

    def roles(self, name):
        """Of a user."""
        return tuple(json.loads(self.do(("user", "get", name))).get("roles", []))

    def permissions(self, role):
        """((kind, key, end of the range or empty), ...); None where there is no such role."""
        try:
            rows = json.loads(self.do(("role", "get", role))).get("perm", [])
        except Refusal as error:
            if any(words in str(error) for words in UNKNOWN):
                return None
            raise
        return tuple((KINDS[row.get("permType", 0)], _text(row, "key"), _text(row, "range_end")) for row in rows)


def _text(row, key):
    return base64.b64decode(row.get(key, "")).decode("utf-8", "surrogateescape")


def _reason(stderr):
    """etcdctl's last line, without the log lines before it."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return (lines or ["it said nothing"])[-1].replace("Error: ", "", 1)[:500]

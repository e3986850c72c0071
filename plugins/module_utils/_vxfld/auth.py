# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is believed: HMAC and replay protection by the extension, and a list of allowed senders."""

from __future__ import annotations

import hmac
import ipaddress
import os
from dataclasses import replace

from . import messages
from .messages import Extension, Malformed

OVERHEAD = 64  # octets that seal() adds to a message at most: time 11, nonce 10, mac 34, and an extension around them
SHORTEST_KEY = 16
WINDOW = 30  # s that a sender's clock may be off
_REMEMBERED = 2 * WINDOW  # from a message that is WINDOW early until it is WINDOW late
_MOST = 1 << 17  # messages remembered, some 20 MB
_UNSIGNED = bytes(32)
_MAC_HEAD = b"\x62\x20"  # field 12 of the extension, 32 octets
_OWN = 5  # octets of a nonce that tell its process; the others count


class Refused(ValueError):
    """A message that is not believed. `reason` is a word for counters."""

    def __init__(self, reason, text):
        self.reason = reason
        super().__init__(text)


def read_key(content):
    """The key in a file of it: all but blanks at its end."""
    key = content.rstrip()
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"a key of {len(key)} octets is short of {SHORTEST_KEY}; make one with: openssl rand -hex 32")
    return key


class Authenticator:
    """Seals what is sent with a key and opens what was sealed with the same one."""

    def __init__(self, key, random=os.urandom):
        self._key = hmac.new(key, digestmod="sha256")
        self._own = random(_OWN)
        self._sent = 0
        self._seen = {}  # nonce -> when it is forgotten, in that order

    def seal(self, message, wall):
        """The octets of a message of version 3 with time, nonce and mac. They may go to several receivers."""
        if message.version in (1, 2):
            raise ValueError(f"version {message.version} has no place for a mac")
        self._sent += 1
        count = self._sent % (1 << 8 * (8 - _OWN))
        extension = replace(
            message.extension or Extension(),
            time=int(wall * 1000),
            nonce=self._own + count.to_bytes(8 - _OWN, "big"),
            mac=_UNSIGNED,
        )
        data = messages.encode(replace(message, extension=extension))
        return data[: -len(_UNSIGNED)] + self._mac(data)

    def open(self, data, now, wall):
        """The message in octets that were sealed with our key, not long ago, and not seen before. Raises Refused or Malformed.

        Nothing is parsed before the mac is found right. It ends the message, so whoever cuts the extension off or puts
        anything behind it has no mac left.
        """
        mac = data[-len(_UNSIGNED) :]
        if len(mac) < len(_UNSIGNED) or data[-len(_UNSIGNED) - 2 : -len(_UNSIGNED)] != _MAC_HEAD:
            raise Refused("unsigned", "has no mac")
        if not hmac.compare_digest(mac, self._mac(data)):
            raise Refused("forged", "has a mac of another key, or was changed")
        message = messages.decode(data)
        extension = message.extension
        if extension is None or extension.mac is None or extension.time is None or extension.nonce is None:
            raise Malformed("a mac without time and nonce")
        late = wall - extension.time / 1000
        if abs(late) > WINDOW:
            raise Refused("stale", f"was sent {late:.0f} s ago by our clock, which may be off by {WINDOW} s at most")
        self._remember(extension.nonce, now)
        return message

    def _mac(self, data):
        """Over all octets but the last 32, which count as zero."""
        mac = self._key.copy()
        mac.update(memoryview(data)[: -len(_UNSIGNED)])
        mac.update(_UNSIGNED)
        return mac.digest()

    def _remember(self, nonce, now):
        if nonce.startswith(self._own):
            raise Refused("replayed", "is our own, sent back to us")
        while self._seen:
            first = next(iter(self._seen))
            if self._seen[first] > now:
                break
            del self._seen[first]
        if nonce in self._seen:
            raise Refused("replayed", "was received before")
        if len(self._seen) >= _MOST:
            raise Refused("busy", f"is one of more than {_MOST} in {_REMEMBERED} s, too many to know them again")
        self._seen[nonce] = now + _REMEMBERED


class AllowList:
    """Prefixes that senders must be in; an empty list lets everybody in. Costs a look-up for each prefix length in it."""

    def __init__(self, prefixes):
        self._networks = {4: {}, 16: {}}  # octets of an address -> bits behind the prefix -> prefixes
        for prefix in prefixes:
            network = ipaddress.ip_network(str(prefix))
            behind = network.max_prefixlen - network.prefixlen
            found = self._networks[network.max_prefixlen // 8].setdefault(behind, set())
            found.add(int(network.network_address) >> behind)
        self._all = not any(self._networks.values())

    def __contains__(self, address):
        """Whether the packed address may send."""
        if self._all:
            return True
        number = int.from_bytes(address, "big")
        networks = self._networks.get(len(address), {})
        return any(number >> behind in found for behind, found in networks.items())

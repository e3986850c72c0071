# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of etcd 3.4 and newer, by its JSON gateway: keys and values are base64 there, and numbers are text.

What it answers is read as from a stranger: whatever is not as it has to be raises EtcdError, and nothing else does.
"""

from __future__ import annotations

import asyncio
import binascii
import collections
import contextlib
import json
import re
from base64 import b64decode, b64encode

from .._service.log import escaped
from . import http

PAGE = 1000  # keys of a range that are asked for at once
MOST_KEYS = 1 << 20  # of a range; about 1 GB of endpoints
MOST_OPERATIONS = 100  # of a transaction; etcd takes 128
MOST_OCTETS = 512 << 10  # of a transaction; etcd takes 1.5 MiB
MOST_ANSWER = 8 << 20  # a page that is longer is asked for again in smaller parts; one key has at most 2 MiB
MOST_LINE = 64 << 20  # of a watch: what changed at once, and while nobody was watching
MOST_TOKEN = 4096

INVALID, NOT_FOUND, DENIED, PRECONDITION, OUT_OF_RANGE, UNAVAILABLE, UNAUTHENTICATED = 3, 5, 7, 9, 11, 14, 16  # of gRPC
# A member that has lost the others says so at once, and ends watches.
_HEADERS = {"Grpc-Metadata-Hasleader": "true"}
_NUMBER = re.compile(r"-?[0-9]{1,20}")

Row = collections.namedtuple("Row", "key value created revision lease")  # revision: of its last change
Event = collections.namedtuple("Event", "gone row")


class EtcdError(Exception):
    """What etcd, or the way to it, refuses. code: gRPC's number, None without an answer that can be used."""

    def __init__(self, words, code=None):
        self.code = code
        super().__init__(words)


class Compacted(EtcdError):
    """Etcd has forgotten what was at that revision."""


class Header(collections.namedtuple("Header", "cluster revision")):
    """Which etcd has answered, and how far it is."""


class Etcd:
    """One member of an etcd. Its `url` is in all that is raised."""

    def __init__(self, url, tls=None, username=None, password=None):
        self.url = url.rstrip("/")
        self._client = http.Client(self.url, tls)
        self._username, self._password = username, password
        self._token = self._authenticating = None
        self.authentications = 0
        self.unauthenticated = False  # a user is given, and etcd knows no users

    def close(self):
        self._client.close()

    # -- What is there

    async def pages(self, start, end, limit=PAGE):
        """(Header, [Row]) of keys from `start` to before `end`, page by page, all as they were at the first one's revision."""
        revision = count = 0
        while True:
            request = {"key": _text(start), "range_end": _text(end), "limit": limit}
            if revision:
                request["revision"] = revision
            try:
                answer = await self.call("kv/range", request, most=MOST_ANSWER)
            except _TooLong:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)
                continue
            header = _header(answer)
            revision = revision or header.revision
            rows = [_row(one) for one in _listed(answer, "kvs")]
            count += len(rows)
            if count > MOST_KEYS:
                raise EtcdError(f"{self.url}: it has more than {MOST_KEYS} keys of endpoints")
            yield Header(header.cluster, revision), rows
            if not answer.get("more") or not rows:
                return
            if rows[-1].key < start:
                raise EtcdError(f"{self.url}: keys come in no order")
            start = rows[-1].key + b"\0"

    async def get(self, key, revision=0):
        """(Header, Row or None) of one key, as it was at a revision."""
        request = {"key": _text(key)}
        if revision:
            request["revision"] = revision
        answer = await self.call("kv/range", request, most=MOST_ANSWER)
        rows = _listed(answer, "kvs")
        return _header(answer), _row(rows[0]) if rows else None

    async def revision(self, key=b"\0", timeout=http.TIMEOUT):
        """The Header of now, as most of the members have it: one that is cut off from them does not answer."""
        return _header(await self.call("kv/range", {"key": _text(key), "count_only": True}, timeout=timeout))

    @contextlib.asynccontextmanager
    async def watch(self, start, end, revision):
        """As context manager: what tells (Header, [Event]) of all changes of keys from a revision on."""
        request = {
            "key": _text(start), "range_end": _text(end), "start_revision": revision,
            "progress_notify": True, "fragment": True,
        }  # fmt: skip
        stream = await self._open("watch", {"create_request": request})
        try:
            yield self._changes(stream)
        finally:
            stream.close()

    async def _changes(self, stream):
        try:
            async for line in stream.lines(MOST_LINE):
                answer = _object(_result(_json(line, self.url), self.url), "result")
                if answer.get("canceled"):
                    raise self._canceled(answer)
                yield _header(answer), [_event(one) for one in _listed(answer, "events")], bool(answer.get("fragment"))
        except http.HttpError as error:
            raise EtcdError(str(error)) from None
        raise EtcdError(f"{self.url}: the watch has ended")

    def _canceled(self, answer):
        words = _words(answer.get("cancel_reason")) or "without a reason"
        compacted = _integer(answer, "compact_revision")
        if compacted:
            return Compacted(f"{self.url}: changes up to revision {compacted} are forgotten", OUT_OF_RANGE)
        if "auth token" in words:
            self._token = None
        return EtcdError(f"{self.url}: the watch is ended: {words}")

    # -- Changing it

    async def transaction(self, operations, compares=(), otherwise=()):
        """(whether the compares held, Header, [[Row]] of each `newest` that was asked for)."""
        request = {"compare": list(compares), "success": list(operations), "failure": list(otherwise)}
        answer = await self.call("kv/txn", request)
        found = []
        for one in _listed(answer, "responses"):
            if isinstance(one, dict) and "response_range" in one:
                rows = _listed(_object(one["response_range"], "response_range"), "kvs")
                found.append([_row(row) for row in rows])
        return bool(answer.get("succeeded")), _header(answer), found

    async def grant(self, seconds):
        """A new lease's number."""
        number = _integer(await self.call("lease/grant", {"TTL": seconds}), "ID")
        if not number:
            raise EtcdError(f"{self.url}: it grants a lease without a number")
        return number

    async def keep_alive(self, lease):
        """The seconds that it lasts from now on; 0 if it is gone."""
        return _integer(await self.call("lease/keepalive", {"ID": lease}), "TTL")

    async def revoke(self, lease, timeout=http.TIMEOUT):
        """End a lease, and with it its keys."""
        try:
            await self.call("lease/revoke", {"ID": lease}, timeout=timeout)
        except EtcdError as error:
            if error.code != NOT_FOUND:
                raise

    # -- Asking

    async def call(self, path, request, timeout=http.TIMEOUT, most=MOST_ANSWER):
        """The answer to a request, as an object. With a token that is no longer known it is sent again with a new one."""
        body = json.dumps(request).encode()
        for attempt in range(2):
            token = await self._tokened()
            response = await self._sent(path, body, token, timeout, most)
            try:
                return _read(response, self.url)
            except EtcdError as error:
                if attempt or not self._denied(error, token):
                    raise
        raise AssertionError

    async def _open(self, path, request):
        body = json.dumps(request).encode()
        try:
            stream = await self._client.stream("POST", f"/v3/{path}", body, self._headers(await self._tokened()))
            try:
                if stream.status != 200:
                    response = http.Response(stream.status, stream.headers, await stream.read(MOST_ANSWER))
                    _read(response, self.url)
                    raise EtcdError(f"{self.url}: it answers {stream.status} to a watch")
            except BaseException:
                stream.close()
                raise
            return stream
        except http.HttpError as error:
            raise EtcdError(str(error)) from None

    async def _sent(self, path, body, token, timeout, most):
        try:
            return await self._client.request("POST", f"/v3/{path}", body, self._headers(token), timeout, most)
        except http.TooLong as error:
            raise _TooLong(str(error)) from None
        except http.HttpError as error:
            raise EtcdError(str(error)) from None

    def _headers(self, token):
        return {**_HEADERS, "Authorization": token} if token else _HEADERS

    def _denied(self, error, token):
        """Whether a new token may help: etcd forgets them when it restarts, and after five minutes."""
        if not self._username or not (error.code == UNAUTHENTICATED or "user name is empty" in str(error)):
            return False
        if self._token == token:
            self._token, self.unauthenticated = None, False
        return True

    async def _tokened(self):
        if not self._username or self.unauthenticated:
            return None
        # Made here: in Python 3.9 a lock belongs to the loop that is there when it is made.
        self._authenticating = self._authenticating or asyncio.Lock()
        async with self._authenticating:
            if self._token is None:
                self._token = await self._authenticate()
        return self._token

    async def _authenticate(self):
        self.authentications += 1
        body = json.dumps({"name": self._username, "password": self._password or ""}).encode()
        try:
            answer = _read(await self._sent("auth/authenticate", body, None, http.TIMEOUT, MOST_ANSWER), self.url)
        except EtcdError as error:
            if error.code in (INVALID, PRECONDITION) and "not enabled" in str(error):
                self.unauthenticated = True
                return None
            raise
        token = answer.get("token")
        if not isinstance(token, str) or not re.fullmatch(rf"[!-~]{{1,{MOST_TOKEN}}}", token):
            raise EtcdError(f"{self.url}: it gives no token")
        return token


class _TooLong(EtcdError):
    """The answer is longer than it may be."""


# --- requests ------------------------------------------------------------------------------------------------------


def prefix_end(prefix):
    """The key behind all that start with a prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def put(key, value, lease):
    return {"request_put": {"key": _text(key), "value": _text(value), "lease": lease}}


def delete(key):
    return {"request_delete_range": {"key": _text(key)}}


def newest(prefix):
    """The keys that begin with a prefix and were changed last, without their values."""
    between = {"key": _text(prefix), "range_end": _text(prefix_end(prefix))}
    return {"request_range": {**between, "limit": 32, "keys_only": True, "sort_order": "DESCEND", "sort_target": "MOD"}}


def older(key, revision):
    """Compare: the key was last changed before a revision, or is not there."""
    return {"key": _text(key), "target": "MOD", "result": "LESS", "mod_revision": revision}


def all_older(prefix, revision):
    """Compare: so were all keys that begin with a prefix."""
    return {**older(prefix, revision), "range_end": _text(prefix_end(prefix))}


def unchanged(key, revision):
    """Compare: the key was last changed at a revision; 0: it is not there."""
    return {"key": _text(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def _text(octets):
    return b64encode(octets).decode()


# --- answers -------------------------------------------------------------------------------------------------------


def _read(response, url):
    """The object of an answer; of a stream's first line."""
    try:
        found = _json(response.body, url)
    except EtcdError:
        if response.status == 200:
            raise
        found = {}
    if response.status == 200:
        return _result(found, url)
    if "message" in found or "error" in found:
        raise _refused(found["error"] if isinstance(found.get("error"), dict) else found, url)
    hint = "; is this etcd's address, and enable-grpc-gateway on?" if response.status == 404 else ""
    raise EtcdError(f"{url}: it answers {response.status}{hint}")


def _result(found, url):
    """What is in an answer, or in a line of a stream."""
    if isinstance(found.get("error"), dict):
        raise _refused(found["error"], url)
    if found.get("error"):
        raise _refused(found, url)
    return _object(found.get("result", found), "result")


def _refused(found, url):
    code = found.get("code", found.get("grpc_code"))
    words = _words(found.get("message")) or _words(found.get("error")) or "it refuses without a reason"
    code = code if isinstance(code, int) else None
    kind = Compacted if code == OUT_OF_RANGE and "compacted" in words else EtcdError
    return kind(f"{url}: {words}", code)


def _words(value):
    """A text of its, which is shown at terminals and told to others that want UTF-8."""
    return escaped(value[:200]) if isinstance(value, str) else ""


def _json(data, url):
    try:
        return _object(json.loads(data, parse_int=_short), "answer")
    except (RecursionError, ValueError):
        raise EtcdError(f"{url}: its answer is not JSON: {data[:60]!r}") from None


def _short(text):
    """A number of JSON; int takes minutes for one of a million digits."""
    if len(text) > 20:
        raise ValueError(text[:20])
    return int(text)


def _object(found, what):
    if not isinstance(found, dict):
        raise EtcdError(f"etcd's answer is not understood: {what} is no object")
    return found


def _listed(found, name):
    rows = found.get(name)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise EtcdError(f"etcd's answer is not understood: {name} is no list")
    return rows


def _integer(found, name):
    """A number, which is text; 0 where it is left out."""
    value = found.get(name, 0)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise EtcdError(f"etcd's answer is not understood: {name} is no number")


def _octets(found, name):
    value = found.get(name) or ""
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise EtcdError(f"etcd's answer is not understood: {name} is no base64") from None


def _header(answer):
    header = _object(answer.get("header"), "header")
    return Header(_integer(header, "cluster_id"), _integer(header, "revision"))


def _row(found):
    found = _object(found, "kv")
    return Row(
        _octets(found, "key"),
        _octets(found, "value"),
        _integer(found, "create_revision"),
        _integer(found, "mod_revision"),
        _integer(found, "lease"),
    )


def _event(found):
    found = _object(found, "event")
    kind = found.get("type") or "PUT"
    if kind not in ("PUT", "DELETE"):
        raise EtcdError("etcd's answer is not understood: type is no event's")
    return Event(kind == "DELETE", _row(found.get("kv")))

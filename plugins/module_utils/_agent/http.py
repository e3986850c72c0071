# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of HTTP/1.1 servers for asyncio, with TLS. Everything has a time-out and a bound, and fails as HttpError.

No redirects, proxies or compression: a registry needs none of them.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import os
import re
import socket
import ssl
from urllib.parse import urlsplit

CONNECT = 3.0  # seconds for a connection and its TLS handshake
TIMEOUT = 5.0  # seconds for a whole request
MOST = 32 << 20  # octets of a body
IDLE = 4  # connections that wait for their next request
_HEAD = 64 << 10  # octets of status line and headers, of a chunk's line, of trailers
_PIECE = 64 << 10
_INTERIM = 5  # answers 1xx before the answer
# A connection whose other end has vanished is noticed in 8 s, though nothing is ever sent on it.
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 4),
    (socket.TCP_KEEPINTVL, 2),
    (socket.TCP_KEEPCNT, 2),
    (socket.TCP_USER_TIMEOUT, 8000),
)

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")

Response = collections.namedtuple("Response", "status headers body")  # headers: {name in lower case: text}


class HttpError(Exception):
    """A request that got no answer, or one that cannot be used."""


class TooLong(HttpError):
    """The answer is longer than the caller wants to have it."""


_PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python has since 3.10; OpenSSL's x509_vfy.h


def context(ca_file=None, cert_file=None, key_file=None):
    """TLS as clients have it: the server has to prove its name or address by a CA of `ca_file`, or of the host's. OSError."""
    made = ssl.create_default_context(cafile=ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # The same on every Debian: Python 3.13 takes a CA that is not the root, and refuses certificates that lack extensions which
    # other programs do not ask for.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_file:
        made.verify_flags |= _PARTIAL_CHAIN
    if cert_file:
        made.load_cert_chain(cert_file, key_file)
    return made


def basic(username, password):
    """The value of a header Authorization."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


async def within(seconds, work):
    """What `work` gives, or asyncio.TimeoutError. asyncio.wait_for may swallow a cancellation, before Python 3.12."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Client:
    """Requests to the server of one URL. A request goes over a connection that an earlier one has left open, or a new one.

    A request may be sent twice: the server may have closed what was open in the very moment.
    """

    def __init__(self, url, tls=None):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url[:80]!r} is not a URL that begins with http:// or https://")
        self.url = url
        self.path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or context()) if parts.scheme == "https" else None
        self._name = parts.netloc.rpartition("@")[2]
        self._idle = []

    async def request(self, method, path, body=b"", headers=None, timeout=TIMEOUT, most=MOST):
        """The Response, of which `most` octets of body are read."""
        return await self._in_time(self._request(method, path, body, headers, most), timeout)

    async def stream(self, method, path, body=b"", headers=None, timeout=TIMEOUT):
        """A Stream, once its headers are here."""
        return await self._in_time(self._stream(method, path, body, headers), timeout)

    def close(self):
        while self._idle:
            self._idle.pop().abort()

    async def _in_time(self, work, timeout):
        try:
            return await within(timeout, work)
        except asyncio.TimeoutError:
            raise HttpError(f"{self.url}: no answer within {timeout:g} s") from None

    async def _request(self, method, path, body, headers, most):
        while True:
            one = self._waiting()
            used = one is not None
            try:
                one = one or await self._connect()
                status, found = await one.ask(self._head(method, path, body, headers), body)
                parts = bytearray()
                async for part in one.body(method, status, found):
                    parts += part
                    if len(parts) > most:
                        raise TooLong(f"{self.url}: the answer is longer than {most} octets")
                if one.reusable and len(self._idle) < IDLE:
                    self._idle.append(one)
                    one = None
                return Response(status, found, bytes(parts))
            except HttpError:
                raise
            except (OSError, EOFError, ValueError) as error:
                if used and one.silent:
                    continue
                raise self._error(error) from None
            finally:
                if one:
                    one.abort()

    async def _stream(self, method, path, body, headers):
        one = None
        try:
            one = await self._connect()
            status, found = await one.ask(self._head(method, path, body, headers), body)
            return Stream(self, one, method, status, found)
        except (OSError, EOFError, ValueError) as error:
            if one:
                one.abort()
            raise self._error(error) from None
        except BaseException:
            if one:
                one.abort()
            raise

    def _head(self, method, path, body, headers):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._name}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        elif method not in ("GET", "HEAD"):
            lines.append("Content-Length: 0")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header has a line end in it")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _waiting(self):
        while self._idle:
            one = self._idle.pop()
            if one.open():
                return one
            one.abort()
        return None

    async def _connect(self):
        options = {"ssl": self._tls, "server_hostname": self._host} if self._tls else {}
        try:
            both = await within(CONNECT, asyncio.open_connection(self._host, self._port, limit=_HEAD, **options))
        except asyncio.TimeoutError:
            raise HttpError(f"{self.url}: no connection within {CONNECT:g} s") from None
        return _Connection(*both)

    def _error(self, error):
        """In words: asyncio's own, of several addresses, are long."""
        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"the server's certificate is refused: {error.verify_message}; is ca_file its CA's?"
        elif isinstance(error, ssl.SSLError):
            words = f"TLS: {error.reason or error}"
        elif isinstance(error, socket.gaierror):
            words = f"the name is not known: {error.strerror}"
        elif isinstance(error, OSError):
            words = os.strerror(error.errno) if error.errno else str(error) or "the server has ended the connection"
        elif isinstance(error, EOFError):
            words = "the server has ended the connection"
        else:
            words = str(error)
        return HttpError(f"{self.url}: {words[:200]}")


class Stream:
    """An answer whose body has no end. It is closed by whoever has it."""

    def __init__(self, client, connection, method, status, headers):
        self.status, self.headers = status, headers
        self._client, self._connection = client, connection
        self._pieces = connection.body(method, status, headers)

    async def lines(self, most=MOST):
        """Each line, for as long as there are any; HttpError when the connection breaks. There is no time-out."""
        kept = bytearray()
        try:
            async for piece in self._pieces:
                kept += piece
                if b"\n" in piece:
                    *whole, rest = bytes(kept).split(b"\n")
                    kept = bytearray(rest)
                    for line in whole:
                        yield line
                if len(kept) > most:
                    raise TooLong(f"{self._client.url}: a line is longer than {most} octets")
        except (OSError, EOFError, ValueError) as error:
            raise self._client._error(error) from None
        if kept:
            yield bytes(kept)

    async def read(self, most=MOST, timeout=TIMEOUT):
        """The whole body, when it has an end after all."""
        return await self._client._in_time(self._whole(most), timeout)

    async def _whole(self, most):
        found = bytearray()
        try:
            async for piece in self._pieces:
                found += piece
                if len(found) > most:
                    raise TooLong(f"{self._client.url}: the answer is longer than {most} octets")
        except (OSError, EOFError, ValueError) as error:
            raise self._client._error(error) from None
        return bytes(found)

    def close(self):
        self._connection.abort()


class _Connection:
    """Raises OSError, EOFError (asyncio.IncompleteReadError) and ValueError."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self.silent = True  # nothing has come since the last request
        self.reusable = False
        one = writer.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            one.setsockopt(socket.IPPROTO_TCP, option, value)

    def open(self):
        return not self._reader.at_eof() and not self._writer.is_closing()

    def abort(self):
        self._writer.transport.abort()

    async def ask(self, head, body):
        """(status, headers) of the answer."""
        self.silent, self.reusable = True, False
        self._writer.write(head + body if len(body) < _PIECE else head)
        for at in range(0, len(body) if len(body) >= _PIECE else 0, _PIECE):
            self._writer.write(body[at : at + _PIECE])
            await self._writer.drain()
        await self._writer.drain()
        for _dummy in range(_INTERIM):
            text = await self._until(b"\r\n\r\n")
            self.silent = False
            first, *lines = text[:-4].split(b"\r\n")
            status = _STATUS.fullmatch(first)
            if not status:
                raise ValueError(f"the answer is not HTTP: {first[:60]!r}")
            if not status[1].startswith(b"1"):
                return int(status[1]), _headers(lines)
        raise ValueError("too many interim answers")

    async def body(self, method, status, headers):
        """The body's pieces."""
        chunked = _chunked(headers)
        length = None if chunked else _length(headers)
        if method == "HEAD" or status in (204, 304):
            chunked, length = False, 0
        if chunked:
            async for piece in self._chunks():
                yield piece
        elif length is None:
            while True:
                piece = await self._reader.read(_PIECE)
                if not piece:
                    return
                yield piece
        else:
            async for piece in self._exactly(length):
                yield piece
        self.reusable = headers.get("connection", "").lower() != "close"

    async def _chunks(self):
        while True:
            size = _SIZE.fullmatch(await self._until(b"\r\n"))
            if not size:
                raise ValueError("the answer has a broken chunk")
            left = int(size[1], 16)
            if not left:
                break
            async for piece in self._exactly(left):
                yield piece
            if await self._reader.readexactly(2) != b"\r\n":
                raise ValueError("the answer has a broken chunk")
        read = 0
        while True:
            trailer = await self._until(b"\r\n")
            read += len(trailer)
            if trailer == b"\r\n":
                return
            if read > _HEAD:
                raise ValueError("the answer's trailers are too long")

    async def _exactly(self, left):
        while left:
            piece = await self._reader.read(min(left, _PIECE))
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece

    async def _until(self, end):
        try:
            return await self._reader.readuntil(end)
        except asyncio.LimitOverrunError:
            raise ValueError(f"the answer's headers are longer than {_HEAD} octets") from None


def _headers(lines):
    found = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if not match:
            raise ValueError(f"the answer has a broken header: {line[:60]!r}")
        name, value = match[1].decode().lower(), match[2].decode("latin-1")
        if name in found and name in ("content-length", "transfer-encoding") and found[name] != value:
            raise ValueError(f"the answer has two headers {name}")
        found[name] = value
    return found


def _chunked(headers):
    coding = headers.get("transfer-encoding", "identity").lower()
    if coding not in ("identity", "chunked"):
        raise ValueError(f"the answer's transfer-encoding is not known: {coding[:60]!r}")
    if coding == "chunked" and "content-length" in headers:
        raise ValueError("the answer has a length and chunks")
    return coding == "chunked"


def _length(headers):
    text = headers.get("content-length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(f"the answer's content-length is not a number: {text[:60]!r}")
    return int(text)

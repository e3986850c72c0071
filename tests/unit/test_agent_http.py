# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client: whatever a server sends is an answer or an HttpError, in bounded time and memory."""

import asyncio
import contextlib
import random
import ssl

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import http

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers each connection's requests with the next of some octets; None ends the connection."""

    def __init__(self, *answers, then_close=True):
        self.answers, self.then_close = list(answers), then_close
        self.requests, self.connections = [], 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(OSError, EOFError):
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                self.requests.append((head, body))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self.then_close:
                    break
        writer.close()


def ask(answer, **arguments):
    """The Response to one request, when the server sends these octets and ends the connection."""

    async def work():
        async with Server(answer) as server:
            client = http.Client(server.url)
            try:
                return await client.request("GET", "/x", timeout=2, **arguments)
            finally:
                client.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (GOOD, b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (CHUNKED + b"5\r\nhello\r\n1;x=y\r\n \r\n0\r\nTrailer: x\r\n\r\n", b"hello "),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, b"hello"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", b""),
        (b"HTTP/1.1 204\r\n\r\n", b""),
    ],
)
def test_answers_in_all_forms(answer, body):
    assert ask(answer).body == body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "ended the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "two headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", "a length and chunks"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "ended the connection"),
        (b"HTTP/1.1 200 OK\r\nNo header\r\n\r\n", "broken header"),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "broken header"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000 + b"\r\n\r\n", "headers are longer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "interim"),
        (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", "broken chunk"),
        (CHUNKED + b"5\r\nhelloXX0\r\n\r\n", "broken chunk"),
        (CHUNKED + b"fffffffffffffff\r\nhello", "ended the connection"),
        (CHUNKED + b"0" * 70000, "longer than"),
        (CHUNKED + b"0\r\n" + b"T: x\r\n" * 20000 + b"\r\n", "trailers"),
    ],
)
def test_answers_that_are_none(answer, words):
    with pytest.raises(http.HttpError, match=words) as caught:
        ask(answer)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", CHUNKED + b"186a0\r\n"]
)
def test_a_body_is_read_up_to_a_bound(head):
    with pytest.raises(http.TooLong):
        ask(head + b"x" * 100000 + b"\r\n0\r\n\r\n" * head.startswith(CHUNKED), most=99999)
    assert len(ask(head + b"x" * 100000 + b"\r\n0\r\n\r\n" * head.startswith(CHUNKED), most=100000).body) == 100000


def test_a_server_that_says_nothing():
    async def work():
        held = []
        server = await asyncio.start_server(lambda *both: held.append(both), "127.0.0.1", 0)
        client = http.Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(http.HttpError, match="no answer within 0.1 s"):
            await client.request("GET", "/", timeout=0.1)
        with pytest.raises(http.HttpError, match="no answer within 0.1 s"):
            await client.stream("POST", "/", b"{}", timeout=0.1)
        assert await asyncio.wait_for(held[0][0].read(), 2), "the connection is closed"
        for _reader, writer in held:
            writer.close()
        server.close()

    asyncio.run(work())


def test_connections_are_used_again():
    async def work():
        async with Server(*[GOOD] * 3, then_close=False) as server:
            client = http.Client(server.url)
            for _dummy in range(3):
                assert (await client.request("POST", "/", b"{}")).body == b"hello"
            assert server.connections == 1
            client.close()
        # One that the server has closed meanwhile; and one that it closes when it sees the request.
        async with Server(GOOD, GOOD, None, GOOD, then_close=False) as server:
            client = http.Client(server.url)
            await client.request("POST", "/", b"{}")
            await client.request("POST", "/", b"{}")
            assert (await client.request("POST", "/", b"{}")).body == b"hello"
            assert server.connections == 2
            client.close()
        # A connection that is new is not tried again.
        async with Server(None, GOOD) as server:
            client = http.Client(server.url)
            with pytest.raises(http.HttpError):
                await client.request("POST", "/", b"{}")
        close = GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
        async with Server(close, close, then_close=False) as server:
            client = http.Client(server.url)
            await client.request("GET", "/")
            await client.request("GET", "/")
            assert server.connections == 2

    asyncio.run(work())


def test_a_stream_of_lines():
    async def work():
        parts = [b'{"a":', b"1}\n{", b'"b":2}\n\n', b"the rest"]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        async with Server(
            CHUNKED + body + b"0\r\n\r\n", CHUNKED + body, CHUNKED + b"ffff\r\n" + b"x" * 65535
        ) as server:
            client = http.Client(server.url)
            stream = await client.stream("POST", "/", b"{}")
            assert [line async for line in stream.lines()] == [b'{"a":1}', b'{"b":2}', b"", b"the rest"]
            stream.close()
            stream = await client.stream("POST", "/", b"{}")
            found = []
            with pytest.raises(http.HttpError, match="ended the connection"):
                async for line in stream.lines():
                    found.append(line)
            assert len(found) == 3
            stream.close()
            stream = await client.stream("POST", "/", b"{}")
            with pytest.raises(http.TooLong):
                async for _line in stream.lines(most=1000):
                    pass
            stream.close()

    asyncio.run(work())


def test_a_stream_that_is_read_whole():
    async def work():
        lines = b"".join(b"64\r\n" + b"x" * 99 + b"\n\r\n" for _dummy in range(100))
        async with Server(CHUNKED + lines + b"0\r\n\r\n", CHUNKED + lines, CHUNKED + lines) as server:
            client = http.Client(server.url)
            stream = await client.stream("POST", "/", b"{}")
            assert await stream.read() == (b"x" * 99 + b"\n") * 100
            stream.close()
            stream = await client.stream("POST", "/", b"{}")
            with pytest.raises(http.TooLong):
                await stream.read(most=9000)
            stream.close()
            stream = await client.stream("POST", "/", b"{}")
            with pytest.raises(http.HttpError, match="ended the connection"):
                await stream.read()
            stream.close()

    asyncio.run(work())


def test_a_stream_of_lines_that_has_no_end_is_not_read_for_ever():
    async def serve(reader, writer):
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 500 x\r\n\r\n")
            while True:
                writer.write(b"line\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    async def work():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = http.Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        stream = await client.stream("POST", "/")
        with pytest.raises(http.HttpError, match="no answer within 0.3 s"):
            await asyncio.wait_for(stream.read(timeout=0.3), 5)
        stream.close()
        server.close()
        await asyncio.sleep(0.1)

    asyncio.run(work())


def test_headers_cannot_be_forged():
    async def work():
        client = http.Client("http://127.0.0.1:9")
        with pytest.raises((http.HttpError, ValueError)):
            await client.request("GET", "/\r\nX: y")
        async with Server(GOOD) as server:
            client = http.Client(server.url)
            with pytest.raises(http.HttpError, match="line end"):
                await client.request("GET", "/", headers={"Authorization": "a\r\nX: y"})
            assert not server.requests

    asyncio.run(work())


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x", "http:///x"])
def test_urls_that_are_none(url):
    with pytest.raises(ValueError, match="is not a URL"):
        http.Client(url)


def test_tls_wants_proof():
    made = http.context()
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_damaged_answers():
    """Each is an answer or an HttpError."""
    chance = random.Random(1)
    whole = (
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\nDate: x\r\n\r\n")
        + b"5\r\nhello\r\n0\r\n\r\n"
    )

    async def work():
        answers = []
        for number in range(1500):
            octets = bytearray(GOOD if number % 3 else whole)
            for _dummy in range(chance.randint(1, 4)):
                at = chance.randrange(len(octets))
                octets[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            answers.append(bytes(octets[: chance.choice([len(octets), chance.randrange(len(octets))])]))
        outcomes = set()
        async with Server(*answers) as server:
            client = http.Client(server.url)
            for _dummy in range(len(answers)):
                try:
                    outcomes.add(type(await client.request("GET", "/", timeout=5, most=100)))
                except http.HttpError as error:
                    outcomes.add(type(error))
            client.close()
        assert outcomes >= {http.Response, http.HttpError}

    asyncio.run(work())


def test_a_cancellation_is_not_swallowed():
    """What ends in the same moment must not take it for itself."""

    async def work():
        for _dummy in range(3):
            ready = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(http.within(5, _wait(ready)))
            await asyncio.sleep(0.01)
            ready.set_result(1)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def _wait(ready):
        return await ready

    asyncio.run(work())

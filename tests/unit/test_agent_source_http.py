# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry at a URL, against a real server of HTTP: tags, redirects, TLS, passwords, and answers that are none."""

import asyncio
import base64
import hashlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
import source_support
from ansible_collections.vtep.fabric.plugins.module_utils._agent import source_http
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source_http import HttpSource


def document(*numbers, bad=0):
    found = [
        {"vni": 100, "mac": f"50:54:33:00:00:{number:02x}", "vtep": "2001:db8:1::1", "addresses": []}
        for number in numbers
    ]
    return json.dumps({"version": 1, "endpoints": found + [{"vni": 0}] * bad}).encode()


class Server:
    """Serves what `body` is. `headers` go on top, `status` instead of 200."""

    def __init__(self, tls=None):
        outer = self
        self.body, self.tags, self.status, self.headers, self.password = document(), True, 200, {}, None
        self.asked = []  # (path, If-None-Match, status)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request):
        body, tag = self.body, '"%s"' % hashlib.sha256(self.body).hexdigest()
        known = request.headers.get("If-None-Match")
        status = self.status
        if self.password and request.headers.get("Authorization") != self.password:
            status, body = 401, b""
        elif self.tags and known == tag and status == 200:
            status, body = 304, b""
        self.asked.append((request.path, known, status))
        request.send_response(status)
        if self.tags:
            request.send_header("ETag", tag)
        if status != 304:
            request.send_header("Content-Length", str(len(body)))
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


class Running(source_support.Running):
    def __init__(self, url, **more):
        none = dict.fromkeys(("username", "password", "ca_file", "cert_file", "key_file"))
        super().__init__(HttpSource, SimpleNamespace(urls=(url,), **{**none, "interval": 0.05, **more}))

    async def fails(self, words):
        await self.until(lambda: not self.source.ok and words in self.source.why)


def url(server, path="/endpoints.json", scheme="http"):
    return f"{scheme}://127.0.0.1:{server.port}{path}"


def test_only_what_has_changed_is_sent(server):
    async def test():
        server.body = document(1, 2)
        async with Running(url(server, "/a/b?c=d")) as one:
            await one.has(1, 2)
            await one.until(lambda: one.source.counters["unchanged"] >= 3)
            assert one.source.ok and one.sink.snapshots == [[1, 2]]
            assert server.asked[0] == ("/a/b?c=d", None, 200)
            assert {status for _path, _tag, status in server.asked[1:]} == {304}
            heard = one.source.heard
            await one.until(lambda: one.source.heard > heard)
            server.body = document(2, 3)
            await one.has(2, 3)
            assert one.sink.states == 1

    asyncio.run(test())


@pytest.mark.parametrize("tag", [None, "no tag", '"' + "x" * 2000 + '"'])
def test_a_server_without_tags(server, tag):
    async def test():
        server.tags, server.body = False, document(1)
        server.headers = {"ETag": tag} if tag else {}
        async with Running(url(server)) as one:
            await one.has(1)
            await one.until(lambda: one.source.counters["unchanged"] >= 3)
            assert one.sink.snapshots == [[1]]
            assert {known for _path, known, _status in server.asked} == {None}
            server.body = document(2)
            await one.has(2)

    asyncio.run(test())


@pytest.mark.parametrize(
    "status, headers, words",
    [
        (301, {"Location": "http://192.0.2.1/\x7f"}, "a redirect to 'http://192.0.2.1/"),
        (302, {}, "a redirect to"),
        (304, {}, "answers 304"),
        (404, {}, "there is no document at this URL"),
        (403, {}, "refuses access"),
        (500, {}, "answers 500"),
        (206, {}, "answers 206"),
    ],
)
def test_answers_that_are_no_document(server, status, headers, words):
    async def test():
        server.tags, server.body = False, document(1)
        async with Running(url(server)) as one:
            await one.has(1)
            server.status, server.headers = status, headers
            await one.fails(words)
            assert one.sink.snapshots == [[1]] and "\x7f" not in one.source.why
            assert len(server.asked) < 100
            server.status, server.headers, server.body = 200, {}, document(2)
            await one.has(2)
            assert one.source.ok and one.sink.states == 3

    asyncio.run(test())


def test_a_broken_document_is_asked_for_again(server):
    """A server says of the document that it served last that it is unchanged, though we could not use it."""

    async def test():
        server.body = document(1)
        async with Running(url(server)) as one:
            await one.has(1)
            server.body = b'{"version": 1'
            await one.fails("is not a whole JSON object")
            broken = '"%s"' % hashlib.sha256(server.body).hexdigest()
            count = len(server.asked)
            await one.until(lambda: len(server.asked) > count + 1)
            assert broken not in {known for _path, known, _status in server.asked}
            assert not one.source.ok and one.sink.snapshots == [[1]]
            server.body = document(1)
            await one.until(lambda: one.source.ok)

    asyncio.run(test())


def test_a_document_that_is_too_long(server, monkeypatch):
    monkeypatch.setattr(source_http, "MOST", 1000)

    async def test():
        server.body = document(1) + b" " * 1000
        async with Running(url(server)) as one:
            await one.fails("longer than 1000 octets")
            server.body = document(1)
            await one.has(1)

    asyncio.run(test())


def test_rows_that_are_refused(server):
    async def test():
        server.body = document(1, bad=300)
        async with Running(url(server)) as one:
            await one.has(1)
            assert one.source.ok and len(one.sink.faults) == 101
            assert "row 2: vni: 0 is not a VNI" in one.sink.faults[0]

    asyncio.run(test())


def test_a_server_that_goes_and_comes():
    async def test():
        first = Server()
        first.body = document(1)
        async with Running(url(first)) as one:
            await one.has(1)
            first.close()
            # The handler's thread may live on with its connection.
            first.status = 500
            await one.until(lambda: not one.source.ok)
            await one.fails("Connection refused")
            assert one.sink.snapshots == [[1]]

    asyncio.run(test())


def test_a_password(server):
    async def test():
        server.password = "Basic " + base64.b64encode("vtep:gehöim".encode()).decode()
        server.body = document(1)
        async with Running(url(server), username="vtep", password="x") as one:
            await one.fails("username or password_file")
            assert not any("x" in text.split() for text in one.told)
        async with Running(url(server), username="vtep", password="gehöim") as one:
            await one.has(1)

    asyncio.run(test())


def test_an_interval_with_jitter(server, monkeypatch):
    pauses = []
    true = asyncio.sleep

    async def sleep(seconds):
        pauses.append(seconds)
        await true(0)

    async def test():
        async with Running(url(server), interval=1000) as one:
            monkeypatch.setattr(source_http.asyncio, "sleep", sleep)
            end = time.monotonic() + source_support.WAIT
            while len([pause for pause in pauses if pause > 1]) < 20:
                assert time.monotonic() < end
                await true(0.01)
            monkeypatch.undo()
        found = [pause for pause in pauses if pause > 1]
        assert all(800 <= pause <= 1200 for pause in found) and len(set(found)) > 10, one

    asyncio.run(test())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """For 127.0.0.1: two self-signed ones, one that the second of them has signed, and one that this one has signed."""
    home = tmp_path_factory.mktemp("certificates")
    for name, by in (("ours", None), ("theirs", None), ("middle", "theirs"), ("last", "middle")):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-keyout", home / f"{name}.key", "-out", home / f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"]
            + ["-addext", "subjectAltName=IP:127.0.0.1"]
            + (["-CA", home / f"{by}.pem", "-CAkey", home / f"{by}.key"] if by else []),
            check=True,
            capture_output=True,
        )
    return home


def test_tls(certificates):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "ours.pem", certificates / "ours.key")
    server = Server(tls)
    server.body = document(1)

    async def test():
        async with Running(url(server, scheme="https"), ca_file=str(certificates / "theirs.pem")) as one:
            await one.fails("certificate is refused")
        assert not server.asked
        async with Running(url(server, scheme="https"), ca_file=str(certificates / "none.pem")) as one:
            await one.fails("No such file")
        async with Running(url(server, scheme="https"), ca_file=str(certificates / "ours.pem")) as one:
            await one.has(1)

    try:
        asyncio.run(test())
    finally:
        server.close()


def test_a_ca_that_is_not_the_root_is_believed(certificates):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "last.pem", certificates / "last.key")
    server = Server(tls)
    server.body = document(1)

    async def test():
        async with Running(url(server, scheme="https"), ca_file=str(certificates / "middle.pem")) as one:
            await one.has(1)

    try:
        asyncio.run(test())
    finally:
        server.close()


def test_a_fault_of_our_own_does_not_end_it(server, monkeypatch):
    async def test():
        server.body = document(1)
        async with Running(url(server)) as one:
            monkeypatch.setattr(one.source, "_take", lambda answer: 1 / 0)
            await one.fails("a fault of the agent")
            monkeypatch.undo()
            await one.has(1)

    asyncio.run(test())

# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is a document of claims.py at a URL: it is asked for again and again, and sent only when it has changed."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re

from . import claims, http
from .source import JITTER, Backoff, Source

TIMEOUT = 30.0  # seconds for a whole document
MOST = 64 << 20  # octets: more than 400 000 endpoints
_TAG = re.compile(r'(?:W/)?"[!#-~]{0,512}"')  # RFC 9110, section 8.8.3
_WORDS = {
    401: "the server wants another username or password_file",
    403: "the server refuses access",
    404: "there is no document at this URL",
}


class HttpSource(Source):
    """The document at the one URL of `settings.urls`."""

    name = "http"

    def __init__(self, settings, sink, log):
        super().__init__(settings, sink, log)
        self.counters.update({"requests": 0, "unchanged": 0})
        self._url = settings.urls[0]
        self._client = None
        self._tag = None  # of the document that was taken last
        self._digest = None  # of the same one, for servers without tags

    async def run(self):
        backoff = Backoff()
        while True:
            try:
                await self._ask()
            except asyncio.CancelledError:
                raise
            except http.HttpError as error:
                self.lost(str(error))
            except (OSError, ValueError) as error:
                self.lost(f"{self._url}: {getattr(error, 'strerror', None) or error}")
            except Exception as error:  # nobody foresaw it; the next answer may be another one
                self.log.error("fault: registry %s: %s", self._url, error, exc_info=error)
                self.lost(f"{self._url}: a fault of the agent, told in its log")
            if self.ok:
                backoff.reset()
                pause = self.settings.interval * (1 + JITTER * (2 * random.random() - 1))  # noqa: S311 (no secret)
            else:
                await self.close()  # certificates may be others by then
                pause = backoff.next()
            await asyncio.sleep(pause)

    async def close(self):
        if self._client:
            self._client.close()
            self._client = None

    async def _ask(self):
        client = self._client = self._client or self._made()
        headers = {"Accept": "application/json"}
        if self.settings.username:
            headers["Authorization"] = http.basic(self.settings.username, self.settings.password or "")
        if self._tag:
            headers["If-None-Match"] = self._tag
        self.counters["requests"] += 1
        answer = await client.request("GET", client.path, headers=headers, timeout=TIMEOUT, most=MOST)
        self.reached()
        if answer.status == 304 and self._tag:
            self.counters["unchanged"] += 1
        elif answer.status == 200:
            await self._take(answer)
        else:
            raise http.HttpError(f"{self._url}: {_words(answer)}")
        self.good()

    def _made(self):
        tls = None
        if self._url.startswith("https:"):
            tls = http.context(self.settings.ca_file, self.settings.cert_file, self.settings.key_file)
        return http.Client(self._url, tls)

    async def _take(self, answer):
        # In a thread, so that misses are answered meanwhile.
        known = self._digest
        digest, found, faults = await asyncio.get_running_loop().run_in_executor(None, _read, answer.body, known)
        if digest == known:
            self.counters["unchanged"] += 1
        else:
            for text in faults:
                self.sink.fault((self.name, text), f"{self._url}: {text}")
            self.counters["entries refused"] += len(faults)
            self._digest = digest
            self.counters["snapshots"] += 1
            self.sink.snapshot(found)
        # Only now: of a document that was refused, the server must not say that it is unchanged.
        tag = answer.headers.get("etag", "")
        self._tag = tag if _TAG.fullmatch(tag) else None


def _read(data, known):
    digest = hashlib.sha256(data).digest()
    return (digest, None, ()) if digest == known else (digest, *claims.document(data))


def _words(answer):
    if 300 <= answer.status < 400 and answer.status != 304:
        place = claims.shown(answer.headers.get("location", ""))
        return (
            f"it answers {answer.status}, a redirect to {place}, which is not followed; write the URL of the document"
        )
    words = _WORDS.get(answer.status)
    return f"it answers {answer.status}" + (f": {words}" if words else "")

# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is a file of this host: a document of claims.py, as JSON or, by its name, YAML.

It is read again when its directory tells of a change, and looked at every few seconds besides. What cannot be read, or is not
understood, leaves things as they were. Whoever writes the file does best to rename a new one over it; a file that is
written in place is read when its writer has closed it or has been quiet for a moment.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import math
import os
import re
import stat
import time
from pathlib import Path

from .._model.errors import FabricError
from .._service import inotify
from . import claims
from .source import Source

LOOK = 5.0  # seconds between two looks without word of a change
QUIET = 0.5  # seconds without a change, after which a file is whole though nobody has said so
PATIENCE = 2.0  # seconds in which a file that is gone, or not understood, may be on its way to something better
AGAIN = 0.25  # seconds between two looks meanwhile
LARGEST_YAML = 32 << 20  # octets; YAML takes some hundred times its size to read
LONGEST_WORD = 100  # characters of a value that may be there twice as one object
_YAML = (".yml", ".yaml")
_TAG, _KINDS = "tag:yaml.org,2002:", ("null", "str", "seq", "map")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,19})\Z")
# After these the file is whole, or gone. With the others somebody may be writing still.
AT_ONCE = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO | inotify.IN_MOVED_FROM | inotify.IN_DELETE | inotify.GONE


class FileSource(Source):
    """The file `settings.file`. Of two claims, the one in the later row is newer."""

    name = "file"

    def __init__(self, settings, sink, log):
        super().__init__(settings, sink, log)
        self.counters.update({"looks": 0, "failures": 0})
        self._path = Path(settings.file)
        self._inotify = None
        self._watches = {}  # number of the watch: directory
        self._names, self._direct = {b""}, True  # what concerns the file in them; whether no link is on the way
        self._blind = None  # why changes are not told
        self._due = 0.0
        self._first = math.inf  # when it was told first, since the last look
        self._inside = True  # read the file at the next look, even if it seems the same from outside
        self._seen = None  # what it was from outside when it was read last
        self._digest = None  # of what was taken last
        self._doubt = None  # when trouble began that is not told yet
        self._wake = None

    async def run(self):
        self._wake = asyncio.Event()
        while True:
            try:
                await self._wait()
                await self._look()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # nobody foresaw it, and the file may be another one soon
                self.log.error("fault: registry %s: %s", self._path, error, exc_info=error)
                self.lost(f"{self._path}: a fault of the agent, told in its log")
                self._due = time.monotonic() + LOOK

    async def close(self):
        if self._inotify:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    async def _wait(self):
        """Until it is time; word of a change makes that earlier or later."""
        while True:
            left = self._due - time.monotonic()
            if left <= 0:
                return
            self._wake.clear()
            timer = asyncio.get_running_loop().call_later(left, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _again(self, when):
        """Read the file at some time."""
        self._due, self._inside = when, True
        self._wake.set()

    # --- word of changes

    def _watch(self):
        """Listen to the directory of the file, and to that of the file which a link leads to."""
        try:
            if not self._inotify:
                self._inotify = inotify.Inotify()
                asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._told)
            real = Path(os.path.realpath(self._path))
            directories = {str(self._path.parent), str(real.parent)}
            self._names = {os.fsencode(one.name) for one in (self._path, real)} | {b""}
            self._direct = real == self._path
            # Each time anew: another directory may be in the place.
            watches = {self._inotify.watch(one): one for one in sorted(directories)}
            for old in set(self._watches) - set(watches):
                self._inotify.forget(old)
            self._watches, blind = watches, None
        except FabricError as error:
            self._watches, blind = {}, str(error)
        if blind and blind != self._blind:
            self.log.warning("registry %s: changes are seen within %g s only: %s", self._path, LOOK, blind)
        self._blind = blind

    def _told(self):
        now = time.monotonic()
        for event in self._inotify.read():
            if event.watch not in self._watches and event.watch >= 0:
                continue  # it has ended meanwhile
            if event.name in self._names:
                self._first = min(self._first, now)
                self._again(now if event.mask & AT_ONCE else min(now + QUIET, self._first + LOOK))
            elif not self._direct:  # it may be a link on the way
                self._due = min(self._due, now)
                self._wake.set()

    # --- the file

    async def _look(self):
        self.counters["looks"] += 1
        inside, self._inside, self._first = self._inside, False, math.inf
        now = time.monotonic()
        self._due = now + LOOK
        self._watch()
        outside = _status(self._path)
        if outside == self._seen and not inside:
            if self.ok:
                self.reached()
            return
        if outside and not inside:
            # Changed without word of it: whoever writes may not be at the end.
            self._again(now + QUIET)
            return
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, _read, self._path, self._digest)
        except _Changing:
            self._again(time.monotonic() + AGAIN)
        except (OSError, ValueError) as error:
            self.counters["failures"] += 1
            self._seen = outside
            self._trouble(f"{self._path}: {error.strerror if isinstance(error, OSError) else error}", now)
        else:
            self._take(found)

    def _take(self, found):
        self._doubt, self._seen = None, found.outside
        if found.digest != self._digest:
            for text in found.faults:
                self.sink.fault((self.name, text), f"{self._path}: {text}")
            self.counters["entries refused"] += len(found.faults)
            self._digest = found.digest
            self.counters["snapshots"] += 1
            self.sink.snapshot(found.claims)
        self.good()

    def _trouble(self, why, now):
        """Something is wrong. It is told when it stays: a writer may be on the way to something better."""
        if self._doubt is None:
            self._doubt = now
        if now - self._doubt >= PATIENCE:
            self.lost(why)
        elif self._due > now + AGAIN:
            self._again(now + AGAIN)


_Found = collections.namedtuple("_Found", "outside digest claims faults")


class _Changing(Exception):
    """The file was written while it was read."""


def _status(path):
    """What a file is from outside, None where there is none."""
    try:
        return _outside(path.stat())
    except OSError:
        return None


def _outside(status):
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path, known):
    """What is in the file, for a thread; without the claims when its digest is the known one. Raises OSError, ValueError."""
    most = LARGEST_YAML if path.suffix in _YAML else claims.LARGEST
    # A pipe in its place must not stop us.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(file, "rb", buffering=0) as opened:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise ValueError("is no file; write the document into one")
        if before.st_size > most:
            raise ValueError(f"has {before.st_size} octets; {most} are the most, make it smaller")
        data = opened.read(before.st_size + 1)
        after = _outside(os.fstat(file))
    if _outside(before) != after or len(data) != before.st_size:
        raise _Changing
    digest = hashlib.sha256(data).digest()
    if digest == known:
        return _Found(after, digest, None, ())
    found, faults = claims.document(from_yaml(data) if path.suffix in _YAML else data)
    return _Found(after, digest, found, faults)


# --- YAML


def from_yaml(data):
    """A document in YAML as the same one in JSON. Raises ValueError."""
    try:
        import yaml  # few need it, and hosts need not have it
    except ImportError:
        raise ValueError("python3-yaml is not installed: apt-get install python3-yaml") from None
    try:
        return json.dumps(_plain(yaml.load(data, Loader=_loader(yaml)), set())).encode()  # noqa: S506 (a safe one)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        words = claims.shown(getattr(error, "problem", None) or str(error))
        raise ValueError(f"is no document in YAML{where}: {words}") from None


def _loader(yaml):
    """The safe loader, for which 50:54:33:00:00:01 is no number of base 60, and 010 none of base 8.

    It knows the kinds of JSON alone, also where a tag names another one: those of some raise whatever comes, and a merge would make
    aliases of which nothing is left to be seen.
    """
    safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(safe):
        yaml_implicit_resolvers = {}
        yaml_constructors = {tag: safe.yaml_constructors[tag] for tag in (None, *(_TAG + kind for kind in _KINDS))}

        def flatten_mapping(self, node):
            """Merge nothing."""

    def number(loader, node):
        text = loader.construct_scalar(node)
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text} is no number of digits")
        return int(text)

    Loader.add_constructor(_TAG + "int", number)
    Loader.add_implicit_resolver(_TAG + "int", _NUMBER, list("0123456789"))
    Loader.add_implicit_resolver(_TAG + "null", re.compile(r"(~|null|)\Z"), ["~", "n", ""])
    return Loader


def _plain(value, met):
    """A value as JSON has it. An alias is refused: with some of them a small file could be a boundless document."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_WORD:
        return value
    if id(value) in met:
        raise ValueError("it has an alias; write each value out")
    met.add(id(value))
    if isinstance(value, dict):
        return {str(key)[:LONGEST_WORD]: _plain(one, met) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, met) for one in value]
    return str(value)

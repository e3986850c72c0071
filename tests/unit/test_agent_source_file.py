# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that is a file: as it changes, in all the ways in which files are written, and as it breaks."""

import asyncio
import builtins
import json
import os
import shutil
import time
from types import SimpleNamespace

import pytest
import source_support
from ansible_collections.vtep.fabric.plugins.module_utils._agent import claims, source_file
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source_file import FileSource, from_yaml
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError
from ansible_collections.vtep.fabric.plugins.module_utils._service import inotify


def rows(*numbers):
    return [
        {"vni": 100, "mac": f"50:54:33:00:00:{number:02x}", "vtep": "2001:db8:1::1", "addresses": [f"192.0.2.{number}"]}
        for number in numbers
    ]


def document(*numbers):
    return json.dumps({"version": 1, "endpoints": rows(*numbers)})


class Running(source_support.Running):
    def __init__(self, path):
        super().__init__(FileSource, SimpleNamespace(file=str(path)))

    async def looked(self, times=1):
        before = self.source.counters["looks"]
        await self.until(lambda: self.source.counters["looks"] >= before + times)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "registry").mkdir()
    return tmp_path / "registry" / "endpoints.json"


@pytest.fixture
def quick(monkeypatch):
    """Looks without word of changes come soon."""
    monkeypatch.setattr(source_file, "LOOK", 0.1)
    monkeypatch.setattr(source_file, "QUIET", 0.05)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(source_file, "PATIENCE", 0.1)
    monkeypatch.setattr(source_file, "AGAIN", 0.03)


@pytest.fixture
def never(monkeypatch):
    """Only word of changes counts."""
    monkeypatch.setattr(source_file, "LOOK", 3600)


def rename(path, text):
    new = path.with_name("new.tmp")
    new.write_text(text)
    new.replace(path)


def rewrite(path, text):
    path.write_text(text)


def anew(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)


def linked(path, text):
    """By a link to a file elsewhere, which is then another one."""
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(elsewhere / "real.json")
    rename(elsewhere / "real.json", text)


def swapped(path, text):
    """By a link to a directory that is another one each time, as Kubernetes does."""
    home = path.parent / f"..{time.monotonic_ns()}"
    home.mkdir()
    (home / path.name).write_text(text)
    (path.parent / "..new").symlink_to(home.name)
    (path.parent / "..new").replace(path.parent / "..data")
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("write", [rename, rewrite, anew, linked, swapped])
def test_every_way_to_write_it(path, never, write):
    async def test():
        write(path, document(1, 2))
        async with Running(path) as one:
            await one.has(1, 2)
            assert one.source.ok and one.source.heard and one.sink.states == 1
            write(path, document(1, 2, 3))
            await one.has(1, 2, 3)
            write(path, document(3))
            await one.has(3)
            write(path, document())
            await one.has()
            assert len(one.sink.snapshots) == 4 and not one.sink.faults
            assert one.sink.states == 1, "a writer's moments are nobody's business"

    asyncio.run(test())


def test_without_word_of_changes(path, quick, monkeypatch):
    def refuse(_self):
        raise KernelError("inotify", 24)

    monkeypatch.setattr(inotify.Inotify, "__init__", refuse)

    async def test():
        path.write_text(document(1))
        async with Running(path) as one:
            await one.has(1)
            rename(path, document(2))
            await one.has(2)
            heard = one.source.heard
            await one.looked(3)
            assert one.source.heard > heard, "a look at what is the same is contact too"
            assert len(one.sink.snapshots) == 2 and len(one.told) == 2 and "changes are seen within" in one.told[0]

    asyncio.run(test())


def test_the_same_text_is_no_news(path, never):
    async def test():
        path.write_text(document(1))
        async with Running(path) as one:
            await one.has(1)
            looks = one.source.counters["looks"]
            rename(path, document(1))
            await one.until(lambda: one.source.counters["looks"] > looks)
            rename(path, document(2))
            await one.has(2)
            assert one.sink.snapshots == [[1], [2]]

    asyncio.run(test())


def test_one_that_is_written_bit_by_bit(path, never):
    """A writer that does not rename: what is there meanwhile is never taken, though as YAML it would be a document."""

    async def test():
        path = path_yml
        path.write_text(yml(1, 2, 3))
        async with Running(path) as one:
            await one.has(1, 2, 3)
            with open(path, "w") as file:
                for line in yml(1, 2, 4).splitlines(True):
                    file.write(line)
                    file.flush()
                    await asyncio.sleep(0.05)
            await one.has(1, 2, 4)
            assert len(one.sink.snapshots) == 2

    path_yml = path.with_suffix(".yml")
    pytest.importorskip("yaml")
    asyncio.run(test())


def test_one_that_stays_open_is_read_when_it_is_quiet(path, never):
    async def test():
        path.write_text(document(1))
        async with Running(path) as one:
            await one.has(1)
            with open(path, "r+") as file:
                file.write(document(2))
                file.flush()
                await one.has(2)

    asyncio.run(test())


@pytest.mark.parametrize(
    "break_it, words",
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_text('{"version": 1, "endpoints": ['), "not a whole JSON object"),
        (lambda path: path.write_text(""), "not a whole JSON object"),
        (lambda path: path.write_text('{"version": 2, "endpoints": []}'), "version: 2 is not known"),
        (lambda path: path.write_bytes(b"\xff\xfe\0\1"), "UTF-8"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is no file"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "symbolic links"),
        (lambda path: os.truncate(path, claims.LARGEST + 1), "make it smaller"),
        (lambda path: shutil.rmtree(path.parent), "No such file or directory"),
    ],
)
def test_one_that_breaks_leaves_what_is_known(path, quick, impatient, break_it, words):
    async def test():
        path.write_text(document(1, 2))
        async with Running(path) as one:
            await one.has(1, 2)
            break_it(path)
            await one.until(lambda: not one.source.ok)
            assert words in one.source.why and str(path) in one.source.why
            await one.looked(3)
            assert one.sink.snapshots == [[1, 2]] and one.sink.states == 2
            assert len([text for text in one.told if "what is known is kept" in text]) == 1
            if path.is_dir():
                path.rmdir()
            path.parent.mkdir(exist_ok=True)
            rename(path, document(1, 2))
            await one.until(lambda: one.source.ok)
            assert one.sink.snapshots == [[1, 2]] and one.source.why == ""
            rename(path, document(3))
            await one.has(3)

    asyncio.run(test())


def test_one_that_is_not_there_yet(path, quick, impatient):
    async def test():
        path.parent.rmdir()
        async with Running(path) as one:
            await one.until(lambda: "No such file" in one.source.why)
            assert one.sink.last is None and one.source.heard is None
            path.parent.mkdir()
            path.write_text(document(1))
            await one.has(1)

    asyncio.run(test())


def test_rows_that_are_refused(path, never):
    async def test():
        bad = [{"vni": 100, "mac": "x\n", "vtep": "2001:db8:1::1"} for _dummy in range(300)]
        path.write_text(json.dumps({"version": 1, "endpoints": bad + rows(1)}))
        async with Running(path) as one:
            await one.has(1)
            assert one.source.ok
            assert len(one.sink.faults) == 101 and one.sink.faults[-1].endswith("and 200 more")
            assert one.sink.faults[0].startswith(f"{path}: row 1: mac: ") and "\n" not in one.sink.faults[0]

    asyncio.run(test())


def test_a_fault_of_our_own_does_not_end_it(path, quick, monkeypatch):
    async def test():
        path.write_text(document(1))
        async with Running(path) as one:
            monkeypatch.setattr(one.source, "_take", lambda found: 1 / 0)
            await one.until(lambda: "a fault of the agent" in one.source.why)
            monkeypatch.undo()
            rename(path, document(2))
            await one.has(2)

    asyncio.run(test())


# --- YAML

YAML = """\
version: 1
endpoints:  # of the lab
  - {vni: 100, mac: 50:54:33:00:00:01, vtep: 2001:db8:1::1, addresses: [192.0.2.10, "2001:db8:ff::10"]}
  - vni: 100
    mac: 10:10:10:10:10:10
    vtep: "192.0.2.1"
    addresses:
"""


def yml(*numbers):
    lines = [f"- {json.dumps(row)}" for row in rows(*numbers)]
    return "\n".join(["version: 1", "endpoints:", *lines, ""])


def test_yaml(path):
    pytest.importorskip("yaml")
    found, faults = claims.document(from_yaml(YAML.encode()))
    assert not faults
    assert [one.mac.hex(":") for one in found] == ["50:54:33:00:00:01", "10:10:10:10:10:10"]
    assert [len(one.addresses) for one in found] == [2, 0]
    assert from_yaml(document(1, 2).encode()) == document(1, 2).encode()


@pytest.mark.parametrize(
    "text, words",
    [
        ("version: 1\nendpoints: [", "in line 3"),
        ("a: \t- b", "is no document in YAML"),
        ("version: 1\nendpoints: [&a {vni: 1}, *a]", "alias"),
        ("&a [*a]", "alias"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: \x00", "is no document in YAML"),
        ("[" * 100_000, "is no document in YAML"),
        ("a: 1\n---\nb: 2\n", "is no document in YAML"),
        (f"a: &a {'x' * 200}\nb: *a", "alias"),
        ("a: !!timestamp x", "could not determine a constructor"),
        ("a: !!float x", "could not determine a constructor"),
        ("a: !!bool x", "could not determine a constructor"),
        ("a: !!binary x", "could not determine a constructor"),
        ("a: !!omap [{b: c}]", "could not determine a constructor"),
        ("a: !!merge x", "could not determine a constructor"),
        ("a: &a {b: 1}\nc: {!!merge <<: *a}", "could not determine a constructor"),
        ('a: !!int ""', "is no number"),
        ("a: !!int _", "is no number"),
        (f"a: !!int {'9' * 5000}", "is no number"),
        ("a: !!int [1]", "expected a scalar"),
        ("a: !!map x", "expected a mapping"),
        ("a: !!seq x", "expected a sequence"),
        ("&a !!str {!!value x: *a}", "is no document in YAML"),
    ],
)
def test_yaml_that_is_no_document(text, words):
    pytest.importorskip("yaml")
    with pytest.raises(ValueError, match=words):
        from_yaml(text.encode())


@pytest.mark.parametrize(
    "text", ["- 1\n", "version: 01\nendpoints: []\n", "version: 1\nendpoints: {}\n", "", "? [a]\n: b\n"]
)
def test_yaml_of_another_kind(text):
    pytest.importorskip("yaml")
    with pytest.raises(ValueError):
        claims.document(from_yaml(text.encode()))


def test_by_the_name_it_is_yaml(path, never):
    pytest.importorskip("yaml")

    async def test():
        named = path.with_suffix(".yaml")
        named.write_text(yml(1, 2))
        async with Running(named) as one:
            await one.has(1, 2)

    asyncio.run(test())


def test_a_host_without_yaml(path, quick, impatient, monkeypatch):
    true = builtins.__import__

    def without(name, *more):
        if name == "yaml":
            raise ImportError
        return true(name, *more)

    async def test():
        named = path.with_suffix(".yml")
        named.write_text(yml(1))
        async with Running(named) as one:
            await one.until(lambda: "python3-yaml is not installed: apt-get install python3-yaml" in one.source.why)

    monkeypatch.setattr(builtins, "__import__", without)
    asyncio.run(test())


# --- inotify


def test_events(tmp_path):
    made = inotify.Inotify()
    try:
        watch = made.watch(tmp_path)
        assert made.watch(tmp_path) == watch and made.read() == []
        (tmp_path / "a").write_text("x")
        found = made.read()
        assert {one.name for one in found} == {b"a"} and {one.watch for one in found} == {watch}
        assert any(one.mask & inotify.IN_CLOSE_WRITE for one in found)
        (tmp_path / "a").rename(tmp_path / "b")
        assert [(one.mask, one.name) for one in made.read()] == [
            (inotify.IN_MOVED_FROM, b"a"),
            (inotify.IN_MOVED_TO, b"b"),
        ]
        made.forget(watch)
        assert [one.mask for one in made.read()] == [inotify.IN_IGNORED]
        with pytest.raises(KernelError, match="watch .*none: No such file"):
            made.watch(tmp_path / "none")
        with pytest.raises(KernelError, match="Not a directory"):
            made.watch(tmp_path / "b")
    finally:
        made.close()
        made.close()


def test_events_that_are_cut_short():
    whole = inotify.EVENT.pack(1, 2, 0, 4) + b"a\0\0\0"
    assert list(inotify.events(whole + whole[:7])) == [(1, 2, b"a")]

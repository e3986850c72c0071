# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of daemons: its three destinations, lines that cannot be forged, and alarms that do not flood it."""

import gzip
import logging
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._service import log
from hypothesis import given
from hypothesis import strategies as st

NAME = "vtep-test"


@pytest.fixture(autouse=True)
def closed():
    yield
    logger = logging.getLogger(NAME)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def syslog(tmp_path, monkeypatch):
    path = str(tmp_path / "log")
    monkeypatch.setattr(log, "DEVICE", path)

    def listen():
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.bind(path)
        one.settimeout(2)
        return one

    return listen


def test_to_syslog(syslog):
    with syslog() as device:
        logger = log.start(NAME, "syslog", "INFO")
        logger.warning("a %s", "b\n<0>c")
        assert device.recv(9999).startswith(b"<28>vtep-test[")
        logger.debug("not told")
        logger.info("x")
        assert device.recv(9999).endswith(b"]: INFO: x")


def test_syslog_lines_are_escaped(syslog):
    with syslog() as device:
        log.start(NAME, "syslog", "INFO").error("a\n<0>forged\x1b[2J")
        assert device.recv(9999).endswith(rb": ERROR: a\x0a<0>forged\x1b[2J")


def test_syslog_that_comes_back(syslog, tmp_path, capsys):
    with syslog():
        logger = log.start(NAME, "syslog", "INFO")
    (tmp_path / "log").unlink()
    logger.info("lost")
    assert "INFO: lost" in capsys.readouterr().err
    with syslog() as device:
        logger.info("again")
        assert device.recv(9999).endswith(b"again")


def test_a_syslog_daemon_that_hangs_is_not_waited_for(syslog):
    with syslog():
        logger = log.start(NAME, "syslog", "INFO")
        for _dummy in range(2000):  # more than any queue of datagrams holds
            logger.info("x" * 1000)


def test_without_syslog_it_goes_to_standard_error_with_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(log, "DEVICE", str(tmp_path / "none"))
    log.start(NAME, "syslog", "INFO").info("x")
    told = capsys.readouterr().err.splitlines()
    assert "WARNING: no log to syslog" in told[0] and "No such file" in told[0]
    assert told[1].endswith("INFO: x")


def test_to_standard_output(capsys, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log.start(NAME, "stdout", "DEBUG").debug("x")
    assert capsys.readouterr().out.endswith("DEBUG: x\n")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    log.start(NAME, "stdout", "DEBUG").error("x")
    assert capsys.readouterr().out == "<3>x\n"


def test_a_traceback_cannot_forge_lines(capsys, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logger = log.start(NAME, "stdout", "INFO")
    try:
        raise ValueError("bad\n2026-01-01 00:00:00 vtep-test[1] INFO: forged\r\x85")
    except ValueError:
        logger.exception("fault")
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("ERROR: fault")
    assert rest and all(line.startswith("  | ") for line in rest)


def test_to_a_file_that_is_rotated_and_compressed(tmp_path):
    path = tmp_path / "x.log"
    logger = log.start(NAME, str(path), "INFO", size=1000, count=2)
    for number in range(100):
        logger.info("message %d", number)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x.log", "x.log.1.gz", "x.log.2.gz"]
    assert path.stat().st_size <= 1000
    older = [gzip.decompress((tmp_path / f"x.log.{n}.gz").read_bytes()).decode() for n in (2, 1)]
    lines = (older[0] + older[1] + path.read_text()).splitlines()
    numbers = [int(line.rsplit(" ", 1)[1]) for line in lines]
    assert numbers == list(range(numbers[0], 100)) and len(numbers) > 30


def test_a_log_file_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="No such file or directory; write logdest as"):
        log.start(NAME, str(tmp_path / "none" / "x.log"), "INFO")


@given(st.text())
def test_escaped_text_is_one_printable_line(text):
    found = log.escaped(text)
    assert found.isprintable() or all(c.isprintable() or ord(c) >= 0xA0 for c in found)
    assert len(found.splitlines()) <= 1 and "\x1b" not in found
    found.encode()


def test_escaped_leaves_plain_words_alone():
    assert log.escaped("192.0.2.1: «grüße» 日本") == "192.0.2.1: «grüße» 日本"


def test_alarms_tell_the_first_at_once_and_sum_up_the_rest():
    told = []
    alarms = log.Alarms(told.append)
    alarms.add("a", "a 1", 0.0)
    alarms.add("b", "b 1", 1.0)
    for number in range(2, 5):
        alarms.add("a", f"a {number}", float(number))
    assert told == ["a 1", "b 1"]
    alarms.tick(59.9)
    assert told == ["a 1", "b 1"]
    alarms.tick(60.0)
    assert told[2:] == ["a 4 (and 2 more times in the last 60 s)"]
    alarms.add("a", "a 5", 61.0)
    alarms.tick(119.0)
    assert len(told) == 3
    alarms.tick(121.0)
    assert told[3:] == ["a 5"]
    alarms.tick(181.0)  # silent for a pause: forgotten
    alarms.add("a", "a 6", 182.0)
    alarms.add("b", "b 2", 182.0)
    assert told[4:] == ["a 6", "b 2"]


def test_alarms_of_ever_new_kinds_take_bounded_memory():
    told = []
    alarms = log.Alarms(told.append, most=10)
    for number in range(1000):
        alarms.add(number, f"n {number}", 0.0)
    assert len(told) == 10
    alarms.tick(60.0)
    assert told[10:] == ["990 further messages of many kinds are left out"]

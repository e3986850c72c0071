# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service is to its host: one instance, a process in the background, what systemd hears, metrics."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError, RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._service import instance, metrics, notify

PACKAGE = "ansible_collections.vtep.fabric.plugins.module_utils._service"
TOP = Path(__file__).parents[2]


def python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(TOP / "collections")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_second_instance_is_refused_and_told_of_the_first(tmp_path):
    path = str(tmp_path / "x.pid")
    first = instance.Instance("vxsnd", path)
    first.write()
    assert Path(path).read_text() == f"{os.getpid()}\n"
    with pytest.raises(
        RefusedError, match=rf"another instance of vxsnd is already running \(pid {os.getpid()}, .*x.pid\)"
    ):
        instance.Instance("vxsnd", path)
    first.close()
    assert not Path(path).exists()
    instance.Instance("vxsnd", path).close()


HOLDS = f"""
import sys, {PACKAGE}.instance as i
one = i.Instance('x', sys.argv[1])
one.write()
print('up', flush=True)
sys.stdin.read()
"""


def test_the_lock_ends_with_a_killed_process(tmp_path):
    path = str(tmp_path / "x.pid")
    child = python(HOLDS, path)
    assert child.stdout.readline() == "up\n"
    with pytest.raises(RefusedError, match=f"pid {child.pid}"):
        instance.Instance("x", path)
    child.kill()
    child.communicate()
    assert Path(path).exists()
    instance.Instance("x", path).close()


def test_pid_files_that_cannot_be(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for name in ("none/x.pid", ".", "link", "fifo"):
        with pytest.raises(InputError, match="write pidfile or take -p"):
            instance.Instance("x", str(tmp_path / name))
    assert not (tmp_path / "target").exists()


BACKGROUND = f"""
import os, sys, time, {PACKAGE}.instance as i
started = i.background()
if sys.argv[2] == 'fails':
    print('a fault', flush=True)
    sys.exit(1)
open(sys.argv[1], 'w').write(f'{{os.getpid()}} {{os.getsid(0)}} {{os.getcwd()}} {{os.stat(sys.argv[1]).st_mode & 0o777:o}}')
started()
print('to nobody', flush=True)
time.sleep(60)
"""


def test_in_the_background(tmp_path):
    before = os.umask(0)
    try:
        child = python(BACKGROUND, str(tmp_path / "told"), "")
    finally:
        os.umask(before)
    output, _none = child.communicate(timeout=20)  # ends only when the background process has let go of the output
    assert (child.returncode, output) == (0, "")
    pid, session, cwd, mode = (tmp_path / "told").read_text().split()
    try:
        assert int(pid) != child.pid and int(session) not in (int(pid), os.getsid(0))
        assert (cwd, mode) == ("/", "640")
    finally:
        os.kill(int(pid), 9)


def test_a_start_in_the_background_that_fails(tmp_path):
    child = python(BACKGROUND, str(tmp_path / "told"), "fails")
    output, _none = child.communicate(timeout=20)
    assert (child.returncode, output) == (1, "a fault\n")


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield one


def test_what_systemd_hears(systemd):
    notify.ready("two\nlines READY=1")
    assert systemd.recv(999) == b"READY=1\nSTATUS=two lines READY=1"
    notify.ready()
    notify.alive()
    notify.stopping()
    notify.status("x")
    assert [systemd.recv(999) for _dummy in range(4)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1", b"STATUS=x"]
    now = time.monotonic() * 1e6
    notify.reloading()
    first, second = systemd.recv(999).decode().split("\n")
    assert first == "RELOADING=1" and now <= int(second.partition("MONOTONIC_USEC=")[2]) + 1 <= now + 1e6


def test_systemd_hears_that_a_service_is_ready_whatever_its_status_is(systemd):
    notify.ready("etcd: \ud800")
    assert systemd.recv(999) == b"READY=1\nSTATUS=etcd: ?"


def test_an_abstract_socket(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        name = f"vtep-test-{os.getpid()}"
        one.bind("\0" + name)
        one.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.alive()
        assert one.recv(99) == b"WATCHDOG=1"


def test_without_systemd(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify.ready()


def test_a_systemd_that_hangs_is_not_waited_for(systemd):
    for _dummy in range(2000):
        notify.status("x" * 500)


@pytest.mark.parametrize(
    "usec, pid, expected",
    [("3000000", None, 3.0), ("3000000", "1", None), (None, None, None), ("x", None, None), ("0", None, None)],
)
def test_watchdog_interval(monkeypatch, usec, pid, expected):
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval() == expected


def test_metrics():
    assert metrics.text(
        {
            "a_total": ("All \\ of\nit.", "counter", [({"peer": 'x"\\\n', "n": 1}, 3), ({}, 2.0)]),
            "b": ("B.", "gauge", [({}, 0.25)]),
        }
    ) == (
        "# HELP a_total All \\\\ of\\nit.\n"
        "# TYPE a_total counter\n"
        'a_total{peer="x\\"\\\\\\n",n="1"} 3\n'
        "a_total 2\n"
        "# HELP b B.\n"
        "# TYPE b gauge\n"
        "b 0.25\n"
    )
    assert metrics.name("Frames in: too short") == "frames_in_too_short"

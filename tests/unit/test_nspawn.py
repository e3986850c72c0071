# SPDX-License-Identifier: GPL-3.0-or-later
"""How a lab host is found and entered, on made-up /proc files."""

import pytest
from ansible_collections.vtep.fabric.plugins.plugin_utils import nspawn


def test_names():
    assert nspawn.machine_name("vtep", "s1") == "vtep-s1"
    assert nspawn.state_directory("vtep-s1-b") == nspawn.STATE / "vtep" / "s1-b"


@pytest.mark.parametrize("prefix", ["vtep", "a", "t1", "a123456789012345"])
def test_prefixes(prefix):
    assert nspawn.PREFIX.fullmatch(prefix)


@pytest.mark.parametrize("prefix", ["", "1a", "a-b", "A", "a.b", "a/b", "a1234567890123456"])
def test_no_prefixes(prefix):
    assert not nspawn.PREFIX.fullmatch(prefix)


def test_init_is_process_1_of_a_namespace_below():
    assert nspawn.is_init("Name:\tsystemd\nNSpid:\t4711\t1\nThreads:\t1\n")
    assert nspawn.is_init("Name:\tsystemd\nNSpid:\t4711\t99\t1\n")
    assert not nspawn.is_init("Name:\tinit\nNSpid:\t1\nThreads:\t1\n")
    assert not nspawn.is_init("Name:\tsh\nNSpid:\t4711\t11\n")


def test_the_unified_tree_is_found_in_either_layout():
    hybrid = (
        "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )  # fmt: skip
    assert nspawn.unified_mount(hybrid) == "/sys/fs/cgroup/unified"
    assert nspawn.unified_mount("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n") == "/sys/fs/cgroup"
    assert nspawn.unified_mount("proc /proc proc rw 0 0\n") is None


def test_a_host_without_state_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(nspawn, "STATE", tmp_path)
    with pytest.raises(nspawn.NotRunning, match="vtep-s1"):
        nspawn.leader("vtep-s1")


def test_a_number_that_another_process_has_now_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(nspawn, "STATE", tmp_path)
    state = tmp_path / "vtep" / "s1"
    state.mkdir(parents=True)
    for content in ("1\n", "", "4194305\n"):  # this machine's init; half a file; more than the kernel's highest PID
        (state / "nspawn.pid").write_text(content)
        with pytest.raises(nspawn.NotRunning):
            nspawn.leader("vtep-s1")


@pytest.fixture
def running(monkeypatch):
    monkeypatch.setattr(nspawn, "leader", lambda machine: 4711)
    monkeypatch.setattr(nspawn, "session_cgroup", lambda pid: "/cg/vtep-enter")


def test_the_command_enters_the_cgroup_first_then_everything_else(running):
    command = nspawn.enter("vtep-s1", ["ls", "a b"], "/bin/nsenter")
    assert command[:4] == ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', "/cg/vtep-enter/cgroup.procs"]
    assert command[4:6] == ["/bin/nsenter", "--target=4711"]
    assert {"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--no-fork"} <= set(command)
    assert command[-2:] == ["ls", "a b"]
    assert "HOME=/root" in command[command.index("--ignore-environment") :]


def test_without_cgroup_v2_the_rest_is_entered(running, monkeypatch):
    monkeypatch.setattr(nspawn, "session_cgroup", lambda pid: None)
    assert nspawn.enter("vtep-s1", ["ls"])[0] == "nsenter"


def test_a_host_that_ends_while_it_is_entered_is_not_running(running, monkeypatch):
    def gone(pid):
        raise FileNotFoundError("/proc/4711/cgroup")

    monkeypatch.setattr(nspawn, "session_cgroup", gone)
    with pytest.raises(nspawn.NotRunning):
        nspawn.enter("vtep-s1", ["ls"])

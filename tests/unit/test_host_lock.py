# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets a host's lock, and how a controller tells its own runs that live from those that do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.action import host_lock as action
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import host_lock as resource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import host_lock as adapter
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.host_lock import Holder, Lock, refusal

ME = {"run": "r1", "controller": "c1", "hostname": "ctl1", "user": "alice", "pid": 11, "start": "100"}
SAME = {**ME, "run": "r2", "pid": 12}  # another run of the same controller
OTHER = {**ME, "run": "r3", "controller": "c2", "hostname": "ctl2"}


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """A host whose /run is elsewhere, and whose time since boot is set by the test."""
    monkeypatch.setattr(adapter, "DIRECTORY", tmp_path / "vtep.fabric")
    now = [1000.0]
    monkeypatch.setattr(adapter, "now", lambda: now[0])
    return now


def ask(holder, state="held", checking=False, break_lock=False, lease=600, stale=None, purpose="p"):
    params = {
        "state": state, "purpose": purpose, "break_lock": break_lock, "lease": lease, "stale": stale, "holder": holder,
    }  # fmt: skip
    one = resource.HostLock()
    try:
        outcome = converge(one, params, checking)
    finally:
        one.close()
    assert not outcome.changed
    return outcome.result


def free():
    return not adapter.DIRECTORY.exists()


def test_taken_renewed_and_released(clock):
    assert ask(ME) == {"held": True, "holder": None, "taken_from": None}
    assert adapter.path().stat().st_mode & 0o777 == 0o600
    assert adapter.DIRECTORY.stat().st_mode & 0o777 == 0o700
    clock[0] += 100
    assert ask(ME, purpose="next play")["held"]
    assert adapter.load() == Lock(Holder(**ME), "next play", 1000.0, 1700.0)
    assert ask(ME, "released") == {"held": False, "holder": None, "taken_from": None}
    assert free()
    assert ask(ME, "released")["holder"] is None


@pytest.mark.parametrize("second", [SAME, OTHER])
def test_another_run_is_refused_and_told_who_has_it(clock, second):
    ask(ME, purpose="site.yml\n variant=multicast")
    found = ask(second)
    assert not found["held"]
    told = found["holder"]
    assert {key: told[key] for key in ME} == ME and told["purpose"] == "site.yml variant=multicast"
    assert ask(second, "released")["holder"] == told, "another's lock is not released"
    assert adapter.load().holder == Holder(**ME)
    message = refusal(told, same_controller=False)
    for words in (
        "site.yml variant=multicast",
        "alice on ctl1 (process 11)",
        told["since"],
        told["until"],
        "-e preflight_break_lock=true",
    ):
        assert words in message
    assert told["until"] not in refusal(told, same_controller=True)


def test_a_lease_counts_for_other_controllers_only(clock):
    ask(ME, lease=300)
    clock[0] += 299
    assert not ask(OTHER)["held"]
    clock[0] += 1
    assert not ask(SAME)["held"], "a run of the same controller is judged by its life"
    found = ask(OTHER)
    assert found["held"] and found["taken_from"]["run"] == "r1"


def test_a_controller_without_start_times_has_a_lease_for_itself_too(clock):
    ask({**ME, "start": ""})
    assert not ask(SAME)["held"]
    clock[0] += 600
    assert ask(SAME)["held"]


def test_a_lock_from_before_a_boot_is_none(clock):
    ask(OTHER)
    clock[0] = 5.0
    assert ask(ME)["held"]


def test_a_dead_run_is_replaced_but_only_the_one_that_is_known_to_be_dead(clock):
    ask(ME)
    assert not ask(SAME, stale="r0")["held"]
    assert ask(SAME, stale="r1")["held"]


def test_a_lock_is_broken_on_demand(clock):
    ask(ME)
    assert ask(OTHER, break_lock=True)["taken_from"]["run"] == "r1"
    assert ask(ME, "released", break_lock=True)["holder"] is None
    assert free()


def test_check_mode_takes_and_releases_nothing(clock):
    assert ask(ME, checking=True) == {"held": False, "holder": None, "taken_from": None}
    assert free()
    ask(ME)
    assert ask(OTHER, checking=True)["holder"]["run"] == "r1"
    ask(ME, "released", checking=True)
    assert ask(OTHER, checking=True, break_lock=True)["holder"] is None
    assert adapter.load().holder.run == "r1"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"holder": {}}', '{"holder": 1, "purpose": ""}'])
def test_what_is_no_lock_holds_nobody_off(clock, text):
    adapter.DIRECTORY.mkdir(mode=0o700)
    adapter.path().write_text(text)
    assert ask(ME)["held"]


@pytest.mark.parametrize("lease", [0, -1, 86401])
def test_a_lease_out_of_range_is_refused(clock, lease):
    with pytest.raises(InputError, match="1 to 86400 seconds"):
        ask(ME, lease=lease)


# The controller's side.

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "collections")}


def test_one_identity_for_all_forks_of_a_process():
    code = """
import multiprocessing
from ansible_collections.vtep.fabric.plugins.action.host_lock import identity
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    print(len({str(pool.apply(identity)) for _ in range(4)} | {str(identity())}), identity()["pid"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as done:
        assert done.communicate()[0].split() == ["1", str(done.pid)]


def test_another_process_is_another_run_of_the_same_controller():
    code = "from ansible_collections.vtep.fabric.plugins.action.host_lock import identity; print(identity())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    other = eval(done.stdout)
    me = action.identity()
    assert other["controller"] == me["controller"] and other["run"] != me["run"]
    assert action.is_dead(other, me)
    assert not action.is_dead({**other, "controller": "c2"}, me)
    assert not action.is_dead({**other, "start": ""}, me)


def test_a_number_that_another_process_got_is_not_the_same_run():
    me = action.identity()
    living = {**me, "pid": os.getpid(), "start": action.started(os.getpid())}
    assert living["start"].isdigit()
    assert not action.is_dead(living, me)
    assert action.is_dead({**living, "start": str(int(living["start"]) - 1)}, me)


def test_a_zombie_does_not_live():
    with subprocess.Popen(["sleep", "0"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert action.started(child.pid) == ""

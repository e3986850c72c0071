# SPDX-License-Identifier: GPL-3.0-or-later
"""Two runs on one host change FRR one after the other: each holds a lock from its first look to its end."""

import fcntl
import os

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import frr
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import MissingError

OPTIONS = ("router_id", "areas", "interfaces", "redistribute", "timers")
WANTED = {"state": "present", **dict.fromkeys(OPTIONS)}


@pytest.fixture
def etc(tmp_path, monkeypatch):
    monkeypatch.setattr(frr, "ETC", tmp_path)
    monkeypatch.setattr(frr, "LIB", tmp_path)  # an FRR without any daemon
    monkeypatch.setattr(frr, "installed", lambda: True)
    return tmp_path


def is_free(directory):
    other = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(other)
    return True


@pytest.mark.parametrize("protocol", [ospf.V2, ospf.V3])
def test_held_from_the_first_look_to_the_end(etc, protocol):
    resource = ospf.Ospf(protocol)
    desired = resource.normalise({**WANTED, "enable_daemon": True, "save": True, "frr_started": False})
    with pytest.raises(MissingError):
        resource.read(desired)
    assert not is_free(etc)
    resource.close()
    assert is_free(etc)

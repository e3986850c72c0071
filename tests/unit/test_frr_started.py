# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode with FRR stopped: the first of ospfv3 and ospfv2 starts all daemons that are switched on, so only it predicts that."""

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import frr
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import ospf as daemon


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A host with FRR's files, on which nothing runs."""
    for name in ("ETC", "LIB", "RUN"):
        monkeypatch.setattr(frr, name, tmp_path)
    monkeypatch.setattr(daemon, "DIRECTORY", tmp_path / "records")
    monkeypatch.setattr(frr, "installed", lambda: True)
    (tmp_path / "ospfd").write_text("")
    (tmp_path / "frr.conf").write_text("router ospf\n ospf router-id 203.0.113.1\nexit\n")
    return tmp_path


def plan(**options):
    resource = ospf.Ospf(ospf.V2)
    checked = ArgumentSpecValidator(ospf.spec(ospf.V2)).validate({"router_id": "203.0.113.1", **options})
    assert not checked.error_messages
    desired = resource.normalise(checked.validated_parameters)
    try:
        return resource.plan(desired, resource.read(desired))
    finally:
        resource.close()


def test_a_daemon_that_is_switched_on_comes_with_the_others(stopped):
    (stopped / "daemons").write_text("zebra=yes\nospfd=yes\n")
    assert plan().start == ["ospfd"]
    assert not plan(frr_started=True)


def test_one_that_is_switched_off_does_not(stopped):
    (stopped / "daemons").write_text("zebra=yes\nospfd=no\n")
    told = plan(frr_started=True)
    assert (told.switch_on, told.start) == (["ospfd"], ["ospfd"])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for OSPF in vain: whose loopback is missing, what this host sees, and what to do, as soon as it can be told."""

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import ospf as module
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import frr, ospf
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import DaemonError, InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.ospf import V2, V3

OWNERS = {"2001:db8:1::1/128": "s1", "2001:db8:2::1/128": "s2", "203.0.113.2/32": "s2", "192.0.2.0/24": None}


@pytest.fixture
def host(monkeypatch):
    """A host with routes to none of them, and a clock that jumps. Each entry can be changed."""
    state = {"neighbors": [], "interfaces": [{"name": "eth0", "state": "DR"}], "routes": []}
    host = {
        "alive": {"ospf6d", "ospfd"},
        "state": {V3: state, V2: dict(state)},
        "slept": 0.0,
        "local": {"2001:db8:1::1/128"},
    }

    def sleep(seconds):
        host["slept"] += seconds

    monkeypatch.setattr(frr, "alive", lambda daemon: daemon in host["alive"])
    monkeypatch.setattr(frr, "installed", lambda: True)
    monkeypatch.setattr(frr, "require", lambda *daemons: None)
    monkeypatch.setattr(ospf, "state", lambda protocol: host["state"][protocol])
    monkeypatch.setattr(ospf, "_local", lambda prefix: prefix in host["local"])
    monkeypatch.setattr(ospf, "_unrouted", list)
    monkeypatch.setattr(ospf.time, "sleep", sleep)
    monkeypatch.setattr(ospf.time, "monotonic", lambda: host["slept"])
    return host


def failure(owners=None, neighbors=0, protocol=V3):
    with pytest.raises(DaemonError) as told:
        ospf.wait(protocol, OWNERS if owners is None else owners, neighbors, 60)
    return str(told.value)


def row(state, interface="eth0"):
    return {"id": "203.0.113.3", "interface": interface, "state": state, "dr": "", "bdr": ""}


def test_the_vtep_and_the_neighbours_are_named(host):
    host["state"][V3] = {**host["state"][V3], "neighbors": [row("Full")]}
    said = failure()
    assert host["slept"] == pytest.approx(60)
    assert said.startswith(
        "after 60 s: no route to 2001:db8:2::1/128, the loopback of s2 and 203.0.113.2/32, the loopback of s2 and 192.0.2.0/24;"
        " the neighbours that ospf6d sees: 203.0.113.3 on eth0 Full; the neighbours that ospfd sees: none; "
    )
    assert "see `journalctl -u frr` on s2" in said


@pytest.mark.parametrize(
    ("neighbors", "interface", "fix"),
    [
        ([row("ExStart")], "DR", "another MTU: compare that of eth0"),
        ([row("Init", "eth7")], "DR", "do not hear this host: look for a filter on eth7"),
        ([], "Down", "eth0 is down: see `ip link` and the cable"),
    ],
)
def test_what_is_most_likely_wrong(host, neighbors, interface, fix):
    host["state"][V3] = {"neighbors": neighbors, "interfaces": [{"name": "eth0", "state": interface}]}
    assert failure({"2001:db8:2::1/128": "s2"}).endswith(fix)


def test_a_daemon_that_ends_ends_the_wait(host):
    host["alive"] = {"ospf6d"}
    assert "203.0.113.2/32, the loopback of s2 and 192.0.2.0/24: ospfd does not run" in failure()
    assert host["slept"] == 0


def test_only_the_daemons_that_find_what_is_waited_for_are_needed(host):
    host["alive"] = {"ospfd"}  # an IPv4 fabric; the role asks ospfv3_info all the same
    assert "the neighbours that ospfd sees" in failure({"203.0.113.2/32": "s2"})
    assert ospf.wait(V3, {"2001:db8:1::1/128": "s1"}, 0, 60) == 0
    assert "ospf6d does not run" in failure({}, neighbors=1)


def asked(**wait_for):
    result = ArgumentSpecValidator(module.INFO_SPEC).validate({"wait_for": wait_for})
    assert not result.error_messages
    return module._wanted(result.validated_parameters["wait_for"])


def test_loopbacks_and_routes_are_waited_for_alike():
    wanted = asked(routes=["192.0.2.0/24"], loopbacks={" 2001:DB8:2::1 ": "s2"})
    assert wanted["owners"] == {"192.0.2.0/24": None, "2001:db8:2::1/128": "s2"}
    with pytest.raises(InputError, match="wait_for: loopbacks: 'x' does not appear to be an IPv4 or IPv6 network"):
        asked(loopbacks={"x": "s2"})

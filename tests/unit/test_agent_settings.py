# SPDX-License-Identifier: GPL-3.0-or-later
"""What role agent writes into the agent's configuration, and what it refuses before a host is touched."""

from ansible_collections.vtep.fabric.plugins.module_utils._agent import config
from ansible_collections.vtep.fabric.plugins.module_utils._service import settings as reading
from ansible_collections.vtep.fabric.plugins.plugin_utils import agent_settings

FILE = {"settings": {"agent": {"learn": "false"}, "registry": {"kind": "file", "file": "/x.json"}}}
ETCD = {"settings": {"agent": {"learn": "true", "groups": "false"},
                     "registry": {"kind": "etcd", "urls": "https://192.0.2.1:2379", "username": "agent"}}}  # fmt: skip
PLACES = {name: agent_settings.CREDENTIALS + f"registry_{name[:-5]}" for name in agent_settings.FILES}


def compose(plan=None, words=None, extra=None, **more):
    return agent_settings.compose(plan or FILE, words or {}, extra or {}, **more)


def test_the_plan_the_words_and_what_is_on_top():
    found = compose(words={"limit": 100, "learn": True, "grace": None}, extra={"agent": {"limit": 200, "sweep": 2.5}})
    assert found["faults"] == [] and found["daemon"] == "vtep-agent"
    assert found["settings"] == {
        "agent": {"learn": "true", "limit": "200", "sweep": "2.5"},
        "registry": {"kind": "file", "file": "/x.json"},
    }


def test_every_fault_that_the_agent_would_find_is_told_at_once():
    words = {"limit": 1, "source_limit": "many", "nonsense": 5}
    extra = {"agent": {"loglevl": "INFO", "udsfile": "/tmp/x"}, "regstry": {}, "given": 5}
    told = compose(words=words, extra=extra)["faults"]
    for one in (
        "/etc/vtep-agent.conf: [agent] limit: '1' is out of range; write 16 to",
        "/etc/vtep-agent.conf: [agent] source_limit: 'many' is not a whole number",
        "/etc/vtep-agent.conf: [agent] loglevl: is not a known key",
        "agent_nonsense: is not a setting of vtep-agent; leave it out",
        "agent_extra_settings: agent: udsfile: goes with the unit and cannot be set; leave it out",
        "agent_extra_settings: regstry: is not a section; known are agent, registry, given",
        "agent_extra_settings: given: 5 is not a mapping of keys and values",
    ):
        assert [fault for fault in told if fault.startswith(one)], (one, told)
    assert len(told) == 7


def test_credentials_that_are_only_on_the_host_are_not_judged():
    found = compose(ETCD, words=PLACES)
    assert found["faults"] == []
    assert found["settings"]["registry"]["password_file"] == "/run/credentials/vtep-agent.service/registry_password"
    assert found["settings"]["registry"]["username"] == "agent"


def test_credentials_that_are_given_are_judged_and_not_shown():
    words = {name: PLACES[name] for name in ("password_file", "ca_file")}
    found = compose(ETCD, words, secrets={"registry_password": "top secret", "registry_ca": "no certificate"})
    (fault,) = found["faults"]
    assert fault.startswith("/etc/vtep-agent.conf: [registry] ca_file: 'agent_registry_ca' is not understood (")
    assert "top secret" not in str(found) and "/tmp" not in fault
    (fault,) = compose(ETCD, {"password_file": PLACES["password_file"]}, secrets={"registry_password": "a\nb"})[
        "faults"
    ]
    assert "'agent_registry_password' holds no password" in fault


def test_reloadable_is_what_the_agent_takes_up():
    live = {name for name, one in reading.keys(config.Settings).items() if one.metadata["live"]}
    found = compose()["reloadable"]
    assert {word.split(".")[1] for word in found} == live - set(agent_settings.FILES)
    assert "agent.source_limit" in found and "registry.urls" in found and "agent.udsfile" not in found


def test_what_the_unit_does_not_let_it_write():
    def told(**rows):
        return compose(extra={"agent": rows})["faults"]

    (fault,) = told(logdest="/var/log/vtep-agent.log")
    assert fault.startswith("/etc/vtep-agent.conf: [agent] logdest: '/var/log/vtep-agent.log' is a file, which")
    for place in ("/var/lib/prometheus/x.prom", "/run/vtep-agent", "/run/vtep-agent/../x", "/run/vtep-agents/x"):
        (fault,) = told(textfile=place)
        assert fault.startswith(f"/etc/vtep-agent.conf: [agent] textfile: {place!r} cannot be written"), fault
    assert told(logdest="stdout", textfile="/run/vtep-agent/x.prom") == []


def test_what_the_agent_would_warn_of_is_told():
    plan = {"settings": {"registry": {**ETCD["settings"]["registry"], "urls": "http://192.0.2.1:2379"}}}
    found = compose(plan, {"password_file": PLACES["password_file"]}, secrets={"registry_password": "top secret"})
    assert found["faults"] == []
    assert found["warnings"] == ["[registry] urls: the password goes unencrypted to a URL that begins with http:"]
    assert compose()["warnings"] == []

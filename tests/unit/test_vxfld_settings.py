# SPDX-License-Identifier: GPL-3.0-or-later
"""What role vxfld writes into the daemons' configuration, and what it refuses before a host is touched."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import config
from ansible_collections.vtep.fabric.plugins.plugin_utils import vxfld_settings

VXRD = {"daemon": "vxrd", "settings": {"common": {"src_ip": "2001:db8::1", "svcnode_ip": "2001:db8::100"},
                                       "vxrd": {"head_rep": "true"}}}  # fmt: skip
VXSND = {"daemon": "vxsnd", "settings": {"common": {"src_ip": "192.0.2.98", "svcnode_ip": "192.0.2.100"},
                                         "vxsnd": {"install_svcnode_ip": "true", "svcnode_dev": "vtep0"}}}  # fmt: skip
KEY = "0123456789abcdef0123456789abcdef"


def compose(plan=None, words=None, extra=None, **more):
    return vxfld_settings.compose(plan or VXRD, words or {}, extra or {}, **more)


def test_the_plan_and_what_goes_with_the_unit():
    assert compose()["settings"] == {
        "common": {
            "src_ip": "2001:db8::1", "svcnode_ip": "2001:db8::100",
            "pidfile": "/run/vxrd/vxrd.pid", "udsfile": "/run/vxrd/vxrd.sock",
        },
        "vxrd": {"head_rep": "true", "statedir": "/run/vxrd"},
    }  # fmt: skip
    assert compose()["faults"] == []


def test_words_of_the_role_go_to_the_section_of_the_daemon_that_knows_them():
    words = {
        "holdtime": 30,
        "refresh_rate": 5,
        "replicate": "kernel",
        "lost_contact": None,
        "allow": ["192.0.2.0/24", "2001:db8::/32"],
    }
    vxrd, vxsnd = compose(VXRD, words)["settings"], compose(VXSND, words)["settings"]
    assert vxrd["common"]["holdtime"] == vxsnd["common"]["holdtime"] == "30"
    assert vxrd["common"]["allow"] == "192.0.2.0/24 2001:db8::/32"
    assert vxrd["vxrd"] == {"head_rep": "true", "refresh_rate": "5", "statedir": "/run/vxrd"}
    assert vxsnd["vxsnd"]["replicate"] == "kernel" and "vxrd" not in vxsnd


def test_extra_settings_win_and_are_of_both_daemons():
    extra = {"common": {"holdtime": 60, "src_ip": "2001:db8::2"}, "vxrd": {"head_rep": False}, "vxsnd": {"push": True}}
    found = compose(words={"holdtime": 30}, extra=extra)
    assert found["faults"] == []
    assert found["settings"]["common"]["holdtime"] == "60" and found["settings"]["common"]["src_ip"] == "2001:db8::2"
    assert found["settings"]["vxrd"]["head_rep"] == "false" and "vxsnd" not in found["settings"]


def test_an_empty_allow_list_is_written():
    assert compose(words={"allow": []})["settings"]["common"]["allow"] == ""


def test_every_fault_that_the_daemon_would_find_is_told_at_once():
    words = {"holdtime": 0, "allow": ["192.0.2.1/24"]}
    extra = {"common": {"loglevl": "INFO", "loglevel": "LOUD"}, "vxrd": {"statedir": "/tmp/x"}, "vxlan": {}, "vxsnd": 5}
    told = compose(words=words, extra=extra)["faults"]
    for words in (
        "/etc/vxrd.conf: [common] holdtime: '0' is out of range; write 1 to 65534",
        "/etc/vxrd.conf: [common] allow: '192.0.2.1/24' has bits behind its prefix length",
        "/etc/vxrd.conf: [common] loglevel: 'LOUD' is not a log level",
        "/etc/vxrd.conf: [common] loglevl: is not a known key",
        "vxfld_extra_settings: vxrd: statedir: goes with the unit and cannot be set; leave it out",
        "vxfld_extra_settings: vxlan: is not a section; known are common, vxrd, vxsnd",
        "vxfld_extra_settings: vxsnd: 5 is not a mapping of keys and values",
    ):
        assert [fault for fault in told if fault.startswith(words)], (words, told)
    assert len(told) == 7


def test_a_key_that_the_daemon_does_not_know_is_a_fault():
    for section, name in (("vxrd", "refresh"), ("common", "refresh_rate")):
        (fault,) = compose(extra={section: {name: 3}})["faults"]
        assert fault.startswith(f"/etc/vxrd.conf: [{section}] {name}: is not a known key; ")
    assert compose(extra={"common": {"concurrency": 100}})["faults"] == []


def test_an_authentication_key():
    found = compose(key=KEY)
    assert found["faults"] == []
    assert found["settings"]["common"]["auth_key_file"] == "/run/credentials/vxrd.service/auth_key"
    assert KEY not in str(found)
    (fault,) = compose(key="short")["faults"]
    assert "vxfld_auth_key" in fault and "5 octets" in fault and "short is" not in fault and "/tmp" not in fault


@pytest.mark.parametrize("daemon", ["vxrd", "vxsnd"])
def test_reloadable_is_what_the_daemon_takes_up(daemon):
    found = vxfld_settings.reloadable(daemon)
    live = {name for name, one in config.keys(config.KINDS[daemon]).items() if one.metadata["live"]}
    assert {word.split(".")[1] for word in found} == live - {"auth_key_file"}
    assert "common.holdtime" in found and f"{daemon}.statedir" not in found
    assert {word.split(".")[0] for word in found} == {"common", daemon}


def test_upstream_gets_the_keys_that_it_knows():
    found = compose(
        VXSND, {"holdtime": 30}, {"vxsnd": {"age_check": 10}, "common": {"loglevel": "info"}}, upstream=True
    )
    assert found["faults"] == []
    assert found["settings"] == {
        "common": {"src_ip": "192.0.2.98", "svcnode_ip": "192.0.2.100", "holdtime": "30", "loglevel": "INFO"},
        "vxsnd": {"install_svcnode_ip": "true", "age_check": "10"},
    }


def test_what_upstream_cannot_do_is_refused_by_name():
    found = compose(VXRD, {"lost_contact": "keep", "allow": []}, {"vxrd": {"statedir": "/x"}}, key=KEY, upstream=True)
    assert sorted(fault.split(";")[0] for fault in found["faults"]) == [
        "[common] allow: upstream does not know it",
        "[common] src_ip: 2001:db8::1 is IPv6, and upstream takes IPv4 only",
        "[common] svcnode_ip: 2001:db8::100 is IPv6, and upstream takes IPv4 only",
        "[vxrd] lost_contact: upstream does not know it",
        "[vxrd] statedir: upstream does not know it",
        "vxfld_auth_key: upstream has no authentication",
    ]


def test_upstream_is_spared_what_it_would_stumble_over():
    found = compose(VXSND, {"holdtime": 0}, {"common": {"debug": True}}, upstream=True)
    assert found["faults"] == ["/etc/vxsnd.conf: [common] holdtime: '0' is out of range; write 1 to 65534"]

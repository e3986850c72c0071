# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-agent's configuration file: what is read, and what is refused by file, line and key."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import config
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

ETCD = "[registry]\nkind = etcd\nurls = https://192.0.2.1:2379\n"


def load(tmp_path, text, override=None, **overrides):
    (tmp_path / "a.conf").write_text(text)
    if override is not None:
        (tmp_path / "a.conf.override").write_text(override)
    return config.load(str(tmp_path / "a.conf"), overrides)


def faults(tmp_path, text, **overrides):
    with pytest.raises(InputError) as caught:
        load(tmp_path, text, **overrides)
    return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]


def test_no_file_means_defaults(tmp_path):
    settings, warnings = config.load(str(tmp_path / "none"))
    assert warnings == []
    assert (settings.limit, settings.unanswered, settings.unanswered_ttl) == (65536, 8192, 10.0)
    assert (settings.source_limit, settings.learn, settings.groups, settings.grace, settings.sweep) == (
        200, False, False, 60, 30,
    )  # fmt: skip
    assert (settings.kind, settings.file) == ("file", "/var/lib/vtep.fabric/endpoints.json")
    assert (settings.prefix, settings.interval, settings.lease) == ("/vtep.fabric", 5, 30)
    assert settings.udsfile == "/run/vtep-agent/vtep-agent.sock" and settings.textfile is None


def test_sections_the_override_and_the_command_line(tmp_path):
    text = "[agent]\nlimit = 100\nsweep = 2.5\nlearn = yes\n" + ETCD + "[given]\nendpoints_file = /x\n"
    settings, warnings = load(tmp_path, text, "[agent]\nlimit = 200\n[registry]\nlease = 60\n", loglevel="debug")
    assert warnings == []
    assert (settings.limit, settings.sweep, settings.learn, settings.loglevel) == (200, 2.5, True, "DEBUG")
    assert (settings.urls, settings.lease, settings.endpoints_file) == (("https://192.0.2.1:2379",), 60, "/x")


def test_keys_in_wrong_places_are_warnings(tmp_path):
    _settings, warnings = load(tmp_path, "[agent]\nkind = etcd\nlimt = 3\n[other]\nx = 1\n")
    assert [one.replace(f"{tmp_path}/", "") for one in warnings] == [
        "a.conf:2: [agent] kind: has no effect here; write it into [registry]",
        "a.conf:3: [agent] limt: is not a known key; it has no effect",
        "a.conf:5: [other] is not a known section; known are [agent], [registry] and [given]",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agent]\nlimit = 3", "a.conf:2: [agent] limit: '3' is out of range; write 16 to 4194304"),
        ("[agent]\nsource_limit = -1", "a.conf:2: [agent] source_limit: '-1' is out of range"),
        ("[agent]\ngroups = maybe", "a.conf:2: [agent] groups: 'maybe' is neither true nor false"),
        ("[agent]\nsweep = 0", "a.conf:2: [agent] sweep: '0' is not a time in seconds; write 0.1 to 3600"),
        ("[agent]\ngrace = 1e3", "a.conf:2: [agent] grace: '1e3' is not a time in seconds"),
        ("[registry]\nkind = consul", "a.conf:2: [registry] kind: 'consul' is unknown; write file, etcd or http"),
        ("[registry]\nkind = etcd", "[registry] urls: is missing; kind etcd needs one"),
        ("[registry]\nkind = http", "[registry] urls: is missing; kind http needs one"),
        (
            "[registry]\nkind = http\nurls = http://a/x http://b/x",
            "a.conf:3: [registry] urls: is more than one; kind http asks exactly one",
        ),
        ("[registry]\nkind = etcd\nurls = https://a:1/x", "a.conf:3: [registry] urls: has a path;"),
        ("[registry]\nurls = ftp://a", "a.conf:2: [registry] urls: 'ftp://a' is not a URL that can stand here"),
        ("[registry]\nurls = http://u:p@a", "a.conf:2: [registry] urls: 'http://u:p@a' is not a URL"),
        ("[registry]\nurls = http://a:70000", "a.conf:2: [registry] urls: 'http://a:70000' is not a URL"),
        ("[registry]\nprefix = x", "a.conf:2: [registry] prefix: 'x' is not a prefix of keys"),
        ("[registry]\nusername = a:b", "a.conf:2: [registry] username: 'a:b' is not a user name"),
        ("[registry]\nusername = u", "a.conf:2: [registry] username: is without a password; write password_file"),
        ("[registry]\nlease = 1", "a.conf:2: [registry] lease: '1' is out of range; write 5 to 3600"),
        ("[registry]\ncert_file = /x", "a.conf:2: [registry] cert_file: is without its key_file; write both"),
        ("[registry]\nca_file = /nowhere", "a.conf:2: [registry] ca_file: '/nowhere' is not readable"),
        ("limit = 3", "a.conf:1: 'limit = 3' is in no section"),
    ],
)
def test_faults_name_file_line_key_value_and_fix(tmp_path, text, words):
    told = faults(tmp_path, text)
    assert [fault for fault in told if fault.startswith(words)], told
    assert len(told) == 1


def test_all_faults_are_told_at_once(tmp_path):
    assert len(faults(tmp_path, "[agent]\nlimit = x\nsweep = x\n[registry]\nkind = etcd\n", learn="x")) == 4


def test_a_password_is_read_from_a_file_that_others_cannot_read(tmp_path):
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("top secret\n")
    text = f"{ETCD}username = agent\npassword_file = {file}\n"
    settings, warnings = load(tmp_path, text)
    assert settings.password == "top secret" and warnings == []
    assert "top secret" not in repr(settings) + str(config.shown(settings))
    file.chmod(0o644)
    assert "is open to all users" in faults(tmp_path, text)[0]
    file.chmod(0o600)
    file.write_bytes(b"\xff")
    assert "is not UTF-8" in faults(tmp_path, text)[0]
    file.write_text("\n")
    assert "holds no password" in faults(tmp_path, text)[0]
    file.write_text("x\n")
    (warning,) = load(tmp_path, text.replace("https", "http"))[1]
    assert "the password goes unencrypted" in warning and "'x'" not in warning
    (fault,) = faults(tmp_path, f"{ETCD}password_file = {file}\n")
    assert "is without a user; write username" in fault


def test_a_certificate_that_is_none(tmp_path):
    (tmp_path / "ca").write_text("nothing of the kind\n")
    (fault,) = faults(tmp_path, f"{ETCD}ca_file = {tmp_path}/ca\n")
    assert fault.startswith("a.conf:4: [registry] ca_file: 'ca' is not understood (")


def test_reload_takes_what_may_change_and_names_the_rest(tmp_path):
    old, _warnings = load(tmp_path, "[agent]\nlimit = 100\n")
    new, _warnings = load(tmp_path, "[agent]\nlimit = 200\npidfile = /x\nstatedir = /y\n" + ETCD)
    made, waiting = config.reloaded(old, new)
    assert (made.limit, made.kind, made.urls) == (200, "etcd", ("https://192.0.2.1:2379",))
    assert waiting == ["pidfile", "statedir"] and made.pidfile == old.pidfile
    assert config.reloaded(made, made) == (made, [])

# SPDX-License-Identifier: GPL-3.0-or-later
"""vxfld's configuration files: what upstream's administrators wrote is read, and what is wrong is named, all at once."""

import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._service import ini
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import auth, config

ANYCAST, OWN, PEER = (bytes((203, 0, 113, 100)), bytes((192, 0, 2, 101)), bytes((192, 0, 2, 102)))
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::1")

# As an administrator of the Python 2 daemons may have left it.
OLD = """\
# vxsnd.conf -- managed by hand
; edited 2015-11-02, do not touch
rem old habits

[common]
# loglevel = DEBUG
loglevel: WARN
Src_IP   =192.0.2.101
svcnode_ip= 203.0.113.100        ; the anycast address
logdest = /var/log/vxsnd.log
LOGFILESIZE : 1048576
udsfile = ""
concurrency = 2000
eventlet_backdoor_port = 9001
debug = maybe
[vxsnd]
   install_svcnode_ip = Yes
svcnode_peers = 192.0.2.102
        192.0.2.103:10005

\t203.0.113.7    ; behind the firewall
area = 7
age_check=30
vxfld_proxy_servers =
vxfld_port = 20001
[common]
holdtime = 30
holdtime = 60

[vxrd]
head_rep = of no interest to vxsnd
"""


def write(tmp_path, text, override=None):
    path = tmp_path / "vxsnd.conf"
    path.write_text(text)
    if override is not None:
        (tmp_path / "vxsnd.conf.override").write_text(override)
    return path


def load(tmp_path, text, override=None, kind="vxsnd", **overrides):
    return config.load(kind, str(write(tmp_path, text, override)), overrides)


def faults(tmp_path, text, override=None, kind="vxsnd", **overrides):
    with pytest.raises(InputError) as caught:
        load(tmp_path, text, override, kind, **overrides)
    return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]


def test_a_file_of_old_is_read(tmp_path):
    settings, warnings = load(tmp_path, OLD.replace('udsfile = ""\n', ""))
    assert settings.loglevel == "WARNING"
    assert settings.src_ip == {4: OWN}
    assert settings.svcnode_ip == {4: ANYCAST}
    assert (settings.logdest, settings.logfilesize) == ("/var/log/vxsnd.log", 1048576)
    assert settings.install_svcnode_ip is True
    assert settings.svcnode_peers == (
        (PEER, 10001),
        (bytes((192, 0, 2, 103)), 10005),
        (bytes((203, 0, 113, 7)), 10001),
    )
    assert (settings.area, settings.age_check, settings.holdtime) == (7, 30, 60)
    assert settings.vxfld_proxy_servers == ()
    assert settings.vxfld_port == 10001  # written into the wrong section
    told = "\n".join(warnings)
    for key in ("concurrency", "eventlet_backdoor_port", "debug"):
        assert f"[common] {key}: is known and has no effect" in told
    assert "vxsnd.conf:24: [vxsnd] vxfld_port: has no effect here; write it into [common]" in told
    assert len(warnings) == 4


def test_no_file_means_defaults(tmp_path):
    settings, warnings = config.load("vxsnd", str(tmp_path / "none"))
    assert warnings == []
    told = config.shown(settings)
    expected = {
        "src_ip": "0.0.0.0", "svcnode_ip": "0.0.0.0", "vxfld_port": 10001, "holdtime": 90, "max_packet_size": 1500,
        "loglevel": "INFO", "logdest": "syslog", "logfilesize": 512000, "logbackupcount": 14,
        "pidfile": "/var/run/vxsnd.pid", "udsfile": "/var/run/vxsnd.sock", "svcnode_peers": "",
        "enable_vxlan_listen": True, "install_svcnode_ip": False, "age_check": 90, "vxlan_port": 4789,
        "vxlan_listen_port": None, "vxlan_dest_port": None, "receive_queue": 131072, "sync_targets": 1,
        "sync_from_proxy": False, "area": None, "proxy_id": None, "vxfld_proxy_servers": "",
        "refresh_proxy_servers": False, "proxy_local_only": True, "enable_flooding": True,
    }  # fmt: skip
    assert {key: told[key] for key in expected} == expected
    assert (settings.listen_port, settings.dest_port) == (4789, 4789)
    vxrd, _warnings = config.load("vxrd", str(tmp_path / "none"))
    assert (vxrd.head_rep, vxrd.refresh_rate, vxrd.config_check_rate) == (True, 3, 60)
    assert (vxrd.pidfile, vxrd.udsfile) == ("/var/run/vxrd.pid", "/var/run/vxrd.sock")
    assert not hasattr(vxrd, "age_check")


def test_ports_fall_back_to_vxlan_port(tmp_path):
    settings, _warnings = load(tmp_path, "[vxsnd]\nvxlan_port = 8472\nvxlan_dest_port = 4790\n")
    assert (settings.listen_port, settings.dest_port) == (8472, 4790)


def test_the_override_wins_and_the_command_line_wins_over_it(tmp_path):
    text, override = (
        "[common]\nsrc_ip = 192.0.2.1\nholdtime = 30\nloglevel = error\n",
        "[common]\nsrc_ip = 192.0.2.101\n",
    )
    settings, _warnings = load(tmp_path, text, override, loglevel="debug")
    assert (settings.src_ip, settings.holdtime, settings.loglevel) == ({4: OWN}, 30, "DEBUG")
    (tmp_path / "vxsnd.conf").unlink()
    settings, _warnings = config.load("vxsnd", str(tmp_path / "vxsnd.conf"))
    assert settings.src_ip == {4: OWN}


def test_default_section_gives_way_wherever_it_stands(tmp_path):
    text = "[common]\nholdtime = 30\n[DEFAULT]\nholdtime = 40\nage_check = 50\n"
    settings, warnings = load(tmp_path, text)
    assert (settings.holdtime, settings.age_check, warnings) == (30, 50, [])


def test_both_families_and_peers_with_ports(tmp_path):
    text = """[common]
src_ip = 192.0.2.101 2001:db8::1
svcnode_ip = 0.0.0.0
[vxsnd]
svcnode_peers = 2001:db8::1 [2001:db8::1] [2001:db8::1]:7 192.0.2.102:8 192.0.2.102:8
vxfld_proxy_servers = 192.0.2.102:9
"""
    settings, warnings = load(tmp_path, text)
    assert settings.src_ip == {4: OWN, 6: SIX} and settings.svcnode_ip == {}
    assert settings.svcnode_peers == ((SIX, 10001), (SIX, 7), (PEER, 8))
    assert settings.vxfld_proxy_servers == ((PEER, 9),)
    assert config.shown(settings)["svcnode_peers"] == "[2001:db8::1]:10001 [2001:db8::1]:7 192.0.2.102:8"
    assert warnings == []


def test_prefixes(tmp_path):
    settings, _warnings = load(tmp_path, "[common]\nallow = 192.0.2.0/24 2001:db8::1 0.0.0.0/0\n")
    assert settings.allow == ((bytes((192, 0, 2, 0)), 24), (SIX, 128), (bytes(4), 0))
    assert config.shown(settings)["allow"] == "192.0.2.0/24 2001:db8::1/128 0.0.0.0/0"
    assert PEER in auth.AllowList(settings.allow[:1]) and ANYCAST not in auth.AllowList(settings.allow[:2])


def test_names_are_looked_up_ipv4_first(tmp_path, monkeypatch):
    def answers(name, *_more, **_options):
        known = {"both": ["2001:db8::1", "192.0.2.101"], "six.example.net": ["2001:db8::1"]}
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_DGRAM, 17, "", (one, 0))
            for one in known[name]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    settings, _warnings = load(tmp_path, "[common]\nsrc_ip = both six.example.net\n[vxsnd]\nsvcnode_peers = both:5\n")
    assert settings.src_ip == {4: OWN, 6: SIX}
    assert settings.svcnode_peers == ((OWN, 5),)
    told = faults(tmp_path, "[common]\nsrc_ip = nowhere\n")
    assert told == [
        "vxsnd.conf:2: [common] src_ip: 'nowhere' is not found (Name or service not known); write an address"
    ]


def test_every_fault_is_named_at_once_with_file_line_section_and_key(tmp_path):
    text = """stray = 1
[common]
src_ip = 300.1.1.1
svcnode_ip = 224.0.0.5
holdtime = 65535
loglevel = loud
not understood
[vxsnd]
install_svcnode_ip = true # really
age_check =
svcnode_peers = 192.0.2.102, 192.0.2.103
receive_queue = lots
vxfld_proxy_servers = 192.0.2.9
"""
    override = "[common]\nsrc_ip = 192.0.2.1 192.0.2.2\n"
    assert faults(tmp_path, text, override, drain="soon") == [
        "vxsnd.conf:1: 'stray = 1' is in no section; write a line such as [common] above it",
        "vxsnd.conf:7: 'not understood' is not understood; write it as `key = value`",
        "vxsnd.conf:3: [common] src_ip: '300.1.1.1' is not an address; write one such as 192.0.2.1 or 2001:db8::1, "
        "blanks between two",
        "vxsnd.conf:4: [common] svcnode_ip: '224.0.0.5' is not an address that one host can have; write a unicast one",
        "vxsnd.conf:5: [common] holdtime: '65535' is out of range; write 1 to 65534",
        "vxsnd.conf:6: [common] loglevel: 'loud' is not a log level; write DEBUG, INFO, WARNING, ERROR or CRITICAL",
        "vxsnd.conf:9: [vxsnd] install_svcnode_ip: 'true # really' is neither true nor false; write true or false "
        "(a remark within a line begins with ` ;`, or goes on a line of its own)",
        "vxsnd.conf:10: [vxsnd] age_check: '' is no value; write one or leave the key out",
        "vxsnd.conf:11: [vxsnd] svcnode_peers: '192.0.2.102,' is not an address; write one such as 192.0.2.1 or "
        "2001:db8::1, blanks between two",
        "vxsnd.conf:12: [vxsnd] receive_queue: 'lots' is not a whole number; write 0 to 1073741824",
        "vxsnd.conf:13: [vxsnd] vxfld_proxy_servers: '192.0.2.9' is without a port; write host:port",
        "vxsnd.conf.override:2: [common] src_ip: '192.0.2.1 192.0.2.2' is two addresses of IPv4; write one of each "
        "family at most",
        "command line: drain: 'soon' is not a time in seconds; write 0 to 60",
    ]


@pytest.mark.parametrize(
    "key, value",
    [
        ("src_ip", "fe80::1"),
        ("src_ip", "::ffff:192.0.2.1"),
        ("src_ip", "192.0.2.1/24"),
        ("src_ip", "10.1"),
        ("src_ip", "-x"),
        ("vxfld_port", "0"),
        ("vxfld_port", "65536"),
        ("vxfld_port", "1e3"),
        ("node_id", "0"),
        ("node_id", "0x10"),
        ("max_packet_size", "65536"),
        ("allow", "192.0.2.1/24"),
        ("allow", "192.0.2.0/33"),
        ("allow", "example.net"),
        ("allow", "192.0.2.0/+1"),
        ("auth_key_file", "/nonexistent/key"),
    ],
)
def test_values_that_are_refused(tmp_path, key, value):
    (fault,) = faults(tmp_path, f"[common]\n{key} = {value}\n")
    assert fault.startswith(f"vxsnd.conf:2: [common] {key}: '{value}' ") and "; write " in fault


@pytest.mark.parametrize(
    "value", ["192.0.2.1:", "192.0.2.1:0", "192.0.2.1:x", "[2001:db8::1", "a:b:c", "[x]:1", "0.0.0.0"]
)
def test_peers_that_are_refused(tmp_path, value):
    (fault,) = faults(tmp_path, f"[vxsnd]\nsvcnode_peers = 192.0.2.7 {value}\n")
    assert fault.startswith("vxsnd.conf:2: [vxsnd] svcnode_peers: ") and "; write " in fault


def test_a_value_that_swallowed_the_next_line_says_so(tmp_path):
    (fault,) = faults(tmp_path, "[common]\nholdtime = 30\n  vxfld_port = 5\n")
    assert fault.startswith("vxsnd.conf:2: [common] holdtime: ")
    assert fault.endswith("(the value goes on to line 3, since an indented line continues the one above it)")


def test_keys_that_do_not_go_together(tmp_path):
    told = faults(tmp_path, "[common]\nvxfld_port = 4789\n[vxsnd]\ninstall_svcnode_ip = on\n")
    assert told == [
        "vxsnd.conf:4: [vxsnd] install_svcnode_ip: 'true' is without an address to install; write svcnode_ip",
        "vxsnd.conf:2: [common] vxfld_port: '4789' is the port of VXLAN too; write another one",
    ]
    told = faults(tmp_path, "[common]\nholdtime = 2\n", kind="vxrd")
    assert told == ["[vxrd] refresh_rate: '3' is more than one a second; write holdtime (2) at most"]


def test_unknown_keys_and_sections_are_warnings(tmp_path):
    settings, warnings = load(tmp_path, "[common]\nholdtme = 3\n[VXSND]\narea = 1\n[vxrd]\nx = 1\n")
    assert settings.area is None
    assert [warning.replace(f"{tmp_path}/", "") for warning in warnings] == [
        "vxsnd.conf:2: [common] holdtme: is not a known key; it has no effect",
        "vxsnd.conf:4: [VXSND] is not a known section; known are [common] and [vxsnd]",
    ]


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    (tmp_path / "vxsnd.conf").mkdir()
    with pytest.raises(InputError, match="Is a directory; make it a file"):
        config.load("vxsnd", str(tmp_path / "vxsnd.conf"))


def test_any_octets_are_read_without_a_crash(tmp_path):
    path = tmp_path / "vxsnd.conf"
    path.write_bytes(b"\xef\xbb\xbf[common]\r\nholdtime = 30\r\nlogdest = /x\xff\xfe\x00y\r\n")
    with pytest.raises(InputError, match="is not a file name"):
        config.load("vxsnd", str(path))
    path.write_bytes(b"\xef\xbb\xbf[common]\r\n; \xe9\r\nholdtime = 30\r\n")
    assert config.load("vxsnd", str(path))[0].holdtime == 30


def test_key_file(tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    key.chmod(0o600)
    settings, _warnings = load(tmp_path, f"[common]\nauth_key_file = {key}\n")
    assert settings.auth_key == b"0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings) + str(config.shown(settings))
    key.chmod(0o644)
    assert "is open to all users" in faults(tmp_path, f"[common]\nauth_key_file = {key}\n")[0]
    key.chmod(0o600)
    key.write_text("short\n")
    assert "a key of 5 octets is short of 16" in faults(tmp_path, f"[common]\nauth_key_file = {key}\n")[0]


def test_set_takes_what_a_file_takes(tmp_path):
    settings, _warnings = load(tmp_path, "")
    made = config.changed("vxsnd", settings, "svcnode_peers", "192.0.2.102 [2001:db8::1]:5")
    assert made.svcnode_peers == ((PEER, 10001), (SIX, 5))
    assert config.changed("vxsnd", made, "svcnode_peers", "").svcnode_peers == ()
    assert config.changed("vxsnd", settings, "holdtime", "30").holdtime == 30
    for name, text, words in (
        ("holdtme", "3", "holdtme: Unknown parameter"),
        ("auth_key", "3", "auth_key: Unknown parameter"),
        ("vxfld_port", "3", "vxfld_port: Read-Only Parameter"),
        ("holdtime", None, "holdtime: Value cannot be None"),
        ("holdtime", "", "holdtime: Value cannot be None"),
        ("holdtime", "x", "holdtime: 'x' is not a whole number"),
    ):
        with pytest.raises(InputError, match=words):
            config.changed("vxsnd", settings, name, text)
    vxrd, _warnings = load(tmp_path, "", kind="vxrd")
    with pytest.raises(InputError, match=r"refresh_rate: '3' is more than one a second"):
        config.changed("vxrd", vxrd, "holdtime", "2")


def test_reload_takes_what_may_change_and_names_the_rest(tmp_path):
    old, _warnings = load(tmp_path, "[common]\nholdtime = 30\nvxfld_port = 9\n")
    new, _warnings = load(
        tmp_path, "[common]\nholdtime = 40\nvxfld_port = 10\nconcurrency = 3\n[vxsnd]\nsvcnode_peers = 192.0.2.102:1\n"
    )
    made, waiting = config.reloaded(old, new)
    assert (made.holdtime, made.svcnode_peers, made.vxfld_port) == (40, ((PEER, 1),), 9)
    assert waiting == ["vxfld_port"]
    assert config.reloaded(made, made) == (made, [])


def test_peers_without_port_keep_to_the_running_port(tmp_path):
    peers = "[vxsnd]\nsvcnode_peers = 192.0.2.102 192.0.2.103:7\n"
    old, _warnings = load(tmp_path, "[common]\nvxfld_port = 9\n")
    new, _warnings = load(tmp_path, "[common]\nvxfld_port = 10\n" + peers)
    assert [one.port for one in new.svcnode_peers] == [10, 7]
    made, waiting = config.reloaded(old, new)
    assert [one.port for one in made.svcnode_peers] == [9, 7]
    assert waiting == ["vxfld_port"]
    assert config.reloaded(made, new) == (made, ["vxfld_port"])
    assert config.changed("vxsnd", made, "svcnode_peers", "192.0.2.104").svcnode_peers[0].port == 9


def test_what_is_parsed_of_lines():
    values, told = ini.parse("f", "[a]\nX:1=2\nremark = 1\nrem ark\ny = a;b ;c\n[b]\n  z = \n\n   more\n")
    assert told == []
    assert [tuple(value) for value in values] == [
        ("a", "x", "1=2", 2, 2),
        ("a", "remark", "1", 3, 3),
        ("a", "y", "a;b", 5, 5),
        ("b", "z", "more", 7, 9),
    ]

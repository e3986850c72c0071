# SPDX-License-Identifier: GPL-3.0-or-later
"""FRR's configuration as text, its switches, and what is told of its refusals."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import frr as daemon
from ansible_collections.vtep.fabric.plugins.module_utils._model import frr

SAVED = """\
! written by a person
log syslog informational
!
interface eth0
 description to the spine
 ipv6 ospf6 area 0
exit
!
router bgp 65000
 ! why this is so
 neighbor 2001:db8::1 remote-as 65001
 address-family ipv6 unicast
  neighbor 2001:db8::1 activate
 exit-address-family
exit
!
"""
BY_HAND = """\
interface eth0
ipv6 ospf6 area 0
description unindented
interface eth1
ipv6 ospf6 cost 3

router ospf6
ospf6 router-id 1.1.1.1
area 1 stub
ip route 192.0.2.0/24 blackhole
line vty
"""


def headers(text):
    return [(line.header, line.text) for line in frr.read(text)]


def test_lines_stand_in_blocks():
    found = headers(SAVED)
    assert ("", "log syslog informational") in found
    assert ("interface eth0", "ipv6 ospf6 area 0") in found
    assert ("router bgp 65000", "neighbor 2001:db8::1 activate") in found
    assert not any("written by" in text or text == "exit" for _header, text in found)


def test_files_without_indentation_and_exit_are_read():
    found = headers(BY_HAND)
    assert ("interface eth0", "ipv6 ospf6 area 0") in found
    assert ("interface eth1", "ipv6 ospf6 cost 3") in found
    assert ("router ospf6", "area 1 stub") in found
    assert ("line vty", "line vty") in found


@pytest.mark.parametrize("text", [SAVED, BY_HAND, "", "\n", "end\n", SAVED + "end\n", "interface eth9\n ipv6 nd ra\n"])
@pytest.mark.parametrize(
    "added",
    [
        {"interface eth0": ["ipv6 ospf6 cost 5", "ipv6 ospf6 passive"]},
        {"interface eth7": ["ipv6 ospf6 area 0"], "router ospf6": ["ospf6 router-id 2.2.2.2"]},
        {"router bgp 65000": ["bgp router-id 1.1.1.1"]},
        {"router ospf6": []},
    ],
)
def test_what_was_put_in_can_be_taken_out_to_the_byte(text, added):
    made = frr.splice(text, set(), added)
    was, now = headers(text), headers(made)
    for header, lines in added.items():
        assert (header, header) in now
        assert all((header, line) in now for line in lines)
    assert [one for one in now if one in was] == was
    new = {one.number for one in frr.read(made) if (one.header, one.text) not in was}
    assert frr.splice(made, new, {}) == text
    if made.rstrip().endswith("end"):
        assert text.rstrip().endswith("end"), "lines behind `end` would not be read"


def test_a_block_that_loses_its_last_line_goes_with_its_exit():
    number = next(line.number for line in frr.read(SAVED) if line.text == "ipv6 ospf6 area 0")
    left = frr.splice(SAVED, {number}, {})
    assert left == SAVED.replace(" ipv6 ospf6 area 0\n", "")
    both = {line.number for line in frr.read(SAVED) if line.header == "interface eth0" and line.text != line.header}
    text = frr.splice(SAVED, both, {})
    assert "eth0" not in text
    assert text.count("exit\n") == SAVED.count("exit\n") - 1, "an exit without a block would end the file"
    assert text == SAVED.replace(SAVED[SAVED.index("interface") : SAVED.index("router")], "")


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        (
            "ipv6 ospf6 authentication key-id 3 hash-algo md5 key s3cret",
            "ipv6 ospf6 authentication key-id 3 hash-algo md5 key ********",
        ),
        ("ip ospf message-digest-key 3 md5 s3cret", "ip ospf message-digest-key 3 md5 ********"),
        ("ipv6 ospf6 authentication keychain md5", "ipv6 ospf6 authentication keychain md5"),
        ("ipv6 ospf6 cost 3", "ipv6 ospf6 cost 3"),
    ],
)
def test_secrets_are_hidden(line, hidden):
    assert frr.masked(line) == hidden
    assert frr.secret(line) == ("s3cret" if hidden != line else None)


# The words of FRR 8.4.4 and 10.3, as vtysh prints them.
SENT = "interface e1\n ipv6 ospf6 network point-to-multipoint\n ipv6 ospf6 authentication key-id 1 hash-algo md5 key s3cret\nexit\n"


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        (
            ["line 2: % Unknown command[17]:  ipv6 ospf6 network point-to-multipoint"],
            ["'ipv6 ospf6 network point-to-multipoint' in 'interface e1': Unknown command", "does not know it"],
        ),
        (
            [
                "Hash algorithm not supported, compile with --with-crypto=openssl",
                "line 3: Failure to communicate[13] to ospf6d, line:  ipv6 ospf6 authentication ... key s3cret",
            ],
            ["Hash algorithm not supported", "key ********' in 'interface e1': refused"],
        ),
        (["e1 already attached to Area 1"], ["ospf6d of FRR 9.9 refused: e1 already attached to Area 1"]),
        (["% Configuration is locked by other client"], ["locked by other client", "end it and run again"]),
        (["the key s3cret is bad"], ["the key ******** is bad"]),
        ([], ["vtysh ended with 13"]),
    ],
)
def test_refusals_are_in_frrs_words_without_secrets(monkeypatch, said, parts):
    monkeypatch.setattr(daemon, "version", lambda: "9.9")
    message = daemon._refusal("ospf6d", SENT, said, 13)
    assert "s3cret" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "line",
    [
        "[92|mgmtd] sending configuration",
        "[120|zebra] done",
        "Waiting for children to finish applying config...",
        "Configuration file[/etc/frr/frr.conf] processing failure: 13",
        "[93|zebra] Configuration file[/etc/frr/frr.conf] processing failure: 2",
        'For this router-id change to take effect run the "clear ipv6 ospf6 process" command',
        "",
    ],
)
def test_chatter_is_no_refusal(line):
    assert daemon._NOISE.fullmatch(line)


DAEMONS = """\
# ospf6d=yes would be wrong here
bgpd=yes
ospf6d=no
ospf6d_options=" -A ::1"
bfdd="yes"
"""


def test_switches():
    assert daemon.enabled(DAEMONS, "bgpd")
    assert daemon.enabled(DAEMONS, "bfdd")
    assert not daemon.enabled(DAEMONS, "ospf6d")
    assert not daemon.enabled(DAEMONS, "ospfd")
    on = daemon.switched(DAEMONS, ["ospf6d", "ospfd"], on=True)
    assert on == DAEMONS.replace("\nospf6d=no", "\nospf6d=yes") + "ospfd=yes\n"
    assert daemon.switched(on, ["ospf6d"], on=False) == DAEMONS + "ospfd=yes\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"frr.conf": "", "vtysh.conf": "service integrated-vtysh-config"}, "frr.conf"),
        ({"frr.conf": "", "vtysh.conf": "no service integrated-vtysh-config"}, "frr.conf"),
        ({"vtysh.conf": "service integrated-vtysh-config"}, "frr.conf"),
        ({"vtysh.conf": "service integrated-vtysh-config", "bgpd.conf": "! nothing"}, "frr.conf"),
        ({"vtysh.conf": "service integrated-vtysh-config", "bgpd.conf": "router bgp 1"}, "ospf6d.conf"),
        ({"vtysh.conf": "no service integrated-vtysh-config"}, "ospf6d.conf"),
        ({}, "ospf6d.conf"),
    ],
)
def test_the_file_that_a_start_loads(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(daemon, "ETC", tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert daemon.boot_file("ospf6d") == tmp_path / expected


def test_a_file_is_replaced_at_once_and_keeps_its_mode(tmp_path):
    path, link = tmp_path / "frr.conf", tmp_path / "link"
    path.write_text("old\n")
    path.chmod(0o604)
    link.symlink_to(path)
    before = path.stat().st_ino
    with open(path) as reader:
        daemon.files.write(link, "new\n", 0o640)
        assert reader.read() == "old\n"
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o604
    assert path.stat().st_ino != before
    assert link.is_symlink()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["frr.conf", "link"]
    daemon.files.write(tmp_path / "new", "x", 0o600)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600

# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec in a kernel that has it: hosts in network namespaces, judged by iproute2, by packets and by what is on the wire."""

import json
import socket
import time
from contextlib import contextmanager

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, genl
from ansible_collections.vtep.fabric.plugins.module_utils._model import macsec as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    FabricError,
    InputError,
    KernelError,
    RefusedError,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_keys
from macsec_support import MARKS, Host, counted, joined, ping, pinging, sci

pytestmark = MARKS

K1, K2, K3, K4 = ("%02x" % number * 16 for number in (0x11, 0x22, 0x33, 0x44))
SECRET = "5e" * 32
XPN = {"ssci": 1, "salt": "00112233445566778899aabb"}


@pytest.fixture
def hosts(tmp_path):
    one, two = Host("one", tmp_path), Host("two", tmp_path)
    joined(one, two)
    yield one, two
    one.close()
    two.close()


def device(tx, rx_from, rx, **more):
    """A device that sends with the associations tx, and receives from a host with those of rx."""
    return {"name": "macsec0", "dev": "eth0", "up": True, "tx": tx, "rx": [{"sci": sci(rx_from), "sa": rx}], **more}


def sa(an, key, **more):
    return {"an": an, "key": key, **more}


def addressed(one, two):
    for number, host in enumerate((one, two), 1):
        host.sh(f"ip addr add 10.0.0.{number}/24 dev macsec0")


@pytest.fixture
def pair(hosts):
    """Two hosts that speak by MACsec, one with key K1 and two with key K2."""
    one, two = hosts
    one.macsec(**device([sa(0, K1)], 2, [sa(0, K2)]))
    two.macsec(**device([sa(0, K2)], 1, [sa(0, K1)]))
    addressed(one, two)
    assert ping(one, "10.0.0.2") == 5
    return one, two


@contextmanager
def captured(host, dev):
    """All frames of a device, as a list that is filled when the block ends."""
    frames = []
    with host.here():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        sock.bind((dev, 0))
    sock.settimeout(0.2)
    try:
        yield frames
        try:
            while True:
                frames.append(sock.recv(1 << 16))
        except TimeoutError:
            pass
    finally:
        sock.close()


# What is set, as iproute2 sees it


@pytest.mark.parametrize("cipher", list(model.CIPHERS))
def test_two_hosts_speak_and_the_wire_has_nothing_to_read(hosts, cipher):
    one, two = hosts
    suite = model.CIPHERS[cipher]
    more = XPN if suite.xpn else {}
    keys = [key if suite.key == 16 else key * 2 for key in (K1, K2)]
    both = {"cipher": cipher, "replay": True, "window": 32}
    one.twice(**device([sa(0, keys[0], **more)], 2, [sa(0, keys[1], **more)], **both))
    two.twice(**device([sa(0, keys[1], **more)], 1, [sa(0, keys[0], **more)], **both))
    addressed(one, two)
    with captured(two, "eth0") as frames:
        assert ping(one, "10.0.0.2", 10) == 10
    assert len([frame for frame in frames if frame[12:14] == b"\x88\xe5"]) >= 20
    assert not [frame for frame in frames if b"marker" in frame]

    shown, told = one.shown(), one.device()
    assert shown["cipher_suite"] == cipher.upper() and shown["encrypt"] and shown["replay"] and shown["window"] == 32
    assert int(shown["sci"], 16) == int(told["sci"], 16) == int(sci(1), 16)
    [sent], [sends] = shown["sa_list"], told["tx"]
    assert (sent["an"], sent["pn"], sent["active"], sent["key"]) == (
        sends["an"],
        sends["pn"],
        sends["active"],
        sends["key_id"],
    )
    assert sends["pn"] > 10 and sends["pn_used"] == (sends["pn"] - 1) / suite.numbers
    assert {name: sent[name] for name in sends["statistics"]} == sends["statistics"]
    assert sends["statistics"]["OutPktsEncrypted"] >= 10
    [channel], [receives] = shown["rx_sc"], told["rx"]
    assert int(channel["sci"], 16) == int(receives["sci"], 16) == int(sci(2), 16)
    assert {name: channel[name] for name in receives["statistics"]} == receives["statistics"]
    assert receives["statistics"]["InPktsOK"] >= 10
    assert channel["sa_list"][0]["pn"] == receives["sa"][0]["pn"]
    assert {name: shown[name] for name in told["statistics"]} == told["statistics"]
    if suite.xpn:
        assert sends["ssci"] == receives["sa"][0]["ssci"] == 1
        assert int(sent["ssci"], 16) == 1


def test_every_attribute_as_ip_shows_it_and_changed_while_it_lives(hosts):
    one, _two = hosts
    # With another port than 1 it would be made anew for send_sci: whoever gets no SCI takes the sender for port 1.
    first = {
        "icvlen": 8, "encrypt": False, "protect": True, "send_sci": True, "replay": True, "window": 7, "validate": "check",
        "encodingsa": 2, "mtu": 1400, "alias": "vtep.fabric x", "port": 1, "cipher": "gcm-aes-256",
    }  # fmt: skip
    one.twice(name="macsec0", dev="eth0", **first)
    index = one.link()["ifindex"]
    got = one.link()["linkinfo"]["info_data"]
    assert got == {
        "sci": sci(1), "protect": True, "cipher_suite": "GCM-AES-256", "icv_len": 8, "encoding_sa": 2, "validation": "check",
        "offload": "off", "encrypt": False, "inc_sci": True, "es": False, "scb": False, "replay_protect": True, "window": 7,
    }  # fmt: skip
    assert one.link()["mtu"] == 1400 and one.link()["ifalias"] == "vtep.fabric x"
    for change in (
        {"encrypt": True}, {"protect": False}, {"send_sci": False, "end_station": True}, {"end_station": False, "scb": True},
        {"window": 9}, {"replay": False}, {"replay": True, "window": 3}, {"validate": "disabled"}, {"encodingsa": 0},
        {"mtu": 1450}, {"up": True},
    ):  # fmt: skip
        done = one.twice(name="macsec0", **change)
        assert done.changed, change
    got = one.link()["linkinfo"]["info_data"]
    assert got == {
        "sci": sci(1), "protect": False, "cipher_suite": "GCM-AES-256", "icv_len": 8, "encoding_sa": 0,
        "validation": "disabled", "offload": "off", "encrypt": True, "inc_sci": False, "es": False, "scb": True,
        "replay_protect": True, "window": 3,
    }  # fmt: skip
    assert one.link()["ifindex"] == index
    told = one.device()
    assert {name: told[name] for name in ("port", "icvlen", "window", "scb", "validate", "mtu")} == {
        "port": 1, "icvlen": 8, "window": 3, "scb": True, "validate": "disabled", "mtu": 1450,
    }  # fmt: skip
    one.twice(name="macsec0", state="absent")
    assert one.info()["devices"] == []


def test_on_top_of_a_vxlan_device_and_of_a_bridge(hosts):
    one, two = hosts
    for number, host in enumerate((one, two), 1):
        host.sh(
            f"ip addr add 10.9.0.{number}/24 dev eth0",
            f"ip link add vxlan100 type vxlan id 100 dstport 4789 remote 10.9.0.{3 - number} local 10.9.0.{number}",
            f"ip link set vxlan100 address 02:00:00:00:01:0{number} up",
            "ip link add br0 type bridge",
            f"ip link set br0 address 02:00:00:00:02:0{number} up",
        )
    for base, dev in ((0x0100, "vxlan100"), (0x0200, "br0")):
        for number, host in enumerate((one, two), 1):
            peer = f"02000000{base + 3 - number:04x}0001"
            keys = (K1, K2) if number == 1 else (K2, K1)
            rx = [{"sci": peer, "sa": [sa(0, keys[1])]}]
            host.twice(name=f"ms{dev[:2]}", dev=dev, up=True, tx=[sa(0, keys[0])], rx=rx)
    one.sh("ip addr add 10.0.0.1/24 dev msvx")
    two.sh("ip addr add 10.0.0.2/24 dev msvx")
    with captured(two, "eth0") as frames:
        assert ping(one, "10.0.0.2") == 5
    assert not [frame for frame in frames if b"marker" in frame]
    assert len([frame for frame in frames if frame[36:38] == b"\x12\xb5" and frame[62:64] == b"\x88\xe5"]) >= 10
    with pytest.raises(RefusedError, match="vxlan100: msvx is on top of it"):
        from device_support import vxlan

        with one.here():
            vxlan(name="vxlan100", id=101, recreate=True)


# The same messages as iproute2's


def test_our_requests_are_those_of_ip_macsec(hosts):
    """nlmon shows what was sent to the kernel: attributes may have another order, and ours say that nests are nests."""
    one, two = hosts
    salt, key_id = XPN["salt"], "0123456789abcdef0123456789abcdef"
    for host in (one, two):
        host.sh("ip link add nl0 type nlmon", "ip link set nl0 up")
    lines = (
        "ip link add link eth0 macsec0 type macsec port 7 cipher gcm-aes-xpn-256",
        "ip macsec add macsec0 rx port 1 address 02:00:00:00:00:09 on",
        f"ip macsec add macsec0 rx port 1 address 02:00:00:00:00:09 sa 1 xpn 5 salt {salt} ssci 10 on key {key_id} {K2 * 2}",
        f"ip macsec add macsec0 tx sa 2 xpn 4294967299 salt {salt} ssci 11 on key {key_id[::-1]} {K1 * 2}",
        "ip macsec set macsec0 tx sa 2 off",
        "ip macsec del macsec0 tx sa 2",
        "ip macsec set macsec0 rx port 1 address 02:00:00:00:00:09 off",
        "ip macsec set macsec0 rx port 1 address 02:00:00:00:00:09 sa 1 off",
        "ip macsec del macsec0 rx port 1 address 02:00:00:00:00:09 sa 1",
        "ip macsec del macsec0 rx port 1 address 02:00:00:00:00:09",
    )
    with captured(one, "nl0") as theirs:
        one.sh(*lines)
    # `ip macsec` takes the SSCI as a hexadecimal number.
    more = {"salt": salt, "key_id": key_id}
    transmit = sa(2, K1 * 2, pn=2**32 + 3, ssci=0x11, **{**more, "key_id": key_id[::-1]})
    receive = {"sci": sci(9), "sa": [sa(1, K2 * 2, pn=5, ssci=0x10, **more)]}
    made = {"name": "macsec0", "purge_associations": "listed"}
    with captured(two, "nl0") as ours:
        two.macsec(**made, dev="eth0", cipher="gcm-aes-xpn-256", port=7, encodingsa=2, tx=[transmit], rx=[receive])
        two.macsec(**made, tx=[])
        two.macsec(**made, rx=[{"sci": sci(9), "active": False, "sa": []}])
        two.macsec(**made, rx=[])
    family = genl.Family("macsec", 1)
    number = family.number()
    family.close()
    assert _requests(theirs, number) <= _requests(ours, number)
    assert len(_requests(theirs, number)) == 9


def _requests(frames, family):
    """The set of generic netlink requests among what nlmon saw, as command and nested attributes."""
    return {
        (data[start + 16], _tree(data, start + genl.START, end))
        for data in frames
        for kind, flags, _seq, start, end in codec.messages(data)
        if kind == family and flags & codec.NLM_F_REQUEST and flags & codec.NLM_F_DUMP != codec.NLM_F_DUMP
    }


def _tree(data, start, end):
    found = codec.attributes(data, start, end)
    nests = {kind: codec.attributes(payload, 0, len(payload)) for kind, payload in found.items() if kind in (2, 3)}
    return tuple(
        (kind, tuple(sorted(nests[kind].items())) if kind in nests else payload)
        for kind, payload in sorted(found.items())
        if kind != 1  # the device's number
    )


# Rotation


def named(one, two):
    return {"one": one, "two": two}


def step(hosts, told, which, rotate, order=None):
    """One step of a rotation on all hosts."""
    for name in order or hosts:
        lists = macsec_keys.associations(told, SECRET, name, which, rotate=rotate)
        purge = "listed" if which == "drop" else "none"
        hosts[name].twice(name="macsec0", purge_associations=purge, **lists)


def asked(hosts):
    return {name: host.device() for name, host in hosts.items()}


@pytest.fixture
def fabric(hosts):
    """Two hosts whose keys come from the fabric's secret."""
    both = named(*hosts)
    for host in both.values():
        host.macsec(name="macsec0", dev="eth0", replay=True, window=32, up=True)
    told = asked(both)
    assert all(one["epochs"]["current"] is None for one in told.values())
    for which in macsec_keys.STEPS:
        step(both, told, which, rotate=False)
    addressed(*hosts)
    assert ping(hosts[0], "10.0.0.2") == 5
    return both


def test_a_rotation_loses_nothing(fabric):
    running = pinging(fabric["one"], "10.0.0.2", 1500)
    for turn in range(6):
        told = asked(fabric)
        ids = {name: one["tx"][0]["key_id"] for name, one in told.items()}
        for which in macsec_keys.STEPS:
            step(fabric, told, which, rotate=True)
        now = asked(fabric)
        for name, one in now.items():
            [only] = one["tx"]
            assert only["an"] == one["encodingsa"] == (turn + 1) % 4
            assert only["key_id"] != ids[name]
            assert [len(channel["sa"]) for channel in one["rx"]] == [1]
    assert running.poll() is None, "the ping was to go on beyond the rotations"
    sent, answered = counted(running)
    assert (sent, answered) == (1500, 1500)


def test_one_task_that_lists_only_the_next_key_loses_nothing_of_its_own(pair):
    one, two = pair
    two.macsec(name="macsec0", rx=[{"sci": sci(1), "sa": [sa(1, K3)]}])
    running = pinging(one, "10.0.0.2", 1000, 0.002)
    time.sleep(0.5)
    one.macsec(name="macsec0", tx=[sa(1, K3)], encodingsa=1, purge_associations="listed")
    assert running.poll() is None
    assert counted(running) == (1000, 1000)
    assert [item["an"] for item in one.device()["tx"]] == [1]


def test_a_rotation_without_its_first_step_loses_packets(fabric):
    """That the test above can fail."""
    running = pinging(fabric["one"], "10.0.0.2", 150)
    told = asked(fabric)
    step(fabric, told, "transmit", rotate=True, order=["one"])
    time.sleep(0.3)
    step(fabric, told, "drop", rotate=True)
    sent, answered = counted(running)
    assert answered < sent - 10


def test_a_run_that_broke_off_in_a_rotation_is_made_good_by_the_next(fabric):
    told = asked(fabric)
    step(fabric, told, "receive", rotate=True)
    step(fabric, told, "transmit", rotate=True, order=["one"])
    running = pinging(fabric["one"], "10.0.0.2", 200)
    told = asked(fabric)
    for which in macsec_keys.STEPS:
        step(fabric, told, which, rotate=False)
    assert counted(running) == (200, 200)
    now = asked(fabric)
    assert [(one["encodingsa"], len(one["tx"]), len(one["rx"][0]["sa"])) for one in now.values()] == [
        (1, 1, 1),
        (0, 1, 1),
    ]


def test_a_host_that_lost_its_disk_takes_a_number_that_its_peers_have_no_key_under(fabric):
    one, two = fabric.values()
    gone(two, "a reboot")
    (two.disk / "macsec.json").unlink()
    two.macsec(name="macsec0", dev="eth0", replay=True, window=32, up=True)
    told = asked(fabric)
    assert told["two"]["epochs"]["fresh"]["an"] == 0, "it does not know"
    for which in macsec_keys.STEPS:
        step(fabric, told, which, rotate=False)
    two.sh("ip addr add 10.0.0.2/24 dev macsec0")
    assert ping(one, "10.0.0.2") == 5 and two.device()["encodingsa"] == 1


def test_a_rotation_that_broke_off_is_begun_again(fabric):
    step(fabric, asked(fabric), "receive", rotate=True)
    running = pinging(fabric["one"], "10.0.0.2", 200)
    told = asked(fabric)
    for which in macsec_keys.STEPS:
        step(fabric, told, which, rotate=True)
    assert counted(running) == (200, 200)


def test_a_key_in_use_is_replaced_only_when_told_so(pair):
    one, two = pair
    with pytest.raises(RefusedError, match="tx an 0: it is in use with key .*another an beside it.*recreate: true"):
        one.macsec(name="macsec0", tx=[sa(0, K3)])
    with pytest.raises(RefusedError, match=f"rx {sci(1)} an 0: it is in use"):
        two.macsec(name="macsec0", rx=[{"sci": sci(1), "sa": [sa(0, K3)]}])
    assert ping(one, "10.0.0.2") == 5
    done = one.twice(name="macsec0", tx=[sa(0, K3)], recreate=True)
    assert "gives way to" in done.warnings[0]
    assert ping(one, "10.0.0.2") == 0
    two.twice(name="macsec0", rx=[{"sci": sci(1), "sa": [sa(0, K3)]}], recreate=True)
    assert ping(one, "10.0.0.2") == 5


def test_what_is_not_listed_stays_or_goes(pair):
    one, _two = pair
    more = [{"sci": sci(2)}, {"sci": sci(7), "sa": [sa(3, K4)]}]
    one.twice(name="macsec0", tx=[sa(1, K3, active=False)], rx=more)
    told = one.device()
    assert [(item["an"], item["active"]) for item in told["tx"]] == [(0, True), (1, False)]
    assert {channel["sci"]: [item["an"] for item in channel["sa"]] for channel in told["rx"]} == {
        sci(2): [0],
        sci(7): [3],
    }
    one.twice(name="macsec0", rx=[{"sci": sci(7), "active": False}], purge_associations="listed")
    told = one.device()
    assert [(channel["sci"], channel["active"], len(channel["sa"])) for channel in told["rx"]] == [(sci(7), False, 1)]
    assert len(told["tx"]) == 2
    one.twice(name="macsec0", tx=[], rx=[], purge_associations="listed")
    told = one.device()
    assert (told["tx"], told["rx"]) == ([], [])


# Keys


def test_a_wrong_key_lets_nothing_in_and_is_counted(hosts):
    one, two = hosts
    one.macsec(**device([sa(0, K1)], 2, [sa(0, K2)]))
    two.macsec(**device([sa(0, K2)], 1, [sa(0, K3)]))
    addressed(one, two)
    one.sh("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev macsec0")
    two.sh("ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev macsec0")
    assert ping(one, "10.0.0.2") == 0
    [channel] = two.device()["rx"]
    assert channel["statistics"]["InPktsNotValid"] >= 5 and channel["statistics"]["InPktsOK"] == 0
    assert two.shown()["rx_sc"][0]["InPktsNotValid"] >= 5


def test_frames_without_macsec_are_dropped(pair):
    one, two = pair
    one.sh("ip addr add 10.0.0.9/24 dev eth0")
    before = two.device()["statistics"]["InPktsNoTag"]
    with one.here():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind(("eth0", 0))
        frame = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + b"\x45" + bytes(60)
        for _turn in range(7):
            raw.send(frame)
        raw.close()
    assert two.device()["statistics"]["InPktsNoTag"] == before + 7


# Packet numbers


def gone(host, how):
    if how == "a reboot":
        host.boot = "the next boot"
    host.sh("ip link del macsec0")


@pytest.mark.parametrize("how", ["a reboot", "another hand"])
def test_a_key_whose_packet_numbers_are_lost_is_not_sent_with_again(pair, how):
    one, _two = pair
    options = device([sa(0, K1)], 2, [sa(0, K2)])
    gone(one, how)
    before = one.record()
    for checking in (True, False):
        with pytest.raises(
            RefusedError, match="macsec0: tx an 0: key .* was in use for transmit as an 0.*NIST SP 800-38D"
        ):
            one.macsec(checking, **options)
    for number in (1, 2**31):
        with pytest.raises(RefusedError, match="not known any more"):
            one.macsec(**device([sa(0, K1, pn=number)], 2, [sa(0, K2)]))
    with pytest.raises(RefusedError, match="not known any more"):
        one.macsec(**device([sa(1, K1)], 2, [sa(0, K2)], encodingsa=1))
    assert one.record() == before and one.info()["devices"] == []
    one.twice(**device([sa(1, K3)], 2, [sa(0, K2)], encodingsa=1))


def test_after_a_reboot_the_playbook_brings_it_back_with_another_epoch(fabric):
    one, two = fabric.values()
    epoch = two.device()["epochs"]["current"]["epoch"]
    gone(two, "a reboot")
    for host in fabric.values():
        host.macsec(name="macsec0", dev="eth0", replay=True, window=32, up=True)
    told = asked(fabric)
    assert told["two"]["epochs"]["current"] is None and told["two"]["epochs"]["fresh"]["an"] == 1
    for which in macsec_keys.STEPS:
        step(fabric, told, which, rotate=False)
    two.sh("ip addr add 10.0.0.2/24 dev macsec0")
    assert ping(one, "10.0.0.2") == 5
    now = asked(fabric)
    assert now["one"]["tx"][0]["key_id"] == told["one"]["tx"][0]["key_id"], "who was not rebooted keeps its key"
    assert now["two"]["epochs"]["current"]["epoch"] not in (None, epoch)
    lowest = [channel["sa"][0]["pn"] for channel in now["two"]["rx"]]
    assert lowest[0] > told["one"]["epochs"]["current"]["pn"], "the rebooted one takes no frames from before"


def test_what_the_module_ends_goes_on_above_its_packet_numbers(pair):
    one, _two = pair
    options = device([sa(0, K1)], 2, [sa(0, K2)])
    reached = one.device()["tx"][0]["pn"]
    assert reached > 5
    one.twice(name="macsec0", state="absent")
    [row] = one.record()
    assert row.pn == reached + model.MARGIN and row.sci == sci(1)
    with pytest.raises(RefusedError, match=f"pn: 100 may have been used .* give {row.pn} or more"):
        one.macsec(**device([sa(0, K1, pn=100)], 2, [sa(0, K2)]))
    one.twice(**options)
    assert one.shown()["sa_list"][0]["pn"] >= row.pn
    assert one.record()[0].pn is None
    one.macsec(name="macsec0", tx=[], purge_associations="listed")
    sealed = one.record()[0].pn
    assert sealed >= row.pn + model.MARGIN
    one.twice(name="macsec0", tx=[sa(2, K1)], encodingsa=2)
    assert one.shown()["sa_list"][0]["pn"] >= sealed


def test_a_device_made_anew_goes_on_above_its_packet_numbers(pair):
    one, two = pair
    reached = one.device()["tx"][0]["pn"]
    with pytest.raises(
        RefusedError, match="icvlen .*cannot change.*would lose its 1 transmit associations and 1 receive channels"
    ):
        one.macsec(name="macsec0", icvlen=12)
    done = one.twice(name="macsec0", icvlen=12, recreate=True, tx=[sa(0, K1)], rx=[{"sci": sci(2), "sa": [sa(0, K2)]}])
    assert done.result["devices"][0]["action"] == "recreated"
    assert one.shown()["sa_list"][0]["pn"] >= reached + model.MARGIN
    two.twice(name="macsec0", icvlen=12, recreate=True, tx=[sa(0, K2)], rx=[{"sci": sci(1), "sa": [sa(0, K1)]}])
    for number, host in enumerate(pair, 1):
        host.sh(f"ip addr replace 10.0.0.{number}/24 dev macsec0")
    assert ping(one, "10.0.0.2") == 5


def test_one_key_is_not_sent_with_under_two_numbers(pair):
    one, _two = pair
    with pytest.raises(RefusedError, match="tx an 1: key .* is in use as an 0"):
        one.macsec(name="macsec0", tx=[sa(1, K1)], encodingsa=1)


def test_a_key_that_is_used_up_is_not_begun_again(pair):
    one, two = pair
    two.macsec(name="macsec0", rx=[{"sci": sci(1), "sa": [sa(1, K3)]}])
    one.sh("ip macsec set macsec0 tx sa 0 pn 4294967290 on")
    assert one.device()["tx"][0]["pn_used"] > 0.99999
    assert ping(one, "10.0.0.2", 20) < 10
    [told] = one.device()["tx"]
    assert (told["active"], told["pn"], told["pn_used"]) == (False, 0, 1.0)
    for options in ({}, {"recreate": True}):
        with pytest.raises(RefusedError, match="tx an 0: key .* has no packet numbers left"):
            one.macsec(name="macsec0", tx=[sa(0, K1)], **options)
    one.twice(name="macsec0", tx=[sa(1, K3)], encodingsa=1, purge_associations="listed")
    assert ping(one, "10.0.0.2") == 5
    with pytest.raises(RefusedError, match="has no packet numbers left"):
        one.macsec(name="macsec0", tx=[sa(2, K1)])


def test_an_association_made_by_hand_is_recorded(hosts):
    one, _two = hosts
    key_id = model.key_id(bytes.fromhex(K1))
    one.sh("ip link add link eth0 macsec0 type macsec", f"ip macsec add macsec0 tx sa 0 pn 500 on key {key_id} {K1}")
    done = one.twice(name="macsec0", tx=[sa(0, K1)])
    assert "was not in the record" in done.warnings[0]
    assert one.shown()["sa_list"][0]["pn"] == 500
    gone(one, "a reboot")
    with pytest.raises(RefusedError, match="not known any more"):
        one.macsec(name="macsec0", dev="eth0", tx=[sa(0, K1)])


def test_an_id_of_ones_own_must_change_with_the_key(hosts):
    one, _two = hosts
    own = {"key_id": "00" * 15 + "01"}
    one.twice(name="macsec0", dev="eth0", tx=[sa(0, K1, **own)])
    assert one.shown()["sa_list"][0]["key"] == own["key_id"]
    with pytest.raises(RefusedError, match="stands for another key"):
        one.macsec(name="macsec0", tx=[sa(0, K2, **own)])


def test_a_record_that_is_damaged_lets_no_key_be_used(pair):
    one, _two = pair
    path = one.disk / "macsec.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert K1 not in path.read_text()
    path.write_text("[{")
    with pytest.raises(FabricError, match="is damaged"):
        one.macsec(name="macsec0", tx=[sa(0, K1)])


# What is refused before anything is changed


def test_what_does_not_work_is_refused_by_name(hosts):
    one, _two = hosts
    one.sh("ip link add br0 type bridge", "ip link add v1 type veth peer name v2", "ip link set v1 master br0")
    one.macsec(name="macsec0", dev="eth0")
    before = one.sh("ip -j link")
    second = {"name": "macsec1", "dev": "eth0"}
    for error, words, options in (
        (RefusedError, "eth0: it is a device of kind veth, not macsec", {"name": "eth0", "dev": "v2"}),
        (InputError, "macsec1: dev: there is no device eth9", {"name": "macsec1", "dev": "eth9"}),
        (InputError, "macsec1: dev: v1 is a port of br0", {"name": "macsec1", "dev": "v1"}),
        (InputError, f"macsec1: sci: {sci(1)} is that of macsec0 on eth0 already", second),
        (InputError, "mtu: 1469 does not fit eth0 of mtu 1500; at most 1468", {**second, "port": 2, "mtu": 1469}),
        (RefusedError, "macsec0: sci .* cannot change on a device that exists", {"name": "macsec0", "sci": sci(5)}),
        (RefusedError, "macsec0: port .* cannot change", {"name": "macsec0", "port": 5}),
        (RefusedError, "macsec0: cipher .* cannot change", {"name": "macsec0", "cipher": "gcm-aes-256"}),
        (RefusedError, "macsec0: dev .* cannot change", {"name": "macsec0", "dev": "v2"}),
        (RefusedError, "macsec0: address .* cannot change", {"name": "macsec0", "address": "02:00:00:00:00:77"}),
        (InputError, "rx .* that is the device's own SCI", {"name": "macsec0", "rx": [{"sci": sci(1), "sa": []}]}),
        (InputError, "encodingsa: 0 has no active association in tx.*active are: 1", {"name": "macsec0", "tx": [sa(1, K1)]}),
        (InputError, "tx an 0: key: it has 256 bits, and gcm-aes-128 takes 128", {"name": "macsec0", "tx": [sa(0, K1 * 2)]}),
        (InputError, "tx an 0: salt: gcm-aes-128 has none", {"name": "macsec0", "tx": [sa(0, K1, **XPN)]}),
        (InputError, "replay: it needs window", {"name": "macsec0", "replay": True}),
        (InputError, "send_sci, scb: only one", {"name": "macsec0", "scb": True}),
        (InputError, "dev: a new MACsec device needs it", {"name": "macsec1"}),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            one.macsec(**options)
    assert one.sh("ip -j link") == before
    with pytest.raises(KernelError, match=r"not supported: eth0 cannot do MACsec in its hardware \(offload: mac\)"):
        one.macsec(name="macsec1", dev="eth0", port=2, offload="mac")


def test_more_channels_than_the_kernel_can_tell_are_told_so(hosts):
    one, _two = hosts
    channels = [{"sci": f"0200000001{number:02x}0001", "sa": [sa(0, K2)]} for number in range(90)]
    one.twice(name="macsec0", dev="eth0", rx=channels)
    assert len(one.device()["rx"]) == 90
    both = [{**channel, "sa": [sa(0, K2), sa(1, K1)]} for channel in channels]
    two = {"name": "macsec1", "dev": "eth0", "port": 2}
    most = [{**channel, "sci": channel["sci"][:12] + "0002"} for channel in both]
    most += [{"sci": f"0200000001{number:02x}0002", "sa": both[0]["sa"]} for number in range(90, 95)]
    with pytest.raises(
        InputError, match="macsec1: rx: 95 channels with 190 associations, .* more than the kernel can tell"
    ):
        one.macsec(**two, rx=most)
    one.twice(**two, rx=most[:94])
    assert len(one.device("macsec1")["rx"]) == 94 and not one.info()["unreadable"]
    one.macsec(name="macsec1", state="absent")
    for number in range(90, 200):
        one.sh(f"ip macsec add macsec0 rx port 1 address 02:00:00:00:01:{number:02x}")
    assert one.info()["unreadable"] == ["macsec0"] and one.device()["rx"] is None
    with pytest.raises(InputError, match="macsec0: the kernel does not tell its channels"):
        one.macsec(name="macsec0", rx=channels)


def test_purge_takes_devices_of_ours_only(hosts):
    one, _two = hosts
    one.sh("ip link add link eth0 theirs type macsec port 9")
    one.macsec(
        devices=[
            {"name": "m1", "dev": "eth0", "port": 1, "alias": "vtep.fabric"},
            {"name": "m2", "dev": "eth0", "port": 2, "alias": "vtep.fabric", "tx": [sa(0, K1)]},
        ]
    )
    done = one.macsec(devices=[{"name": "m1"}], purge="owned")
    assert {item["name"]: item["action"] for item in done.result["devices"]} == {"m1": "none", "m2": "removed"}
    assert {item["name"] for item in one.info()["devices"]} == {"m1", "theirs"}
    assert one.record()[0].pn == 1 + model.MARGIN


def test_no_error_or_result_has_a_key(pair):
    one, _two = pair
    done = one.macsec(name="macsec0", tx=[sa(1, K3)], encodingsa=1)
    with pytest.raises(RefusedError) as caught:
        one.macsec(name="macsec0", tx=[sa(1, K4)])
    words = json.dumps([done.result, done.before, done.after, done.warnings, str(caught.value), repr(one.record())])
    assert not [key for key in (K1, K2, K3, K4) if key in words]

"""The xfrm module on hosts with VXLAN between them, judged by packets, captures and `ip xfrm`. Wants a kernel with ESP: tools/full."""

import errno
import json
import os
import socket
import stat
import time
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import xfrm as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    InputError,
    KernelError,
    RefusedError,
    VerifyError,
)
from ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm_mesh import mesh
from ansible_collections.vtep.fabric.plugins.modules import xfrm, xfrm_info
from xfrm_support import (
    KEYS,
    MARKER,
    MARKS,
    PORT,
    Fabric,
    Pings,
    Wire,
    encrypt,
    forged,
    inject,
    key,
    on,
    pair,
    policies,
    udp_encap,
)

pytestmark = MARKS
ESP = (50, None)
ONE_FAMILY = pytest.mark.parametrize(
    "fabric", [6], indirect=True, ids=["ipv6"]
)  # where the other would be the same again


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def fabric(request, tmp_path):
    made = Fabric(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def pings(fabric):
    made = Pings(fabric)
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("algorithm", KEYS)
def test_what_goes_over_the_wire_is_esp_and_nothing_else(fabric, pings, algorithm, mode):
    with Wire(fabric) as wire:
        assert pings.go() == 5
    assert wire.kinds() == {(17, PORT): 10} and wire.clear()  # so that a capture that sees nothing is no proof
    states = pair(fabric, algorithm, mode)
    given = [
        {
            "states": on(fabric, host, states),
            "policies": policies(fabric, host, 0x1000 + number, mode=mode),
            "purge": "owned",
        }
        for number, host in enumerate((fabric.a, fabric.b))
    ]
    for host, rows in zip((fabric.a, fabric.b), given):
        assert host.run(**rows).result["rows"]["added"] == 5
    with Wire(fabric) as wire:
        assert pings.go(20) == 20
    assert wire.kinds() == {ESP: 40} and not wire.clear()
    assert not fabric.a.run(**given[0]).changed
    assert fabric.a.packets() == fabric.b.packets() == {0x1000: 20, 0x1001: 20}
    assert {(one["spi"], one["oseq"]) for one in fabric.a.info()["states"]} == {(0x1000, 20), (0x1001, 0)}
    assert {(one["spi"], one["seq"]) for one in fabric.b.info()["states"]} == {(0x1001, 0), (0x1000, 20)}


def test_with_policies_and_no_states_nothing_gets_through_and_without_them_all_goes_in_clear(fabric, pings):
    states = pair(fabric)
    assert encrypt(fabric, states) == [(5, 0, 0, 0)] * 2
    assert pings.go() == 5
    assert encrypt(fabric, []) == [(0, 0, 2, 3)] * 2
    assert pings.go(3) == 0
    for host in (fabric.a, fabric.b):
        assert host.counted(states=[], policies=[], purge="owned") == (0, 0, 3, 0)
    with Wire(fabric) as wire:
        assert pings.go() == 5
    assert wire.clear()


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_esp_in_udp(fabric, pings, mode):
    sockets = [udp_encap(host, fabric.family) for host in (fabric.a, fabric.b)]
    states = pair(fabric, mode=mode, encap=True, esn=True, replay_window=1024, flags=["nopmtudisc"])
    encrypt(fabric, states, mode=mode)
    with Wire(fabric) as wire:
        assert pings.go() == 5
    assert wire.kinds() == {(17, 4500): 10} and not wire.clear()
    assert "type espinudp sport 4500 dport 4500" in fabric.a.sh("ip xfrm state")
    for sock in sockets:
        sock.close()


def test_frames_in_clear_are_dropped(fabric, pings):
    stranger, spoofed = fabric.rogue.address, fabric.a.address
    pings.go(1)

    def arrived():
        before = pings.strangers
        for number, source in enumerate((stranger, spoofed)):
            inject(fabric, forged(fabric, source, 1000 + number))
        pings.go(2, patience=0.2)
        return pings.strangers - before

    assert arrived() == 2  # without IPsec anybody can put frames into the overlay
    encrypt(fabric, pair(fabric))
    assert arrived() == 0
    assert fabric.b.drops("XfrmInTmplMismatch") == 1  # the one in the name of a
    assert fabric.b.drops("XfrmInPolBlock") == 1  # the one of somebody else
    assert pings.go() == 5


def test_a_wrong_key_gets_nothing_through_and_is_told(fabric, pings):
    states = pair(fabric)
    encrypt(fabric, states)
    wrong = [{**states[0], "key": key(36)}, states[1]]
    outcome = fabric.b.run(
        states=on(fabric, fabric.b, wrong), policies=policies(fabric, fabric.b, 0x1001), purge="owned"
    )
    assert outcome.result["rows"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 4}
    assert outcome.after == outcome.before[:-1] + " with another key\n"
    for text in (outcome.before, outcome.after, str(outcome.result), repr(outcome)):
        assert wrong[0]["key"][2:] not in text and states[0]["key"][2:] not in text
    assert pings.go() == 0
    assert fabric.b.drops("XfrmInStateProtoError") == 5
    assert [one["errors"]["integrity_failed"] for one in fabric.b.info()["states"] if one["spi"] == 0x1000] == [5]


def test_keys_rotate_under_way_and_nothing_is_lost(fabric, pings):
    old, new = pair(fabric), pair(fabric, spi=0x2000)
    hosts = list(enumerate((fabric.a, fabric.b)))
    encrypt(fabric, old)
    with Wire(fabric) as wire, pings.running(interval=0.01):
        time.sleep(0.3)
        for number, host in hosts:  # what comes in is understood everywhere
            outcome = host.run(
                states=on(fabric, host, old + new), policies=policies(fabric, host, 0x1000 + number), purge="owned"
            )
            assert outcome.result["rows"]["added"] == 2
        assert 0x2000 not in {spi for spi, packets in fabric.a.packets().items() if packets}
        for number, host in hosts:  # then it goes out
            outcome = host.run(
                states=on(fabric, host, old + new), policies=policies(fabric, host, 0x2000 + number), purge="owned"
            )
            assert outcome.result["rows"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 6}
        time.sleep(0.3)
        for number, host in hosts:  # then the old ones go
            outcome = host.run(
                states=on(fabric, host, new), policies=policies(fabric, host, 0x2000 + number), purge="owned"
            )
            assert outcome.result["rows"] == {"added": 0, "changed": 0, "removed": 2, "unchanged": 5}
        time.sleep(0.3)
    assert pings.sent > 60 and not pings.lost
    assert set(wire.kinds()) == {ESP} and not wire.clear()
    assert set(fabric.a.packets()) == {0x2000, 0x2001}
    assert fabric.a.packets()[0x2000] > 20


@ONE_FAMILY
def test_without_an_spi_the_newest_state_is_used(fabric, pings):
    old, new = pair(fabric), pair(fabric, spi=0x2000)
    encrypt(fabric, old)
    for host in (fabric.a, fabric.b):
        host.run(policies=policies(fabric, host))
    assert pings.go() == 5
    time.sleep(1.1)  # the kernel counts a state's age in whole seconds
    for host in (fabric.a, fabric.b):
        host.run(states=on(fabric, host, new), policies=[])
    assert pings.go() == 5
    assert fabric.a.packets() == {0x1000: 5, 0x1001: 5, 0x2000: 5, 0x2001: 5}


@ONE_FAMILY
def test_runs_leave_sequence_numbers_alone(fabric, pings):
    states = pair(fabric, esn=True)
    encrypt(fabric, states)
    pings.go()
    assert not fabric.a.run(
        states=on(fabric, fabric.a, states), policies=policies(fabric, fabric.a, 0x1000), purge="owned"
    ).changed
    changed = [{**one, "priority": "900"} for one in policies(fabric, fabric.a, 0x1000)]
    assert (
        fabric.a.run(states=on(fabric, fabric.a, states), policies=changed, purge="owned").result["rows"]["changed"]
        == 3
    )
    pings.go()
    assert {one["oseq"] for one in fabric.a.info()["states"]} == {0, 10}
    assert fabric.a.packets() == {0x1000: 10, 0x1001: 10}


def test_rows_of_others_stay_and_are_not_overwritten(fabric):
    four = "src 203.0.113.1 dst 203.0.113.2 proto esp"
    fabric.a.ip(
        f"xfrm state add {four} spi 0x1000 reqid 1 mode tunnel aead rfc4106(gcm(aes)) {key(20)} 128",
        f"xfrm state add {four} spi 0x2000 mark 5 mask 0xff enc cbc(aes) {key(16)} auth-trunc hmac(sha256) {key(32)} 96",
        "xfrm state add src 203.0.113.1 dst 203.0.113.2 proto ah spi 0x3000 auth hmac(sha256) 0x0011",
        "xfrm policy add src 10.0.0.0/8 dst 0.0.0.0/0 dir fwd action block",
        f"xfrm policy add src 10.0.0.0/8 dst 0.0.0.0/0 proto udp dport {PORT} dir out mark 1 mask 1 tmpl proto esp reqid 7",
    )
    theirs = fabric.a.shown()
    states = on(fabric, fabric.a, pair(fabric))
    assert fabric.a.counted(states=states, policies=policies(fabric, fabric.a), purge="owned") == (5, 0, 0, 0)
    assert fabric.a.counted(states=[], policies=[], purge="owned") == (0, 0, 5, 0)
    assert fabric.a.shown() == theirs
    told = fabric.a.info()
    assert [row["owned"] for row in told["states"] + told["policies"]] == [False] * 5 and fabric.a.info(True) == {
        "states": [],
        "policies": [],
    }
    mine = {
        "src": "203.0.113.9",
        "dst": "203.0.113.2",
        "dir": "in",
        "mode": "transport",
        "algorithm": "aes-gcm",
        "key": key(20),
    }
    policy = {"dir": "fwd", "src": "10.0.0.0/8", "dst": "0.0.0.0/0"}
    for check in (True, False):
        for more in ({"mark": "7"}, {}):  # their state takes packets of every mark
            with pytest.raises(
                RefusedError,
                match=r"belong to others.* spi 0x1000 reqid 1 mode tunnel aead rfc4106\(gcm\(aes\)\) 160-bit-key 128",
            ):
                fabric.a.run(check, states=[{**mine, "spi": "0x1000", **more}])
        with pytest.raises(
            RefusedError, match="policy dir fwd src 10.0.0.0/8 dst 0.0.0.0/0 priority 0 action block .of another owner"
        ):
            fabric.a.run(check, policies=[policy])
        with pytest.raises(RefusedError, match="belong to others"):
            fabric.a.run(check, states=[{**mine, "spi": "0x1000"}], state="absent")
    assert fabric.a.shown() == theirs
    assert fabric.a.counted(
        states=[{**mine, "spi": "0x2000", "mark": "6/0xff"}], policies=[{**policy, "mark": "6"}]
    ) == (2, 0, 0, 0)
    assert fabric.a.counted(
        states=[{"src": "203.0.113.9", "dst": "203.0.113.2", "spi": "0x2000", "mark": "6/0xff"}], state="absent"
    ) == (0, 0, 1, 0)
    assert fabric.a.counted(policies=[{**policy, "mark": "6"}, policy | {"mark": "8"}], state="absent") == (0, 0, 1, 0)
    assert fabric.a.shown() == theirs


def test_templates_that_change_the_family(fabric):
    """From IPv6 into a tunnel of IPv4, and that into transport; the other way round for IPv4."""
    inner, outer = (("10.1.0.1", "10.1.0.2"), ("fd00::1", "fd00::2"))[:: -1 if fabric.family == 6 else 1]
    ends = dict(zip(("src", "dst"), outer))
    policy = {"dir": "out", **dict(zip(("src", "dst"), inner)), "priority": "3"}
    templates = [{"mode": "tunnel", "reqid": "1", **ends}, {"mode": "transport", "reqid": "2"}]
    one = {**policy, "tmpl": templates}
    assert fabric.a.counted(states=[], policies=[one]) == (1, 0, 0, 0)
    wrong = {"mode": "transport", "reqid": "2", **dict(zip(("src", "dst"), inner))}
    with pytest.raises(InputError, match="tmpl 2: its addresses are not of IPv"):
        fabric.a.run(states=[], policies=[{**policy, "tmpl": [templates[0], wrong]}])


@ONE_FAMILY
def test_a_key_is_used_for_output_once(fabric, pings):
    states = pair(fabric)
    encrypt(fabric, states)
    assert stat.S_IMODE(fabric.a.record.stat().st_mode) == 0o600
    text = fabric.a.record.read_text()
    assert len(text.splitlines()) == 2 and states[0]["key"][2:] not in text
    fabric.a.sh("ip xfrm state flush")  # as a reboot does
    given = {"states": on(fabric, fabric.a, states), "policies": policies(fabric, fabric.a, 0x1000), "purge": "owned"}
    before = fabric.a.shown()
    for check in (True, False):
        with pytest.raises(
            RefusedError, match="used for output before.* spi 0x1000 .*Give them new keys on both hosts"
        ):
            fabric.a.run(check, **given)
    assert fabric.a.shown() == before
    fabric.a.run(states=given["states"][1:])  # what comes in has its sequence numbers on the other host
    encrypt(fabric, pair(fabric, spi=0x3000), 0x3000)
    assert pings.go() == 5
    again = on(fabric, fabric.a, pair(fabric, "aes-cbc-sha256", spi=0x4000))
    for _turn in range(2):  # whose first block is random, not counted
        assert fabric.a.run(states=again).changed
        fabric.a.sh("ip xfrm state flush")


@ONE_FAMILY
def test_a_key_that_moves_to_another_state_is_refused_even_without_the_record(fabric):
    states = on(fabric, fabric.a, pair(fabric))
    fabric.a.run(states=states)
    fabric.a.record.unlink()
    for more in ({"spi": "0x5000"}, {"reqid": "8"}):
        with pytest.raises(RefusedError, match="used for output before"):
            fabric.a.run(states=[{**states[0], **more}, states[1]], purge="owned")


@ONE_FAMILY
def test_a_key_of_a_state_that_comes_in_is_refused_for_output(fabric):
    out, back = on(fabric, fabric.a, pair(fabric))
    fabric.a.run(states=[back])
    with pytest.raises(RefusedError, match="nothing was changed: the keys of these states are those of other states"):
        fabric.a.run(states=[{**out, "key": back["key"]}])
    assert len(fabric.a.info()["states"]) == 1 and not fabric.a.record.exists()


@ONE_FAMILY
def test_what_the_kernel_refuses_does_not_use_up_a_key(fabric, monkeypatch):
    states = on(fabric, fabric.a, pair(fabric))
    bad = dict(states[0], spi="0x1005", key=key(36))
    body = kernel.state_body
    monkeypatch.setattr(kernel.Xfrm, "check", lambda self, states: None)

    def spoilt(state):
        made = body(state)
        return made if state.spi != 0x1005 else made[:212] + b"\xff" + made[213:]  # of no family

    monkeypatch.setattr(kernel, "state_body", spoilt)
    with pytest.raises(KernelError, match=r"xfrm create state .* spi 0x1005 .*Invalid"):
        fabric.a.run(states=[*states, bad])
    assert len(fabric.a.info()["states"]) == 2
    monkeypatch.undo()
    assert fabric.a.counted(states=[*states, bad]) == (1, 0, 0, 2)
    assert len(fabric.a.record.read_text().splitlines()) == 3


@ONE_FAMILY
def test_key_files(fabric, tmp_path):
    states = on(fabric, fabric.a, pair(fabric, "aes-cbc-sha256"))
    path = tmp_path / "key"
    path.write_text(f"{states[0].pop('key')}\n{states[0].pop('auth_key')}\n")
    path.chmod(0o640)
    states[0]["key_file"] = str(path)
    with pytest.raises(
        InputError, match="states row 1: key_file: .* has mode 0640, so that others may read it; chmod 0600"
    ):
        fabric.a.run(states=states)
    path.chmod(0o600)
    os.chown(path, 65534, 0)
    with pytest.raises(InputError, match="belongs to user 65534"):
        fabric.a.run(states=states)
    os.chown(path, 0, 0)
    assert fabric.a.counted(states=states) == (2, 0, 0, 0)
    table = tmp_path / "table"
    algorithm = f"aead rfc4106(gcm(aes)) {key(20)} 128"
    table.write_text(
        f"state src {fabric.a.address} dst {fabric.b.address} proto esp spi 0x1001 mode transport "
        f"dir out key-file {path} algorithm aes-cbc-sha256\n"
        f"state src {fabric.b.address} dst {fabric.a.address} proto esp spi 0x1002 reqid 9 mode tunnel dir in {algorithm} replay-window 32 "
        f"flag noecn flag esn mark 1 mask 0xf if_id 3 sel src {fabric.b.address} dst {fabric.a.address} proto udp dport 4789\n"
        f"policy src {fabric.a.address} dst {fabric.b.address} dir out priority 3 tmpl proto esp spi 0x1001 mode transport\n"
    )
    with pytest.raises(InputError, match="src: .* may read it"):
        fabric.a.run(src=str(table))
    table.chmod(0o600)
    assert fabric.a.counted(src=str(table)) == (3, 0, 0, 0)
    shown = fabric.a.sh("ip xfrm state")
    assert f"{algorithm}\n" in shown and "flag noecn esn" in shown and "mark 0x1/0xf" in shown and "if_id 0x3" in shown


def test_each_host_of_a_mesh_speaks_in_its_own_name_only(fabric, pings):
    hosts = [{"name": name, "address": getattr(fabric, name).address, "epoch": "1"} for name in ("a", "b", "rogue")]
    secret = key(32)

    def spread():
        for name in ("a", "b", "rogue"):
            getattr(fabric, name).counted(**mesh(hosts, name, secret), purge="owned")

    spread()
    with Wire(fabric) as wire:
        assert pings.go() == 5
    assert wire.kinds() == {ESP: 10}
    before = set(fabric.a.packets())
    hosts[1]["epoch"] = "2"  # b booted
    spread()
    assert pings.go() == 5
    assert len(before & set(fabric.a.packets())) == 2  # those with the third host
    # The third host, which has keys, in the name of a: by the state between itself and b, from the address of a.
    out = next(state for state in mesh(hosts, "rogue", secret)["states"] if state["dst"] == fabric.b.address)
    length = 32 if fabric.family == 4 else 128
    state = {**out, "src": fabric.a.address, "sel": {"dst": fabric.b.address, "src": f"{fabric.a.address}/{length}"}}
    fabric.rogue.ip(
        "xfrm state flush",
        "xfrm policy flush",
        f"addr add {fabric.a.address}/{length} dev lo" + (" nodad" if fabric.family == 6 else ""),
        # It would ask for b's neighbour entry from its link-local address, which is tentative for a second or two.
        f"neigh replace {fabric.b.address} lladdr {fabric.b.mac} dev u0",
    )
    fabric.rogue.record.unlink()
    tmpl = {"mode": "transport", "spi": out["spi"], "reqid": str(out["reqid"])}
    fabric.rogue.run(states=[state], policies=[{**policies(fabric, fabric.a)[0], "tmpl": [tmpl]}])
    sock = fabric.rogue.socket(socket.AF_INET6 if fabric.family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    payload = forged(fabric, fabric.a.address, 5000)[14 + (40 if fabric.family == 6 else 20) + 8 :]
    assert MARKER in payload
    sock.bind((fabric.a.address, 0))
    sock.sendto(payload, (fabric.b.address, PORT))
    sock.close()
    pings.go(2, patience=0.2)
    assert pings.strangers == 0
    assert fabric.b.drops("XfrmInStateMismatch") == 1


@ONE_FAMILY
def test_states_take_the_places_of_those_that_packets_wait_by(fabric, pings):
    """A template that names an SPI, traffic, and a listener on ACQUIRE make a larval state."""
    states = pair(fabric)
    listener = fabric.a.socket(socket.AF_NETLINK, socket.SOCK_RAW, kernel.NETLINK_XFRM)
    listener.bind((0, 1))  # XFRMNLGRP_ACQUIRE
    encrypt(fabric, [])
    assert pings.go(1) == 0
    larval = fabric.a.sh("ip xfrm state")
    assert "spi 0x00001000" in larval and "aead" not in larval
    assert encrypt(fabric, states) == [(2, 0, 0, 3)] * 2
    assert pings.go() == 5
    listener.close()


@ONE_FAMILY
def test_a_state_for_all_marks_takes_the_places_of_those_with_one(fabric):
    back = on(fabric, fabric.a, pair(fabric))[1]
    marked = [{**back, "mark": mark, "key": key(36)} for mark in ("5", "6/0xff")]
    assert fabric.a.counted(states=marked) == (2, 0, 0, 0)
    assert fabric.a.counted(states=[back], purge="owned") == (0, 1, 1, 0)
    assert fabric.a.counted(states=[{**back, "mark": "5"}], purge="owned") == (0, 1, 0, 0)


def test_states_stay_where_path_mtu_discovery_is_off(fabric):
    with fabric.a.here():
        Path("/proc/sys/net/ipv4/ip_no_pmtu_disc").write_text("1")
    states = on(fabric, fabric.a, pair(fabric))
    assert fabric.a.counted(states=states) == (2, 0, 0, 0)
    assert ("nopmtudisc" in fabric.a.sh("ip xfrm state")) == (fabric.family == 4)


@ONE_FAMILY
def test_what_is_not_there_in_the_end_is_told(fabric, monkeypatch):
    monkeypatch.setattr(kernel.Xfrm, "write", lambda self, operation: None)
    with pytest.raises(VerifyError, match="spi 0x1000 .* is missing"):
        fabric.a.run(states=on(fabric, fabric.a, pair(fabric)))


@ONE_FAMILY
def test_a_kernel_that_tells_no_keys_is_believed(fabric, monkeypatch):
    """With lockdown=confidentiality the kernel tells zeros for keys (LOCKDOWN_XFRM_SECRET)."""
    states = on(fabric, fabric.a, pair(fabric)) + on(fabric, fabric.a, pair(fabric, "aes-cbc-sha256", spi=0x2000))
    fabric.a.run(states=states)
    keys = [bytes.fromhex(state[name][2:]) for state in states for name in ("key", "auth_key") if name in state]
    dump = kernel.Xfrm._dump

    def locked(self, kind, what):
        found = []
        for data, start, end in dump(self, kind, what):
            text = data[start:end]
            for secret in keys:
                text = text.replace(secret, bytes(len(secret)))
            found.append((text, 0, len(text)))
        return found

    monkeypatch.setattr(kernel.Xfrm, "_dump", locked)
    assert not fabric.a.run(states=states).changed
    assert (
        fabric.a.run(True, states=[{**states[0], "reqid": "9", "key": key(36)}, *states[1:]]).result["rows"]["changed"]
        == 1
    )


def test_encapsulation_that_the_kernel_lacks_is_named(fabric, monkeypatch):
    replaced = kernel.Xfrm._replaced

    def lacking(self, state):
        return (errno.EINVAL, os.strerror(errno.EINVAL)) if state.shape.encap else replaced(self, state)

    monkeypatch.setattr(kernel.Xfrm, "_replaced", lacking)
    states = on(fabric, fabric.a, pair(fabric, encap=True))
    told = {
        4: "over IPv4, as a try: Invalid argument",
        6: "kernel has no ESP in UDP over IPv6: Linux 5.8",
    }
    with pytest.raises(Exception, match=told[fabric.family]):
        fabric.a.run(True, states=states)


@ONE_FAMILY
def test_what_a_module_prints_and_logs_has_no_key(fabric, capsys, monkeypatch):
    states = on(fabric, fabric.a, pair(fabric)) + on(fabric, fabric.a, pair(fabric, "aes-cbc-sha256", spi=0x2000))
    new = [{**state, "key": key(len(state["key"]) // 2 - 1)} for state in states]
    secrets = [state[name][2:] for state in states + new for name in ("key", "auth_key") if name in state]
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, *words, **more: logged.append(str((words, more))))

    def run(main, checking=False, **arguments):
        given = {**arguments, "_ansible_check_mode": checking, "_ansible_diff": True}
        with fabric.a.here(), patch_module_args(given), pytest.raises(SystemExit):
            main()
        out = capsys.readouterr().out
        assert not [secret for secret in secrets if secret in out or secret in "".join(logged)]
        return json.loads(out)

    checked, made, again = (run(xfrm.main, checking, states=states) for checking in (True, False, False))
    assert checked["diff"] == made["diff"] and made["changed"] and not again["changed"]
    assert "spi 0x2000" in made["diff"]["after"] and logged
    assert run(xfrm.main, states=new)["diff"]["after"].count("with another key") == 4
    assert len(run(xfrm_info.main)["states"]) == 4
    assert run(xfrm.main, states=[{**new[0], "spi": 1, "key": new[0]["key"] + "zz"}])["failed"]
    assert run(xfrm.main, states=states)["failed"]  # their keys went out before

"""The xfrm module on a kernel with or without ESP, in a private network namespace: policies, and what is missed by name.

States want ESP: tests/full/test_xfrm.py.
"""

import errno
import re
import socket
import sys
from functools import partial

import playbook_support
import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm, xfrm_keys
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, rtnl
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import xfrm as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError, MissingError, RefusedError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_read import from_entries
from device_support import MARKS, private, sh
from table_support import counted

pytestmark = MARKS
KEY = "0x" + bytes(range(1, 21)).hex()
STATE = {
    "src": "2001:db8:1::1",
    "dst": "2001:db8:2::1",
    "spi": "0x1001",
    "dir": "out",
    "mode": "transport",
    "algorithm": "aes-gcm",
    "key": KEY,
}
FOUR = {**STATE, "src": "192.0.2.1", "dst": "192.0.2.2"}
PAIR = {"src": "2001:db8:1::1", "dst": "2001:db8:2::1", "proto": "udp", "dport": 4789}
OUT = {"dir": "out", **PAIR, "priority": "1000", "tmpl": [{"mode": "transport", "spi": "0x1001", "reqid": "7"}]}
BLOCK = {"dir": "in", "dst": "2001:db8:1::1", "proto": "udp", "dport": 4789, "priority": "2000", "action": "block"}
TUNNEL = {"mode": "tunnel", "src": "192.0.2.1", "dst": "192.0.2.2", "reqid": "8", "level": "use"}


@pytest.fixture(autouse=True)
def namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(xfrm_keys, "RECORD", tmp_path / "used-keys")
    with private():
        yield


def run(*policies, check=False, **more):
    params = {name: spec.get("default") for name, spec in xfrm.ARGUMENTS.items()}
    resource = xfrm.XfrmResource(diff=True)
    try:
        return converge(resource, {**params, "policies": list(policies), **more}, check)
    finally:
        resource.close()


def counts(*policies, **more):
    return counted(run, shown, *policies, **more)


def shown():
    return sh("ip -s xfrm policy")


def indices():
    return {int(found) for found in re.findall(r"index (\d+)", shown())}


def has_esp(*states):
    try:
        kernel.Xfrm().check(from_entries(states, None).states)
    except MissingError:
        return False
    return True


def test_policies_as_ip_shows_them():
    fwd = {"dir": "fwd", "src": "10.0.0.0/8", "mark": "5/0xff", "if_id": "9", "tmpl": [TUNNEL, {"mode": "transport"}]}
    assert counts(OUT, BLOCK, fwd) == (3, 0, 0, 0)
    text = re.sub(r"\s+", " ", sh("ip -d xfrm policy"))
    for part in (
        "src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789 dir out priority 1000 ptype main "
        "tmpl src :: dst :: proto esp spi 0x00001001 reqid 7 mode transport",
        "src ::/0 dst 2001:db8:1::1/128 proto udp dport 4789 dir in action block priority 2000 ptype main",
        "src 10.0.0.0/8 dst 0.0.0.0/0 dir fwd priority 0 ptype main mark 0x5/0xff "
        "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 8 mode tunnel level use tmpl src 0.0.0.0 dst 0.0.0.0 proto esp reqid 0 "
        "mode transport if_id 0x9",
    ):
        assert part in text, text
    assert {index >> 24 for index in indices()} == {118}


@pytest.mark.parametrize(
    "change",
    [
        {"priority": "1001"},
        {"action": "block", "tmpl": None},
        {"tmpl": None},
        {"tmpl": [{"mode": "transport", "spi": "0x1002", "reqid": "7"}]},
        {"tmpl": [{"mode": "transport", "spi": "0x1001", "reqid": "7", "level": "use"}]},
        {"tmpl": [{"mode": "transport", "spi": "0x1001", "reqid": "7"}] * 2},
        {"tmpl": [{"mode": "tunnel", "src": "2001:db8:1::1", "dst": "2001:db8:2::1"}]},
    ],
)
def test_a_policy_changes_in_one_step_and_keeps_its_index(change):
    counts(OUT, BLOCK)
    before = indices()
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kernel.NETLINK_XFRM)
    sock.bind((0, 8))  # XFRMGRP_POLICY
    sock.setblocking(False)
    assert run({**OUT, **change}, BLOCK).result["rows"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 1}
    assert [kind for kind, *_rest in codec.messages(sock.recv(1 << 16))] == [kernel.UPDPOLICY]
    with pytest.raises(BlockingIOError):
        sock.recv(1 << 16)
    sock.close()
    assert indices() == before
    assert counts({**OUT, **change}, BLOCK) == (0, 0, 0, 2)


@pytest.mark.parametrize(
    "change", [{"mark": "1"}, {"mark": "1/3"}, {"if_id": "1"}, {"dport": 4790}, {"src": "::/0"}, {"dir": "fwd"}]
)
def test_what_names_a_policy_makes_another_one(change):
    counts(OUT)
    assert counts(OUT, {**OUT, **change}) == (1, 0, 0, 1)
    assert counts({**OUT, **change}, purge="owned") == (0, 0, 1, 1)
    assert counts({**OUT, **change}, OUT, state="absent") == (0, 0, 1, 0)
    assert not indices()


def test_policies_of_others_stay_and_are_not_overwritten():
    sh(
        "ip xfrm policy add src 2001:db8:1::1 dst 2001:db8:2::1 proto udp dport 4789 dir out priority 5 tmpl proto esp reqid 16385"
    )
    theirs = shown()
    for state in ("present", "absent"):
        for check in (True, False):
            with pytest.raises(
                RefusedError,
                match="belong to others, by their seq or index: policy dir out .* priority 5 .*reqid 16385",
            ):
                run(BLOCK, OUT, state=state, check=check)
    assert counts({**OUT, "mark": "3"}, BLOCK) == (2, 0, 0, 0)
    assert counts(purge="owned") == (0, 0, 2, 0)
    assert shown() == theirs


def test_what_a_policy_of_ours_cannot_say_is_a_change():
    counts(OUT)
    (index,) = indices()
    words = "src 2001:db8:1::1 dst 2001:db8:2::1 proto udp dport 4789 dir out priority 1000"
    sh(f"ip xfrm policy update {words} index {index} flag icmp tmpl proto esp spi 0x1001 reqid 7 mode transport")
    told = run(OUT, check=True)
    assert told.result["rows"]["changed"] == 1 and "other flags 0x2" in told.before
    assert counts(OUT) == (0, 1, 0, 0)


def test_many_policies_have_indices_of_their_own():
    rows = [{**OUT, "dst": f"2001:db8:{i:x}::1"} for i in range(1, 600)]
    assert counts(*rows) == (599, 0, 0, 0)
    assert len(indices()) == 599
    assert counts(*rows[::2], {**OUT, "dst": "::1"}, purge="owned") == (1, 0, 299, 300)
    assert len(indices()) == 301


def test_lines_in_a_file(tmp_path):
    path = tmp_path / "table"
    path.write_text(
        "# policies\npolicy src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789 dir out priority 1000 "
        "tmpl src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi 0x1001 reqid 7 mode transport\n"
        "policy src 2001:db8:1::1/128 dst 2001:db8:3::1/128 proto udp dport 4789 dir out priority 1000 "
        "tmpl src 2001:db8:1::1 dst 2001:db8:3::1 proto esp spi 0x1002 reqid 7 mode transport\n"
    )
    path.chmod(0o600)
    given = {"policies": None, "src": str(path)}
    ends = [
        {**OUT["tmpl"][0], "src": "2001:db8:1::1", "dst": f"2001:db8:{i}::1", "spi": spi}
        for i, spi in ((2, "4097"), (3, "4098"))
    ]
    assert counts(**given) == (2, 0, 0, 0)
    assert not run(*({**OUT, "dst": one["dst"], "tmpl": [one]} for one in ends), purge="owned").changed


@pytest.mark.parametrize("state, family, option", [(STATE, 6, "CONFIG_INET6_ESP"), (FOUR, 4, "CONFIG_INET_ESP")])
def test_a_kernel_without_esp_is_named_before_the_first_change(state, family, option):
    if has_esp(state):
        pytest.skip("this kernel has ESP: tests/full/test_xfrm.py writes states")
    for check in (True, False):
        with pytest.raises(MissingError, match=f"^kernel has no ESP for IPv{family}: {option}$"):
            run(OUT, states=[state], check=check)
    assert not indices() and not xfrm_keys.RECORD.exists()
    assert not run(states=[], purge="owned").changed


@pytest.mark.parametrize("errno_", [errno.ENOSYS, errno.ENOENT])
def test_an_algorithm_that_the_kernel_lacks_is_named(monkeypatch, errno_):
    def replaced(self, state):
        return (errno_, None) if state.shape.algorithm == "aes-gcm" else (0, None)

    monkeypatch.setattr(kernel.Xfrm, "_replaced", replaced)
    with pytest.raises(
        MissingError, match=r"kernel has no rfc4106\(gcm\(aes\)\) for ESP, or no ESP: CONFIG_CRYPTO_GCM .*INET6_ESP"
    ):
        run(states=[STATE], check=True)


def test_a_kernel_without_netlink_for_ipsec_is_named(monkeypatch):
    def without(*how, protocol=0, **more):
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(rtnl, "Rtnl", without)
    with pytest.raises(MissingError, match="kernel has no netlink for IPsec: CONFIG_XFRM_USER"):
        run(OUT)


def test_a_lack_of_rights_is_told_with_its_fix(monkeypatch):
    def refuse(self, kind, body, what):
        raise KernelError(what, errno.EPERM)

    monkeypatch.setattr(rtnl.Rtnl, "dump", refuse)
    with pytest.raises(KernelError, match="it takes CAP_NET_ADMIN .become: true."):
        run(OUT)


play = partial(playbook_support.play, setup="mount -t tmpfs lib /var/lib")
PYTHON = {"vars": {"ansible_python_interpreter": sys.executable}}


def test_as_ansible_runs_it(tmp_path):
    policies = {"policies": [OUT, BLOCK], "purge": "owned"}
    results, out = play(
        tmp_path,
        {"vtep.fabric.xfrm": policies, "check_mode": True, "diff": True, **PYTHON},
        {"vtep.fabric.xfrm": policies, "diff": True, **PYTHON},
        {"vtep.fabric.xfrm": policies, **PYTHON},
        {"vtep.fabric.xfrm_info": {"owned": True}, **PYTHON},
        {"vtep.fabric.xfrm": {"states": [{**STATE, "key": KEY[:-2]}]}, **PYTHON},
        {"vtep.fabric.xfrm": {"states": [STATE]}, "check_mode": True, "diff": True, **PYTHON},
        {"vtep.fabric.xfrm": {}, **PYTHON},
    )
    checked, made, again, info, refused, state, nothing = results
    assert checked["diff"] == made["diff"] and made["changed"] and not again["changed"]
    assert made["rows"] == {"added": 2, "changed": 0, "removed": 0, "unchanged": 0}
    assert [policy["owned"] for policy in info["policies"]] == [True, True] and info["states"] == []
    assert "states row 1: key: it is 19 bytes long" in refused["msg"]
    assert state.get("msg", "").startswith("kernel has no ESP") or state["changed"]
    assert "one of the following is required: src, states, policies" in nothing["msg"]
    assert KEY[2:-2] not in out

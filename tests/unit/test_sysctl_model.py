# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and values of kernel settings, and the plan over the record of those we set."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import sysctl as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.sysctl import Held
from ansible_collections.vtep.fabric.plugins.module_utils._plan.sysctl import plan

NDP = "net.ipv6.conf.eth1.proxy_ndp"


@pytest.mark.parametrize(
    "written, normal, parts",
    [
        (NDP, NDP, ["net", "ipv6", "conf", "eth1", "proxy_ndp"]),
        ("net/ipv6/conf/eth1/proxy_ndp", NDP, ["net", "ipv6", "conf", "eth1", "proxy_ndp"]),
        # sysctl(8): the first separator separates, and the other one stands for it
        ("net/ipv6/conf/eth1.100/proxy_ndp", "net.ipv6.conf.eth1/100.proxy_ndp", ["net", "ipv6", "conf", "eth1.100", "proxy_ndp"]),
        ("net.ipv6.conf.eth1/100.proxy_ndp", "net.ipv6.conf.eth1/100.proxy_ndp", ["net", "ipv6", "conf", "eth1.100", "proxy_ndp"]),
    ],
)  # fmt: skip
def test_keys(written, normal, parts):
    assert model.key(written) == normal
    assert model.parts(normal) == parts
    assert model.key(normal) == normal


@pytest.mark.parametrize(
    "written",
    [
        "", "net", "net.", "net.ipv4", "kernel.hostname", "kernel/hostname", "/net/ipv4/ip_forward", ".net.ipv4.x",
        "net/../kernel/hostname", "net/ipv4/../../kernel/hostname", "net.ipv4.//.//.kernel.hostname", "net/ipv4/./x",
        "net..ipv4.x", "net/ipv4//x", "net.ipv4.a b", "net.ipv4.a\n", "net.ipv4.a\0", "net/ipv4/x/", "..", "netx.a.b",
    ],
)  # fmt: skip
def test_a_key_that_is_none_or_leaves_the_tree_is_refused(written):
    with pytest.raises(InputError) as caught:
        model.settings({written: 1})
    assert len(caught.value.faults) == 1 and repr(written) in caught.value.faults[0]


def test_all_faults_are_told():
    with pytest.raises(InputError) as caught:
        model.settings(
            {
                "kernel.hostname": "x", NDP: True, "net/ipv6/conf/a/proxy_ndp": "", "net.ipv6.conf.a.proxy_ndp": [1],
                "net.ipv4.ip_forward": 1, "net.ipv6.conf.b.x": 1, "net/ipv6/conf/b/x": 1,
            }
        )  # fmt: skip
    told = "; ".join(caught.value.faults)
    assert len(caught.value.faults) == 6
    for words in ("kernel.hostname", "True is not a value", "[1] is not", "net.ipv4.conf.<dev>.forwarding", "twice"):
        assert words in told


def test_values_are_as_the_kernel_prints_them():
    wanted = model.settings({NDP: 1, "net.ipv4.tcp_rmem": " 4096\t131072  6291456\n"})
    assert wanted == {NDP: "1", "net.ipv4.tcp_rmem": "4096 131072 6291456"}


@pytest.mark.parametrize(
    "key, dev, default",
    [
        (NDP, "eth1", "net.ipv6.conf.default.proxy_ndp"),
        ("net.ipv4.neigh.eth1/100.app_solicit", "eth1.100", "net.ipv4.neigh.default.app_solicit"),
        ("net.ipv6.conf.all.forwarding", None, None),
        ("net.ipv6.conf.default.forwarding", None, None),
        ("net.core.rmem_max", None, None),
        ("net.ipv4.conf.eth1", None, None),
    ],
)
def test_the_device_of_a_key(key, dev, default):
    assert model.dev(key) == dev
    if dev:
        assert model.default(key) == default


def planned(wanted, current, record=None, purge=False, others=None):
    return plan(wanted, current, record or {}, purge, others or {})


def test_what_is_there_already_is_not_ours():
    assert not planned({NDP: "1"}, {NDP: "1"})


def test_what_we_set_stays_ours_and_goes_back():
    first = planned({NDP: "1"}, {NDP: "0"})
    assert (first.writes, first.after, first.during) == ([(NDP, "1")], {NDP: Held("0", "1")}, {NDP: Held("0", "1")})
    assert not planned({NDP: "1"}, {NDP: "1"}, first.after, purge=True)
    assert not planned({}, {NDP: "1"}, first.after)
    back = planned({}, {NDP: "1"}, first.after, purge=True)
    assert (back.writes, back.after, back.restored, back.during) == ([(NDP, "0")], {}, (NDP,), first.after)


@pytest.mark.parametrize("current, word", [("7", "kept"), (None, "dropped"), ("0", "dropped")])
def test_what_is_no_longer_ours_is_only_forgotten(current, word):
    back = planned({}, {NDP: current}, {NDP: Held("0", "1")}, purge=True)
    assert (back.writes, back.after, getattr(back, word)) == ([], {}, (NDP,))
    assert back


def test_another_value_keeps_the_first_before():
    change = planned({NDP: "2"}, {NDP: "1"}, {NDP: Held("0", "1")})
    assert change.during == {NDP: Held("0", "2", was="1")}
    assert change.after == {NDP: Held("0", "2")}
    for current in "12":  # killed before the write, and after
        back = planned({}, {NDP: current}, change.during, purge=True)
        assert back.writes == [(NDP, "0")]
    somebody_elses = planned({NDP: "1"}, {NDP: "7"}, {NDP: Held("0", "1")})
    assert (somebody_elses.writes, somebody_elses.after) == ([(NDP, "1")], {NDP: Held("0", "1")})


def test_forwarding_is_written_between_what_protects_from_it_and_what_it_changes():
    names = ("all.forwarding", "eth1.forwarding", "eth0.accept_ra")
    wanted = {f"net.ipv6.conf.{name}": "1" for name in names}
    found = planned(wanted, dict.fromkeys(wanted, "0"), others={"net.ipv6.conf.eth0.forwarding": "0"})
    assert [key.split(".", 3)[3] for key, value in found.writes] == [
        "eth0.accept_ra",
        "all.forwarding",
        "eth1.forwarding",
    ]
    assert found.during[model.FORWARDING].others == {"net.ipv6.conf.eth0.forwarding": "0"}
    assert found.after[model.FORWARDING].others == {}


def test_a_run_killed_after_it_wrote_forwarding_is_mended():
    other = "net.ipv6.conf.eth0.forwarding"
    record = {model.FORWARDING: Held("0", "1", others={other: "0"})}
    for purge, wanted in ((False, {model.FORWARDING: "1"}), (True, {})):
        found = planned(wanted, {model.FORWARDING: "1", other: "1"}, record, purge, {other: "1"})
        assert (other, "0") in found.writes and found.mended == (other,)
        assert found.during[model.FORWARDING].others == {other: "0"}
        assert all(held.others == {} for held in found.after.values())

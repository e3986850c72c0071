# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-boot as it lies on a host, run by the suite's own Python, pyroute2 and nft: it makes what each variant needs, and nothing twice."""

import json
import os
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._plan import boot, ipsec
from ansible_collections.vtep.fabric.plugins.plugin_utils import program_archive
from suite_host import SuiteHost, needs_image

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "unit" / "golden" / "lab"
# By default those that fill different tables, on the suite whose versions tests/lab does not use all the time.
ALL = [(suite, path.parent.name) for suite in ("bookworm", "trixie") for path in sorted(GOLDEN.glob("*/s2.json"))]
SOME = [("bookworm", "multicast"), ("bookworm", "unicast-static-nd"), ("bookworm", "unicast-routing")]
COMMAND = ["/usr/bin/python3", "-I", "/usr/local/sbin/vtep-boot"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    commands = yaml.safe_load((ROOT / "roles" / "boot" / "vars" / "main.yml").read_text())["boot_commands"]
    path = tmp_path_factory.mktemp("boot") / "vtep-boot.pyz"
    path.write_bytes(program_archive.build(commands))
    return path


@pytest.fixture
def host(suite, archive):
    needs_image(suite)
    one = SuiteHost(suite)
    try:
        one.path("/usr/local/sbin/vtep-boot").write_bytes(archive.read_bytes())
        one.sh("mkdir -p /var/lib/vtep.fabric")
        one.sh("for i in 0 1 2; do ip link add eth$i mtu 1700 type veth peer name far$i mtu 1700; done")
        yield one
    finally:
        one.close()


def record(host, variant):
    plan = json.loads((GOLDEN / variant / "s2.json").read_text())
    # What drops VXLAN in clear needs no ESP.
    block = ipsec.block(plan["local"], plan["family"], 4789, external=variant == "unicast-routing")
    plan["ipsec"] = {"mode": "ike", "block": block}
    host.write("/var/lib/vtep.fabric/boot.json", json.dumps(boot.record(plan)))
    return plan


def shown(host):
    """What tools that are not ours tell, without what changes by itself: the kernel tells the carrier up to a second late."""
    return host.sh(
        r"""
        ip -d -o link | sed -E 's/[a-z_]+_timer +[0-9.]+//g; s/NO-CARRIER,//; s/ state [A-Z]+//'
        ip -o addr show scope global | sed 's/valid_lft.*//'
        bridge fdb show | grep -E ' self (permanent|static)|sticky'
        ip neigh show nud permanent; ip -6 neigh show proxy; ip -4 neigh show proxy
        ip -4 route show table all proto 118; ip -6 route show table all proto 118; ip -4 rule; ip -6 rule; nft list ruleset
        ip xfrm policy | sed 's/ index [0-9]*//'
        """
    )


@pytest.mark.parametrize(("suite", "variant"), ALL if os.environ.get("TEST_ALL") else SOME)
def test_a_bare_host_gets_all_and_then_nothing(host, variant):
    plan = record(host, variant)
    before = shown(host)
    status, told, wrong = host.done(*COMMAND, "--check")
    assert (status, wrong) == (1, "") and shown(host) == before
    assert "vxlan: + vxlan100" in told
    assert host.done(*COMMAND)[::2] == (0, "")
    made = shown(host)
    assert " vxlan100: " in made
    assert made.count("action block") == len(plan["ipsec"]["block"])
    table = plan["overlay"]["neighbors"]["table"]
    assert all(f"{row.split()[0]} dev" in made for row in table.splitlines())
    assert host.done(*COMMAND, "--check") == (0, "", "")
    assert host.done(*COMMAND) == (0, "", "")
    assert shown(host) == made


@pytest.mark.parametrize("suite", ["trixie"])
def test_what_others_have_stays_and_what_is_missing_comes_back(host):
    record(host, "unicast-static-nd")
    host.run(*COMMAND)
    host.sh("ip addr add 2001:db8:77::1/128 dev lo")
    host.sh("ip neigh add 192.0.2.99 lladdr 02:00:00:00:00:99 dev vxlan100 nud permanent")
    theirs = shown(host)
    host.sh("ip neigh del 192.0.2.10 dev vxlan100; ip addr del 2001:db8:2::1/128 dev lo")
    status, told, _wrong = host.done(*COMMAND, "--check")
    assert status == 1 and [line.split(":")[0] for line in told.splitlines()] == ["link", "neighbor"]
    host.run(*COMMAND)
    assert sorted(shown(host).splitlines()) == sorted(theirs.splitlines())


@pytest.mark.parametrize("suite", ["trixie"])
def test_an_interface_that_is_not_there_yet_is_named_and_the_next_try_goes_on(host):
    record(host, "unicast-static-flood")
    host.ip("link", "del", "eth1")
    status, _told, wrong = host.done(*COMMAND)
    assert status == 3 and "eth1" in wrong
    host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    host.run(*COMMAND)
    assert host.done(*COMMAND, "--check") == (0, "", "")


RULES = """\
table inet vtep_fabric_macsec {
\tchain input {
\t\ttype filter hook input priority -250; policy accept;
\t\tiifname "lo" accept
\t\tudp dport 4789 counter drop
\t}
}
"""


@pytest.mark.parametrize("suite", ["trixie"])
def test_rules_as_nft_prints_them(host):
    host.write("/var/lib/vtep.fabric/boot.json", json.dumps({"steps": [{"nft": RULES}]}))
    assert host.done(*COMMAND, "--check") == (1, "nft: + table inet vtep_fabric_macsec\n", "")
    assert host.done(*COMMAND) == (0, "nft: + table inet vtep_fabric_macsec\n", "")
    assert host.done(*COMMAND) == (0, "", "")
    host.sh("nft flush chain inet vtep_fabric_macsec input")
    assert host.done(*COMMAND)[0] == 0
    assert "counter packets 0 bytes 0 drop" in host.sh("nft list table inet vtep_fabric_macsec")

# SPDX-License-Identifier: GPL-3.0-or-later
"""host_info's answers against those of iproute2 and nft, on this kernel."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import host, probe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: host_info's probes need root")

COLLECTIONS = Path(__file__).parents[2] / "collections"
ASK = """
import json
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import host
print(json.dumps(host.{function}()))
"""
AES_GCM = f"'rfc4106(gcm(aes))' 0x{'00' * 20} 128"
# What `ip` must be given for the kernel to make one.
COMPLETE = {
    "bridge": "link add x type bridge",
    "bridge_vlan_filtering": "link add x type bridge vlan_filtering 1",
    "dummy": "link add x type dummy",
    "esp4": f"xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport aead {AES_GCM}",
    "esp6": f"xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 256 mode transport aead {AES_GCM}",
    "macsec": "link add link base x type macsec",
    "macsec_xpn": "link add link base x type macsec cipher gcm-aes-xpn-128",
    "veth": "link add x type veth peer name y",
    "vlan": "link add link base x type vlan id 7",
    "vrf": "link add x type vrf table 7",
    "vxlan": "link add x type vxlan id 7 dstport 4789",
    "xfrm": "xfrm state",
    "lwtunnel": "route add 192.0.2.1 encap ip id 7 dst 192.0.2.2 dev base",
}


def in_namespace(script):
    return subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def features():
    return probe.features()


@pytest.mark.parametrize("feature", COMPLETE)
def test_a_feature_is_there_when_iproute2_can_use_it(features, feature):
    ground = "ip link add base type veth peer name other; ip addr add 192.0.2.9/24 dev base; ip link set base up;"
    done = in_namespace(f"{ground} ip {COMPLETE[feature]}")
    assert features[feature] is (done.returncode == 0), done.stderr


def test_nftables_is_there_when_nft_can_use_it(features):
    if not shutil.which("nft", path="/usr/sbin:/usr/bin"):
        pytest.skip("NOT TESTED: nft is not installed")
    assert features["nftables"] is (in_namespace("nft add table inet x; nft add table arp x").returncode == 0)


def test_what_the_kernel_lacks_is_seen():
    """On a kernel with everything the probes must still be able to say no."""
    rtnl = probe.Rtnl(words=False)
    try:
        assert not probe._has_kind(rtnl, "no-such-kind")
    finally:
        rtnl.close()
    assert not probe._has_nftables(250)


def test_probing_leaves_nothing_behind(features):
    """Neither a device nor another namespace nor a child."""
    code = """
import os, subprocess
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import probe
from pathlib import Path
def seen():
    return Path("/proc/self/ns/net").readlink(), subprocess.check_output(["ip", "-o", "link"]), os.listdir("/proc/self/fd")
before = seen()
probe.features()
assert seen() == before
try:
    os.waitpid(-1, os.WNOHANG)
    raise SystemExit("a child is left")
except ChildProcessError:
    pass
"""
    subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code], check=True, env=dict(os.environ, PYTHONPATH=str(COLLECTIONS))
    )


def test_root_that_may_have_no_namespaces_asks_for_most(features):
    code = """
import json, sys
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import probe
json.dump(probe.features(), sys.stdout)
"""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=dict(os.environ, PYTHONPATH=str(COLLECTIONS)),
    )
    assert json.loads(done.stdout) == {**features, **dict.fromkeys(probe.TRIED)}


def vxlan_of(linkinfo):
    """What `ip -d -j link` tells of a VXLAN device, in our words. It shows a flag that is set as true or, later, as null."""
    has = linkinfo.get("info_data", {})
    names = {"udp_zero_csum6_rx": "udp_zero_csum6_rx", "gbp": "gbp", "external": "external", "vnifilter": "vnifilter"}
    return linkinfo.get("info_kind") == "vxlan" and {
        "id": has.get("id", 0),
        "dstport": has["port"],
        "family": 6 if "local6" in has else 4,
        "flags": sorted(ours for theirs, ours in names.items() if has.get(theirs, False) is not False),
        "dev": has.get("link"),
        "local": has.get("local6") or has.get("local"),
    } or None  # fmt: skip


def test_interfaces_are_what_iproute2_says():
    script = f"""
        ip link set lo up
        ip addr add 203.0.113.1/32 dev lo
        ip link add br100 type bridge
        ip link add eth1 mtu 1450 type veth peer name other
        ip link set eth1 master br100
        ip link set br100 alias 'vtep.fabric segment 100'
        ip link set eth1 up
        ip addr add 192.0.2.1 peer 192.0.2.2/32 dev other
        ip addr add 2001:db8::1/64 dev other nodad
        ip link add vxlan100 type vxlan id 100 dstport 4789 group 239.1.1.1 dev other
        ip link add vxlan7 type vxlan id 7 dstport 4790 local 2001:db8::1 udp6zerocsumrx gbp
        ip link add vxlan8 type vxlan id 8 dstport 4792 local 192.0.2.1
        ip link add vxlan0 type vxlan external vnifilter dstport 4791
        ip -d -j addr
        {sys.executable} -c "$ASK"
    """
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", script],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, ASK=ASK.format(function="interfaces"), PYTHONPATH=str(COLLECTIONS)),
    )
    theirs, ours = map(json.loads, done.stdout.splitlines())
    assert ours == {
        link["ifname"]: {
            "mtu": link["mtu"],
            "kind": link.get("linkinfo", {}).get("info_kind"),
            "vxlan": vxlan_of(link.get("linkinfo", {})),
            "alias": link.get("ifalias"),
            "mac": link["address"],
            "master": link.get("master"),
            "up": "UP" in link["flags"],
            "addresses": [f"{held['local']}/{held['prefixlen']}" for held in link["addr_info"]],
        }
        for link in theirs
    }
    assert ours["eth1"]["master"] == "br100"
    seven = {
        "id": 7,
        "dstport": 4790,
        "family": 6,
        "flags": ["gbp", "udp_zero_csum6_rx"],
        "dev": None,
        "local": "2001:db8::1",
    }
    assert ours["vxlan7"]["vxlan"] == seven
    assert ours["vxlan8"]["vxlan"]["local"] == "192.0.2.1"
    assert ours["vxlan100"]["vxlan"]["dev"] == "other"
    assert ours["vxlan0"]["vxlan"]["flags"] == ["external", "vnifilter"]


def test_programs_are_found_without_a_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = host.programs()
    said = subprocess.run(["/sbin/ip", "-V"], capture_output=True, text=True, check=True).stdout
    assert f"iproute2-{found['ip']['version']}" in said
    assert Path(found["ip"]["path"]).samefile("/sbin/ip")


def test_frrs_version_is_watchfrrs(tmp_path, monkeypatch):
    """vtysh has no option for it."""
    for name, script in (("vtysh", "exit 1"), ("watchfrr", "echo watchfrr version 10.3; echo Copyright 1996-2005")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert host.programs()["vtysh"] == {"path": f"{tmp_path}/vtysh", "version": "10.3"}


def test_a_read_only_host_is_named():
    code = (
        "from ansible_collections.vtep.fabric.plugins.module_utils._ansible.host import info\n"
        "info({'require': ['writable', 'root']})"
    )
    script = f"""
        mount --make-rprivate /
        for path in / /etc /var/lib; do mount --bind $path $path; mount -o remount,bind,ro $path; done
        cd /; {sys.executable} -c "$CODE"
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, CODE=code, PYTHONPATH=str(COLLECTIONS), PYTHONDONTWRITEBYTECODE="1"),
    )
    told = done.stderr.strip().splitlines()[-1]
    # With /etc/frr too, and its files, where FRR is installed.
    assert re.search(r"the root file system is read-only, with /etc\b.*\B/var/lib\b.*: mount -o remount,rw /$", told), (
        told
    )
    assert "not root" not in told


def test_what_cannot_be_written_is_named_with_the_reason():
    script = f"""
        mount --make-rprivate /
        mount -t tmpfs etc /etc
        mkdir /etc/frr
        touch /etc/frr/daemons /etc/frr/frr.conf
        mount --bind /etc/frr/frr.conf /etc/frr/frr.conf
        {sys.executable} -c "$LOCK"
        mount -t tmpfs -o size=300k lib /var/lib
        mkdir /var/lib/vtep.fabric
        {sys.executable} -c "$ASK"
        head -c 65536 /dev/zero >/var/lib/vtep.fabric/fills
        {sys.executable} -c "$ASK"
    """
    # linux/fs.h: FS_IOC_SETFLAGS, FS_IMMUTABLE_FL; chattr is not on every host.
    lock = "import fcntl; fcntl.ioctl(open('/etc/frr/daemons'), 0x40086602, (0x10).to_bytes(8, 'little'))"
    ask = "import json; from ansible_collections.vtep.fabric.plugins.module_utils._kernel import host; print(json.dumps(host.facts()))"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, ASK=ask, LOCK=lock, PYTHONPATH=str(COLLECTIONS), PYTHONDONTWRITEBYTECODE="1"),
    )
    before, after = map(json.loads, done.stdout.splitlines())
    assert before["obstacles"] == {"/etc/frr/daemons": "locked", "/etc/frr/frr.conf": "mounted"}
    assert before["writable"]["/var/lib/vtep.fabric"] is True
    assert before["writable"]["/etc/frr/frr.conf"] is False
    assert after["obstacles"] == {**before["obstacles"], "/var/lib": "full", "/var/lib/vtep.fabric": "full"}


def test_without_root_everything_else_is_still_told():
    """In a process of its own, which reads its code while it is root: nobody may not, where the checkout or Python is root's."""
    code = """
import ctypes, json, os, sys
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.host import info
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import host
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    info({"require": ["root", "vxlan"]})
except FabricError as error:
    json.dump([str(error), host.facts()], sys.stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, PYTHONPATH=str(COLLECTIONS)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "info() did not mind that it is not root"
    told, facts = json.loads(done.stdout)
    assert told == "not root: use become"
    assert facts["features"]["vxlan"] is None
    assert (facts["uid"], facts["cap_net_admin"]) == (65534, False)
    assert "lo" in facts["interfaces"]


RUN = """
import sys
from ansible.module_utils import basic
from ansible_collections.vtep.fabric.plugins.modules import host_info
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[1].encode(), "legacy"
host_info.main()
"""


def module(**arguments):
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, PYTHONPATH=str(COLLECTIONS)),
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_the_module(features):
    told = module(require=["root", "writable"])
    assert told["features"] == features and told["changed"] is False
    assert told["kernel"] == os.uname().release
    assert "value of require must be one or more of" in module(require=["vxlna"])["msg"]

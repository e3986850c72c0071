# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is told that it lacks, all at once and with the fix."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import host, probe
from ansible_collections.vtep.fabric.plugins.module_utils._plan.host import FEATURES, WORDS, missing
from ansible_collections.vtep.fabric.plugins.modules import host_info

TOOL = {"path": "/usr/bin/x", "version": "1.0"}


def fit(**changes):
    """A host that has everything, but for the changes."""
    return {
        "features": dict.fromkeys(FEATURES, True),
        "programs": dict.fromkeys(("bridge", "ip", "nft", "vtysh"), TOOL),
        "python": {"executable": "/usr/bin/python3", "pyroute2": "0.7.2"},
        "frr": {"daemons": ["ospf6d", "ospfd", "watchfrr", "zebra"], "switches": True},
        "obstacles": {},
        "uid": 0,
        "cap_net_admin": True,
        **changes,
    }


def test_a_fit_host_lacks_nothing():
    assert missing(fit(), WORDS) == []


def test_nothing_is_asked_of_a_bare_host_without_require():
    bare = fit(features=dict.fromkeys(FEATURES, False), programs=dict.fromkeys(("bridge", "ip", "nft", "vtysh")), uid=1)
    assert missing(bare, []) == []


def test_all_that_is_missing_is_named_with_its_fix():
    bare = fit(
        features=dict.fromkeys(FEATURES, False),
        programs=dict.fromkeys(("bridge", "ip", "nft", "vtysh")),
        python={"executable": "/usr/bin/python3", "pyroute2": None},
        obstacles={"/": "read-only", "/etc": "read-only", "/etc/frr": "locked", "/var/lib": "read-only"},
        uid=1000,
        cap_net_admin=False,
    )
    assert missing(bare, ["vxlan", "frr", "pyroute2", "nftables", "writable", "root", "iproute2"]) == [
        "not root: use become",
        "kernel has no VXLAN: CONFIG_VXLAN",
        "kernel has no nftables for inet and arp: CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP",
        "FRR is not installed: apt-get install frr",
        "nftables is not installed: apt-get install nftables",
        "iproute2 is not installed: apt-get install iproute2",
        "pyroute2 is not installed for /usr/bin/python3: apt-get install python3-pyroute2",
        "the root file system is read-only, with /etc and /var/lib: mount -o remount,rw /",
    ]
    assert len(missing(bare, list(FEATURES))) == len(FEATURES) + 1  # nftables also lacks its program


@pytest.mark.parametrize(
    "changes, word, told",
    [
        ({"cap_net_admin": False}, "root", "CAP_NET_ADMIN"),
        ({"features": dict.fromkeys(FEATURES)}, "vxlan", "cannot be asked for vxlan"),
        ({"programs": {"ip": TOOL, "bridge": None}}, "iproute2", "iproute2 is not installed"),
        ({"python": {"executable": "x", "pyroute2": "0.5.14"}}, "pyroute2", "0.5.14 is too old: 0.7.2"),
        ({"obstacles": {"/etc": "read-only"}}, "writable", "/etc: mounted read-only"),
        (
            {"obstacles": {"/": "full", "/etc": "full", "/var/lib": "full"}},
            "writable",
            "/etc and /var/lib: less than 256 KiB",
        ),
        ({"obstacles": {"/etc/frr/frr.conf": "locked"}}, "writable", "/etc/frr/frr.conf: not writable; see lsattr"),
        (
            {"obstacles": {"/etc/frr/frr.conf": "mounted"}},
            "writable",
            "/etc/frr/frr.conf: a mount point, which cannot be",
        ),
        (
            {"frr": {"daemons": [], "switches": True}},
            "frr ospf6d",
            "FRR is not whole, /usr/lib/frr lacks watchfrr or zebra",
        ),
        (
            {"frr": {"daemons": ["ospfd", "watchfrr", "zebra"], "switches": True}},
            "frr ospf6d",
            "this FRR has no ospf6d",
        ),
        ({"frr": {"daemons": ["watchfrr", "zebra"], "switches": False}}, "frr", "/etc/frr/daemons is not there"),
    ],
)
def test_one_thing_missing(changes, word, told):
    faults = missing(fit(**changes), word.split())
    assert len(faults) == 1
    assert told in faults[0]


@pytest.mark.parametrize("version", ["0.7.2", "0.7.12", "0.9.7", "1.0", "0.8.1.post1", "unknown"])
def test_pyroute2_versions_that_will_do(version):
    assert missing(fit(python={"executable": "x", "pyroute2": version}), ["pyroute2"]) == []


def test_a_root_file_system_that_is_read_only_by_design_will_do():
    assert missing(fit(obstacles={"/": "read-only"}), ["writable"]) == []


def test_a_daemon_that_is_not_asked_for_may_be_missing():
    assert missing(fit(frr={"daemons": ["ospfd", "watchfrr", "zebra"], "switches": True}), ["frr", "ospfd"]) == []


def test_every_feature_is_probed_and_documented():
    assert set(FEATURES) == {*probe.ASKED, *probe.TRIED, *probe._of_files()}
    documented = yaml.safe_load(host_info.DOCUMENTATION)["options"]["require"]["choices"]
    assert documented == WORDS
    assert set(yaml.safe_load(host_info.RETURN)["features"]["contains"]) == set(FEATURES)


@pytest.mark.parametrize(
    "metadata", ["pyroute2-0.7.2.dist-info", "pyroute2-0.7.2.egg-info", "pyroute2-0.7.2-py3.9.egg-info"]
)
def test_the_version_of_a_library_is_found_without_importing_it(tmp_path, monkeypatch, metadata):
    (tmp_path / "pyroute2").mkdir()
    (tmp_path / "pyroute2/__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / metadata).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pyroute2", raising=False)  # other tests may have imported the real one
    assert host._version_of("pyroute2") == "0.7.2"


def test_no_library_no_version():
    assert host._version_of("no_such_library") is None


def test_the_module_imports_no_pyroute2():
    code = (
        "import sys\n"
        "from ansible_collections.vtep.fabric.plugins.module_utils._ansible.host import info\n"
        "info({'require': []})\n"
        "assert 'pyroute2' not in sys.modules\n"
    )
    collections = Path(__file__).parents[2] / "collections"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(collections), "PATH": ""})


def test_a_kernel_without_vxlan_says_so(monkeypatch):
    """As far as the kernel's own answer, which is that to a kind of device that no kernel has."""

    class Rtnl(probe.Rtnl):
        def request(self, kind, body, what, flags=0):
            return super().request(kind, body.replace(b"vxlan", b"nxlan"), what, flags)

    monkeypatch.setattr(probe, "Rtnl", Rtnl)
    features = probe.features()
    if features["vxlan"] is None:
        pytest.skip("NOT TESTED: the kernel can be asked for its features by root only")
    assert features["vxlan"] is False
    assert features["bridge"] is not False
    assert missing(fit(features=features), ["vxlan"]) == ["kernel has no VXLAN: CONFIG_VXLAN"]


@pytest.fixture
def frr_tree(tmp_path, monkeypatch):
    """/etc/frr, /usr/lib/frr and /var/lib/vtep.fabric of a host."""
    for name in ("etc", "lib", "records"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(host, "ETC_FRR", tmp_path / "etc")
    monkeypatch.setattr(host, "FRR", tmp_path / "lib")
    monkeypatch.setattr(host, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(host, "WRITTEN", (str(tmp_path / "etc"), str(tmp_path / "records")))
    for path in ("etc/frr.conf", "etc/vtysh.conf", "records/ospfv3.json"):
        (tmp_path / path).write_text("")
    for name, mode in (("ospfd", 0o755), ("frr-reload.py", 0o755), ("frrcommon.sh", 0o755), ("README", 0o644)):
        (tmp_path / "lib" / name).write_text("")
        (tmp_path / "lib" / name).chmod(mode)
    return tmp_path


def test_what_is_written_and_what_there_is_of_frr(frr_tree):
    written = [str(Path(path).relative_to(frr_tree)) for path in host.written()]
    assert written == ["etc", "records", "etc/frr.conf", "records/ospfv3.json"]
    assert host.frr_daemons() == ["ospfd"]
    assert {host.obstacle(path) for path in host.written()} == {""}
    (frr_tree / "lib").rename(frr_tree / "away")
    assert host.frr_daemons() == []


def test_what_roles_have_left(tmp_path, monkeypatch):
    places = {role: tuple((tmp_path, pattern) for _folder, pattern in told) for role, told in host.INSTALLED.items()}
    monkeypatch.setattr(host, "INSTALLED", places)
    assert host.installed() == dict.fromkeys(("agent", "boot", "ipsec", "macsec", "registry", "underlay", "vxfld"), [])
    for name in (
        "ospfv3.json",
        "sysctl.json",
        "vxfld.pyz",
        "vxsnd.service",
        "vtep-agent.pyz",
        "given.json",
        "boot.json",
        "ipsec.json",
        "mka-eth0.conf",
        "other.service",
    ):
        (tmp_path / name).write_text("")
    assert host.installed() == {
        "macsec": [f"{tmp_path}/mka-eth0.conf"],
        "underlay": [f"{tmp_path}/ospfv3.json"],
        "vxfld": [f"{tmp_path}/vxfld.pyz", f"{tmp_path}/vxsnd.service"],
        "agent": [f"{tmp_path}/given.json", f"{tmp_path}/vtep-agent.pyz"],
        "registry": [],
        "boot": [f"{tmp_path}/boot.json"],
        "ipsec": [f"{tmp_path}/ipsec.json"],
    }


def test_a_role_that_shows_is_one_of_the_collections():
    assert all((Path(__file__).parents[2] / "roles" / role).is_dir() for role in host.INSTALLED)

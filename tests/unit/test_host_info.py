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
        "writable": {"/": True, "/etc": True, "/var/lib": True},
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
        writable={"/": False, "/etc": False, "/var/lib": False},
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
        ({"writable": {"/": True, "/etc": False, "/var/lib": True}}, "writable", "/etc: mounted read-only"),
    ],
)
def test_one_thing_missing(changes, word, told):
    faults = missing(fit(**changes), [word])
    assert len(faults) == 1
    assert told in faults[0]


@pytest.mark.parametrize("version", ["0.7.2", "0.7.12", "0.9.7", "1.0", "0.8.1.post1", "unknown"])
def test_pyroute2_versions_that_will_do(version):
    assert missing(fit(python={"executable": "x", "pyroute2": version}), ["pyroute2"]) == []


def test_a_root_file_system_that_is_read_only_by_design_will_do():
    assert missing(fit(writable={"/": False, "/etc": True, "/var/lib": True}), ["writable"]) == []


def test_every_feature_is_probed_and_documented():
    assert set(FEATURES) == set(probe.TRIED) | set(probe._of_files())
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

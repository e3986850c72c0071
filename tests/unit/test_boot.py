# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host comes back as after a reboot: the record out of a plan, and how vtep-boot reads it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import boot
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import host_lock
from ansible_collections.vtep.fabric.plugins.module_utils._model.host_lock import Holder, Lock
from ansible_collections.vtep.fabric.plugins.module_utils._plan import boot as plan
from ansible_collections.vtep.fabric.plugins.plugin_utils import program_archive

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
PLANS = sorted(path for path in GOLDEN.glob("*/*/*.json") if path.name != "faults.json")
MACSEC = sorted(GOLDEN.with_name("golden_macsec").glob("*.json"))
GUARD = "table inet vtep_fabric_macsec {\n}\n"


def read(path):
    return json.loads(path.read_text())


def named(path):
    return "-".join(path.with_suffix("").parts[-3:])


@pytest.mark.parametrize("path", [*PLANS, *MACSEC], ids=named)
def test_each_step_is_what_its_module_takes_and_purges_nothing(path):
    for step in plan.record(read(path), GUARD)["steps"]:
        if "nft" in step:
            continue
        options, _make = boot.MODULES[step["module"]]
        judged = ArgumentSpecValidator(options).validate(step["options"])
        assert not judged.error_messages
        # As Ansible hands them over, in suboptions too.
        assert boot.filled(options, step["options"]) == judged.validated_parameters
        assert not {"purge", "purge_addresses", "recreate"} & step["options"].keys()


def test_the_program_knows_the_modules_of_records_and_no_others():
    steps = [step for path in (*PLANS, *MACSEC) for step in plan.record(read(path))["steps"]]
    # None of these plans has IPsec.
    assert {step["module"] for step in steps} | {"xfrm"} == set(boot.MODULES)


def test_the_program_can_be_packed():
    commands = yaml.safe_load((ROOT / "roles" / "boot" / "vars" / "main.yml").read_text())["boot_commands"]
    assert program_archive.build(commands)


def order(name):
    return [step.get("module", "nft") for step in plan.record(read(name), GUARD)["steps"]]


def test_the_order_is_that_of_a_run():
    assert order(GOLDEN / "lab" / "unicast-routing" / "s1.json") == [
        "link", "link", "isolation", "vxlan", "neighbor", "sysctl", "route",
    ]  # fmt: skip
    inside, multicast, underlay = MACSEC
    assert order(inside) == ["link", "link", "isolation", "vxlan", "macsec", "link", "fdb"]
    # What keeps VXLAN to MACsec is there before there is VXLAN.
    assert order(multicast)[:4] == ["link", "macsec", "link", "nft"]
    assert order(underlay).index("nft") < order(underlay).index("vxlan")


def test_what_drops_vxlan_in_clear_is_there_before_there_is_vxlan():
    found = read(GOLDEN / "lab" / "unicast-static-flood" / "s1.json")
    block = [{"dir": "in", "proto": "udp", "dport": "4789", "action": "block"}]
    record = plan.record({**found, "ipsec": {"mode": "static", "block": block}})
    steps = record["steps"]
    # So that a change of mode is a change of the record, which is out of use meanwhile.
    assert record["ipsec"] == "static"
    assert [step["module"] for step in steps][:2] == ["link", "xfrm"]
    assert steps[1]["options"] == {"states": [], "policies": block}


def test_the_hosts_ip_stack_may_stay_on_the_overlay():
    found = read(GOLDEN / "lab" / "unicast-static-flood" / "s1.json")
    assert "isolation" not in {step["module"] for step in plan.record(found, isolation=False)["steps"]}


def test_a_host_without_a_part_has_no_steps():
    (path,) = [path for path in PLANS if named(path) == "lab-multicast-sn1"]
    assert plan.record(read(path)) == {"steps": []}


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(host_lock, "DIRECTORY", tmp_path / "run" / "vtep.fabric")
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "is not there; a run of site.yml with boot_restore writes it"),
        ("{", "is not a record of this program"),
        ("[]", "is not a record of this program"),
        ('{"steps": [{"options": {}}]}', "is not a record of this program"),
        ('{"steps": [{"module": "fdb"}]}', "is not a record of this program"),
        ('{"steps": [{"module": "os", "options": {}}]}', "this program does not know os; run site.yml"),
    ],
)
def test_a_record_that_cannot_be_read_is_told(host, capsys, text, told):
    path = host / "boot.json"
    if text is not None:
        path.write_text(text)
    assert boot.main([str(path)]) == 3
    assert told in capsys.readouterr().err


def test_a_run_of_ansible_has_the_host(host, capsys):
    record = host / "boot.json"
    record.write_text('{"steps": []}')
    assert boot.main([str(record)]) == 0
    holder = Holder(run="1", controller="2", hostname="ctl1", user="alice", pid=1, start="3")
    host_lock.store(Lock(holder, "site.yml variant=multicast", host_lock.now(), host_lock.now() + 600))
    assert boot.main([str(record)]) == 3
    assert capsys.readouterr().err == "vtep-boot: site.yml variant=multicast of alice@ctl1 has this host\n"
    assert boot.main([str(record), "--check"]) == 0
    host_lock.store(Lock(holder, "site.yml variant=multicast", host_lock.now() - 601, host_lock.now() - 1))
    assert boot.main([str(record)]) == 0


def test_no_lock_is_left_behind(host):
    record = host / "boot.json"
    record.write_text('{"steps": []}')
    before = len(list(Path("/proc/self/fd").iterdir()))
    boot.main([str(record)])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_daemons_that_need_the_addresses_start_after_it():
    unit = (ROOT / "roles" / "boot" / "templates" / "vtep-boot.service.j2").read_text()
    after = re.search(r"^Before=(.*)$", unit, re.M)[1].split()
    services = [one["service"] for one in yaml.safe_load(
        (ROOT / "roles" / "ipsec" / "vars" / "main.yml").read_text())["ipsec_daemons"].values()]  # fmt: skip
    assert {f"{name}.service" for name in (*services, "frr", "vtep-agent", "vxrd", "vxsnd")} == set(after)

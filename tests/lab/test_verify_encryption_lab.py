# SPDX-License-Identifier: GPL-3.0-or-later
"""Role verify against a fabric that was to encrypt and does not: everything that it looks for is there, and it says so of each VTEP.

So a kernel without MACsec and ESP proves that the captures, the rogues and the judgement work together on hosts.
"""

import json
import os

import pytest
from driver import ROOT, Fabric

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a lab needs root. THE LAB IS NOT TESTED")

VTEPS = ("s1", "s2", "s3")
WORDS = {"variant": "unicast-static-flood"}
# The plan is that of a fabric without encryption, but for what says that it has ESP; and so has each kernel, by what it is taken for.
PLAY = """
- hosts: vteps:endpoints
  gather_facts: false
  tasks:
    - when: inventory_hostname in groups.vteps
      block:
        - ansible.builtin.include_role:
            name: vtep.fabric.preflight
        - ansible.builtin.set_fact:
            preflight_plan: "{{ preflight_plan | combine({'ipsec': {'mode': 'ike'}}) }}"
            preflight_host: "{{ preflight_host | combine({'features': {'xfrm': true, 'esp6': true}}, recursive=true) }}"
    - ansible.builtin.include_role:
        name: vtep.fabric.verify
"""


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    # Links whose MTU holds ESP.
    made = Fabric(
        tmp_path_factory.mktemp("verify"), ROOT / "inventories" / "lab", ROOT / "inventories" / "lab-encryption"
    )
    made.play("playbooks/lab_up.yml")
    try:
        made.play("site.yml", "-e", json.dumps(WORDS))
        yield made
    finally:
        made.play("playbooks/lab_down.yml")


def report(fabric, tmp_path, *words, variant="unicast-static-flood"):
    play, told = tmp_path / "play.yml", tmp_path / "verify.json"
    play.write_text(PLAY)
    fabric.play(str(play), "-e", json.dumps({"variant": variant, "verify_report_file": str(told)}), *words, fails=True)
    return json.loads(told.read_text())


def of(checks, kind):
    return {check["host"]: check["ok"] for check in checks if check["check"] == kind}


def test_everything_in_clear_is_found(fabric, tmp_path):
    told = report(fabric, tmp_path)
    assert (told["ok"], told["encryption"]) == (False, "ipsec")
    checks = told["checks"]
    for kind in (
        "packets with ESP",
        "VXLAN in clear",
        "marker on the wire",
        "a rogue's VXLAN let in",
        "VXLAN from a VTEP's address let in",
    ):
        assert of(checks, kind) == dict.fromkeys(VTEPS, False), kind
    assert of(checks, "keys that everybody can read") == dict.fromkeys(VTEPS, True)
    # What does not arrive encrypted is no copy; nothing else is wrong with the fabric.
    others = {c["check"].split(" for ")[0] for c in checks if c["ok"] is not True} - {
        "packets with ESP", "VXLAN in clear", "marker on the wire", "a rogue's VXLAN let in", "VXLAN from a VTEP's address let in",
    }  # fmt: skip
    assert others == {"broadcast copies received", "unknown-unicast copies received"}
    [rogue] = [c for c in checks if c["check"] == "a rogue's VXLAN let in" and c["host"] == "s1"]
    assert "CVE-2023-28840" in rogue["detail"][0]


def test_without_a_rogue_that_part_is_not_run(fabric, tmp_path):
    checks = report(fabric, tmp_path, "-e", '{"verify_rogues": {}}')["checks"]
    assert (
        of(checks, "a rogue's VXLAN let in") == of(checks, "VXLAN from a VTEP's address let in") == dict.fromkeys(VTEPS)
    )
    assert of(checks, "VXLAN in clear") == dict.fromkeys(VTEPS, False)


def test_a_fabric_without_encryption_passes_as_before(fabric):
    told = fabric.record.parent / "plain.json"
    fabric.play("playbooks/verify.yml", "-e", json.dumps({**WORDS, "verify_report_file": str(told)}))
    found = json.loads(told.read_text())
    assert (found["ok"], found["encryption"]) == (True, "none")
    assert all(check["ok"] is True for check in found["checks"])


def test_a_rogue_that_gets_to_an_endpoint_is_found(fabric, tmp_path):
    """Where VTEPs route. It is the last test of the lab."""
    fabric.play("site.yml", "-e", "variant=unicast-routing")
    checks = report(fabric, tmp_path, variant="unicast-routing")["checks"]
    for kind in ("a rogue's VXLAN let in", "VXLAN from a VTEP's address let in"):
        assert of(checks, kind) == dict.fromkeys(VTEPS, False), kind

# SPDX-License-Identifier: GPL-3.0-or-later
"""The macsec modules on a kernel that has no MACsec, and the filters, as Ansible runs them."""

import sys
from functools import partial

import playbook_support
import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import link

pytestmark = playbook_support.MARKS

LINKS = "mount -t tmpfs lib /var/lib && ip link add eth1 type veth peer name far1"
play = partial(playbook_support.play, setup=LINKS)
KEY = "1a2b" * 8
PYTHON = {"vars": {"ansible_python_interpreter": sys.executable}}


def has_macsec():
    links = link.Links()
    try:
        return links.has_kind("macsec")
    finally:
        links.close()


@pytest.mark.skipif(has_macsec(), reason="this kernel has MACsec: tests/full/test_macsec.py tests it")
def test_a_kernel_without_macsec_is_named_before_anything_is_done(tmp_path):
    device = {"name": "macsec0", "dev": "eth1", "tx": [{"an": 0, "key": KEY}]}
    results, out = play(
        tmp_path,
        {"vtep.fabric.macsec": device, "check_mode": True, **PYTHON},
        {"vtep.fabric.macsec": device, **PYTHON},
        {"vtep.fabric.macsec": {"name": "macsec0", "state": "absent"}, **PYTHON},
        {"vtep.fabric.macsec_info": {}, **PYTHON},
        {"ansible.builtin.command": "ls /var/lib"},
    )
    checked, made, absent, info, listed = results
    assert checked["msg"] == made["msg"] == "kernel has no MACsec: CONFIG_MACSEC"
    assert not absent["changed"] and info["devices"] == []
    assert listed["stdout"] == ""
    assert KEY not in out and KEY not in str(results)


def test_filters_in_a_play(tmp_path):
    secret, sci = "5e" * 32, "0200000000010001"
    told = {"sci": sci, "epochs": {"current": None, "fresh": {"an": 2, "epoch": "ab" * 16}}, "tx": [], "rx": []}
    words = {"secret": secret, "told": {"s1": told}}
    lists = "{{ told | vtep.fabric.macsec_associations(secret, 's1', 'transmit') }}"
    fresh = (
        "{{ secret | vtep.fabric.macsec_sak(told.s1.sci, told.s1.epochs.fresh.epoch) | combine(told.s1.epochs.fresh) }}"
    )
    results, out = play(
        tmp_path,
        {"ansible.builtin.set_fact": {"lists": lists, "fresh": fresh}, "vars": words},
    )
    made = results[0]["ansible_facts"]
    assert made["lists"] == {"tx": [made["fresh"]], "rx": [], "encodingsa": 2}
    assert set(made["fresh"]) == {"an", "epoch", "key", "key_id"}
    assert secret not in out

# SPDX-License-Identifier: GPL-3.0-or-later
"""The macsec modules as Ansible calls them: arguments, check mode, diff, key files, and no key in what is told or logged."""

import json

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.vtep.fabric.plugins.modules import macsec, macsec_info
from macsec_support import MARKS, Host

pytestmark = MARKS

OWN, PEER, FILED = "1a2b" * 8, "3c4d" * 8, "5a6b" * 8


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs the module as Ansible does, by main() with arguments in JSON; what it prints, keys must not be in."""
    host = Host("one", tmp_path)
    host.sh("ip link add eth1 type veth peer name far1", "ip link set eth1 address 02:00:00:00:00:01")
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, *words, **more: logged.append(str((words, more))))

    def go(main=macsec.main, checking=False, **arguments):
        given = {**arguments, "_ansible_check_mode": checking, "_ansible_diff": True}
        with host.here(), patch_module_args(given), pytest.raises(SystemExit):
            main()
        out = capsys.readouterr().out
        assert not [key for key in (OWN, PEER, FILED) if key in out or key in "".join(logged)]
        return json.loads(out)

    go.host, go.logged = host, logged
    yield go
    host.close()


def test_what_a_module_prints_and_logs_has_no_key(run, tmp_path):
    device = {
        "name": "macsec0",
        "dev": "eth1",
        "tx": [{"an": 0, "key": OWN}],
        "rx": [{"address": "02:00:00:00:00:02", "sa": [{"an": 0, "key": PEER}]}],
        "up": True,
    }
    checked, made, again = run(checking=True, **device), run(**device), run(devices=[device])
    assert checked["diff"] == made["diff"] and checked["changed"] and made["changed"] and not again["changed"]
    assert "macsec0 tx an 0 on key " in made["diff"]["after"]
    assert run.logged, "Ansible logs a module's arguments"

    key = tmp_path / "own.key"
    key.write_text(FILED + "\n")
    key.chmod(0o600)
    added = run(name="macsec0", tx=[{"an": 1, "key_file": str(key)}], encodingsa=1)
    assert added["changed"] and "macsec0 encodingsa 1" in added["diff"]["after"]
    key.chmod(0o644)
    assert "has mode 0644" in run(name="macsec0", tx=[{"an": 2, "key_file": str(key)}])["msg"]
    told = run(macsec_info.main)["devices"][0]
    assert (told["sci"], told["encodingsa"], len(told["tx"])) == ("0200000000010001", 1, 2)

    assert "key: it has 33 characters" in run(name="macsec0", tx=[{"an": 2, "key": OWN + "1"}])["msg"]
    assert "value of cipher must be one of" in run(name="macsec0", cipher="des", tx=[{"an": 2, "key": PEER}])["msg"]
    assert "missing required arguments: an" in run(name="macsec0", tx=[{"key": PEER}])["msg"]
    assert "is in use as an 0" in run(name="macsec0", tx=[{"an": 3, "key": OWN}], encodingsa=3)["msg"]
    run.host.sh("ip link del macsec0")
    assert "not known any more" in run(**device)["msg"]
    # `offload: off` of YAML is a boolean.
    assert run(**{**device, "offload": False, "tx": [{"an": 0, "key": PEER}]})["changed"]

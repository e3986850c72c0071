# SPDX-License-Identifier: GPL-3.0-or-later
"""The variant and the mode of encryption that role preflight is asked for: one that is there and cannot be read is never another one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "preflight"


def asked(tmp_path, words):
    """What ansible-playbook says, with words of the play."""
    files = [str(ROLE / "vars" / "main.yml"), str(ROLE / "defaults" / "main.yml")]
    task = {"ansible.builtin.debug": {"msg": "asked for {{ preflight_variant }}, {{ preflight_encryption }}."}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    path = tmp_path / "play.yml"
    path.write_text(json.dumps([{**play, "vars_files": files, "vars": words, "tasks": [task]}]))
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [str(program), "-i", "localhost,", str(path)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, "asked for , ."),
        ({"fabric_variant": "multicast"}, "asked for multicast, ."),
        (
            {"fabric_variant": "multicast", "variant": "vxfld-snr", "encryption": "macsec"},
            "asked for vxfld-snr, macsec.",
        ),
        ({"variant": "{{ other }}", "other": "vxfld-hrep", "encryption": "none"}, "asked for vxfld-hrep, none."),
    ],
)
def test_words(tmp_path, words, told):
    assert told in asked(tmp_path, words).stdout


@pytest.mark.parametrize("word", ["variant", "encryption"])
def test_a_word_that_refers_to_nothing(tmp_path, word):
    done = asked(tmp_path, {"fabric_variant": "multicast", word: "{{ nothing }}"})
    assert done.returncode and "'nothing' is undefined" in done.stdout + done.stderr and "asked for" not in done.stdout

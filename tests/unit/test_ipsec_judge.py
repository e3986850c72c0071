# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of role ipsec: what is refused, by host, word and value, before a host is touched. The check of certificates themselves is
in test_certificate_faults.py."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.probe import features
from test_certificate_faults import CA, Makes

ESP = features()["esp6"]
ROOT = Path(__file__).parents[2]
NONE = "/nonexistent"
# What the play would go on to, and what belongs to the host.
PLAN = {
    "local": "2001:db8:1::1",
    "family": 6,
    "peers": [{"name": "s2"}, {"name": "s3"}],
    "mode": "ike",
    "cipher": "aes128gcm16",
}
SHARED = {"ipsec_authentication": "secret", "fabric_encryption": {"ipsec_secret": "5e" * 32}}
RANGES = {
    "ipsec_rekey": (60, 86400),
    "ipsec_ike_rekey": (60, 604800),
    "ipsec_dpd_delay": (1, 3600),
    "ipsec_replay_window": (1, 4096),
}
CASES = {
    **{f"{word} {value}": (f"s1: {word}: {value} is not a whole number from {least} to {most}", {**SHARED, word: value})
       for word, (least, most) in RANGES.items() for value in (least - 1, most + 1)},
    **{f"{word} {value}": (None, {**SHARED, word: value}) for word, ends in RANGES.items() for value in ends},
    **{f"{word} {value} of Libreswan": (said, {"mode": "opportunistic", word: value}) for word in ("ipsec_rekey", "ipsec_ike_rekey")
       for value, said in ((43200, None), (43201, f"s1: {word}: 43201 is not a whole number from 60 to 43200"))},
    "authentication": ("Validation of arguments failed:\nvalue of ipsec_authentication must be one of: certificate, secret, got: psk",
                       {"ipsec_authentication": "psk"}),
    "no secret": ("s1: fabric_encryption: ipsec_secret: is missing", {"ipsec_authentication": "secret"}),
    "secret of Libreswan": ("s1: ipsec_authentication: secret does not go with ipsec_mode opportun", {**SHARED, "mode": "opportunistic"}),
    "no number": ("Validation of arguments failed:\nargument 'ipsec_rekey' is of type str and we were unable to convert to int",
                  {**SHARED, "ipsec_rekey": "1h"}),
    "all at once": ("s1: ipsec_rekey: 0 is not a whole number from 60 to 86400\ns1: ipsec_dpd_delay: 0 is not",
                    {**SHARED, "ipsec_rekey": 0, "ipsec_dpd_delay": 0}),
    "two of three": ("s1: ipsec_ca, ipsec_cert, ipsec_key: only some of them are given", {"ipsec_ca": "a", "ipsec_key": "b"}),
    "days": ("s1: ipsec_certificate_days, ipsec_renew_days: 30 and 30 do not fit", {"ipsec_certificate_days": 30}),
    "days of the CA": ("s1: ipsec_certificate_days, ipsec_renew_days: 6971 and 30 do not fit", {"ipsec_certificate_days": 6971}),
    "rival": ("s1: ipsec_mode ike: Libreswan is installed", {**SHARED, "rival": "/bin/sh"}),
    "limit": ("s1: has no CA, and would make one that s2, s3 does not know", {"limit": True}),
    "limit, or clear": (None, {"limit": True, "mode": "opportunistic", "group": "private-or-clear"}),
    "limit, or clear, where another has a CA": (
        "s1: has no CA, and would make one that s2, s3 does not know",
        {"limit": True, "mode": "opportunistic", "group": "private-or-clear",
         "ipsec_ca_files": "{{ ca_of_s3 if item | default('') == 's3' else '/nonexistent' }}"},
    ),
    "limit of Libreswan": ("s1: has no CA, and would make one that s2, s3 does not know", {"limit": True, "mode": "opportunistic"}),
    "CA elsewhere": ("s1: s2, which is first in group vteps, has no CA", {"limit": True, "ipsec_first": "s2"}),
    "own": (None, {"given": "good"}),
    "own of Libreswan": (None, {"given": "good", "mode": "opportunistic"}),
    "Edwards of Libreswan": ("s1: ipsec_cert: its key is Ed25519, and Libreswan has RSA and ECDSA",
                             {"given": "edwards", "mode": "opportunistic"}),
    "Edwards": (None, {"given": "edwards"}),
    "NAT": (None, {**SHARED, "nat_t": True}),
    "all of all kinds at once": (
        "s1: fabric_encryption: ipsec_secret: is missing; with ipsec_authentication secret all VTEPs share one, 32 characters or more, "
        "random ones (openssl rand -hex 32)\ns1: ipsec_certificate_days, ipsec_renew_days: 1 and 30 do not fit; a certificate has to "
        "last longer than what it is renewed before, and both together at most 7000 days, since that of the CA lasts 7300\n"
        "s1: ipsec_rekey: 0 is not a whole",
        {"ipsec_authentication": "secret", "ipsec_certificate_days": 1, "ipsec_rekey": 0},
    ),
    "expired": ("s1: ipsec_cert: CN=ended has expired, on 2", {"given": "ended"}),
    "with its key": ("s1: ipsec_cert: holds a private key; give the certificate alone", {"given": "combined"}),
    "another CA": ("s1: ipsec_cert: is refused", {"given": "other"}),
    "another kind": ("s1: ipsec_authentication, ipsec_ca, kind of ipsec_key: s2 has something else",
                     {"given": "good", "mode": "opportunistic", "others": "RSA"}),
    "the same kind": (None, {"given": "good", "mode": "opportunistic", "others": "ECDSA"}),
    "static limit": ("s1: s2, s3: not in this run, or failed before", {"mode": "static", "limit": True}),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the role says to each case, all by two runs of Ansible: {case: message, or None where all was taken}."""
    place = tmp_path_factory.mktemp("judge")
    given = certificates(tmp_path_factory.mktemp("certificates"))
    told = {}
    for limit in ("all", "s1"):
        cases = {name: words for name, (_said, words) in CASES.items() if bool(words.get("limit")) == (limit == "s1")}
        told |= judge(
            place, limit, {name: {**words, **given.get(words.get("given"), {})} for name, words in cases.items()}
        )
    return told


def certificates(place):
    made = Makes(place)
    for name in ("ca", "foreign"):
        made.make(name, extensions=CA)
    texts = {
        "good": made.member("good", address=PLAN["local"]),
        "ended": made.member("ended", address=PLAN["local"], ended=True),
        "other": {**made.member("other", "foreign", address=PLAN["local"]), "ca": made.text("ca")},
    }
    texts["combined"] = {**texts["good"], "cert": texts["good"]["cert"] + texts["good"]["key"]}
    made.kind = ("-algorithm", "ED25519")
    texts["edwards"] = made.member("edwards", address=PLAN["local"])
    return {name: {f"ipsec_{word}": text for word, text in found.items()} for name, found in texts.items()}


def judge(place, limit, cases):
    out = place / "out.json"
    (place / "certificate").touch()
    tasks = []
    for number, words in enumerate(cases.values()):
        words = dict(words)
        mode, rival = words.pop("mode", "ike"), words.pop("rival", NONE)
        plan = {**PLAN, "mode": mode, "nat_t": words.pop("nat_t", False), "group": words.pop("group", None)}
        for word in ("limit", "given"):
            words.pop(word, None)
        # What another host of the run would have kept by now.
        others = words.pop("others", None)
        creed = ["certificate", hashlib.sha256(words.get("ipsec_ca", "").strip().encode()).hexdigest(), others]
        other = [{"set_fact": {"ipsec_creed": creed}, "delegate_to": "s2", "delegate_facts": True}] if others else []
        # Of all VTEPs alike, so the role takes it from the variables of the first one.
        encryption = words.pop("fabric_encryption", {})
        daemon = {"rival": {"name": "Libreswan", "file": rival, "packages": "libreswan"}, "name": "strongSwan"}
        tasks.append(
            {
                "block": [
                    {"set_fact": {"fabric_encryption": encryption}},
                    *other,
                    {"include_role": {"name": "vtep.fabric.ipsec", "tasks_from": "judge"}},
                ],
                "rescue": [{"set_fact": {f"said{number}": "{{ ansible_failed_result.msg }}"}}],
                "when": "inventory_hostname == 's1'",
                "vars": {
                    **words,
                    "preflight_plan": {"ipsec": plan},
                    "ipsec_plan": plan,
                    "ipsec_daemon": daemon,
                    "ipsec_ca_files": words.get("ipsec_ca_files", NONE),
                    "ca_of_s3": str(place),
                },
            }
        )
    told = ", ".join(f"said{number} | default(none)" for number in range(len(tasks)))
    tasks.append(
        {
            "copy": {"dest": str(out), "mode": "0600", "content": "{{ [" + told + "] | to_json }}"},
            "when": "inventory_hostname == 's1'",
        }
    )
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}])
    )
    common = {"ansible_python_interpreter": sys.executable}
    inventory = {"all": {"children": {"vteps": {"hosts": {"s1": {}, "s2": {}, "s3": {}}}}, "vars": common}}
    (place / "inventory.json").write_text(json.dumps(inventory))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "inventory.json", "--limit", limit, "play.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(cases, json.loads(out.read_text())))


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(said, case):
    wanted = CASES[case][0]
    if wanted:
        assert "\n".join([said[case]] if isinstance(said[case], str) else said[case]).startswith(wanted)
    else:
        # The kernel's features are looked at last.
        assert said[case] is None if ESP else "kernel has no ESP for IPv6" in said[case], said[case]

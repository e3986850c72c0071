# SPDX-License-Identifier: GPL-3.0-or-later
"""What MACsec takes in a plan, golden files of it, and the steps of a change of keys.

After a wanted change of what is compiled: GOLDEN=write pytest tests/unit/test_macsec_fabric.py, then read the difference in git.
"""

import copy
import json
import os
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.filter import macsec_turn as turn_filter
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import link as link_module
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import macsec as macsec_module
from ansible_collections.vtep.fabric.plugins.module_utils._model import link, macsec, secured
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as plan
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_fabric, macsec_keys
from test_compile import accepted, words_of

GOLDEN = Path(__file__).parent / "golden_macsec"
SECRET = "5e" * 32
CAK = "6b" * 16
CASES = {
    "underlay-unicast-static-nd": ("unicast-static-nd", {"macsec_mode": "underlay"}),
    "underlay-multicast": ("multicast", {"macsec_mode": "underlay", "macsec_cipher": "gcm-aes-xpn-256"}),
    "inside-unicast-static-flood": ("unicast-static-flood", {"macsec_mode": "inside"}),
}


def fabric_of(variant, encryption, change=lambda words, hosts: None, mode="macsec", name="lab"):
    """(words, hosts) of the lab's fabric with MACsec, and links that are large enough."""
    words, hosts, *_others = copy.deepcopy(words_of(name))
    words.update(
        encryption=mode,
        fabric_encryption={"macsec_secret": SECRET, "mka_keys": [{"ckn": "01", "cak": CAK}], **encryption},
    )
    for number, host in enumerate(hosts.values(), 1):
        host["vtep_underlay_interfaces"] = [{"dev": "eth0", "mtu": 1700, "addresses": [f"169.254.16.{number}/24"]}]
    change(words, hosts)
    return words, hosts, variant


def compiled(*arguments, **more):
    fabric, faults = plan.read(*fabric_of(*arguments, **more))
    assert faults == []
    return {host: plan.compile_host(fabric, arguments[0], host) for host in fabric.vteps}


def faults_of(*arguments, **more):
    return plan.read(*fabric_of(*arguments, **more))[1]


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    plans = compiled(*CASES[case])
    text = json.dumps(plans["s2"], indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"{case}.json"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
    assert SECRET not in json.dumps(plans)


def test_every_golden_file_is_tested():
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_modules_take_it(case):
    for found in compiled(*CASES[case]).values():
        section = found["macsec"]
        options = accepted(macsec_module.Macsecs.spec(), {"devices": section["devices"]})
        assert [device.name for device in macsec.devices(options["devices"], None)] == list(section["peers"])
        for links in (section["ports"], found["underlay"].get("carriers", [])):
            if links:
                link.devices(accepted(link_module.Devices.spec(), {"links": links})["links"])


def test_underlay_runs_on_macsec_and_on_nothing_else():
    found = compiled("unicast-static-nd", {"macsec_mode": "underlay"})["s1"]
    for protocol in ("ospfv3", "ospfv2"):
        assert [one["name"] for one in found["underlay"][protocol]["interfaces"]] == ["lo", "ms-eth0"]
        assert [one["name"] for one in found["underlay"]["leaving"][protocol]] == ["eth0"]
    assert found["underlay"]["carriers"] == [{"name": "ms-eth0", "addresses": ["169.254.16.1/24"], "up": True}]
    assert found["underlay"]["vacated"] == [{"name": "eth0", "addresses": []}]
    assert found["underlay"]["links"][1] == {"name": "eth0", "mtu": 1700, "up": True}
    assert found["macsec"]["devices"][0]["mtu"] == 1700 - 32
    assert found["macsec"]["vxlan_ports"] == [4789]
    assert found["overlay"]["vxlans"][0]["master"] == "br100"


def test_inside_macsec_is_the_port_and_the_vxlan_device_none():
    plans = compiled("unicast-static-flood", {"macsec_mode": "inside"})
    found = plans["s1"]
    (vxlan,) = found["overlay"]["vxlans"]
    assert (vxlan["master"], vxlan["mtu"], "port" in vxlan) == ("", 1532, False)
    (port,) = found["macsec"]["ports"]
    assert (port["name"], port["master"], port["port"]["learning"]) == ("ms-vxlan100", "br100", True)
    assert {"vxlan100", "ms-vxlan100"} <= set(found["access"]["isolation"])
    assert all(" dev vxlan100 " in line for line in found["overlay"]["fdb"]["table"].splitlines())
    assert [peer["host"] for peer in found["macsec"]["peers"]["ms-vxlan100"]] == ["s2", "s3"]
    assert "leaving" not in found["underlay"]


def test_everybody_is_heard_under_the_sci_that_it_sends_with():
    for encryption in ({"macsec_mode": "underlay"}, {"macsec_mode": "inside"}):
        plans = compiled("unicast-static-flood", encryption)
        sent = {(host, one["name"]): one["sci"] for host, found in plans.items() for one in found["macsec"]["devices"]}
        assert len(set(sent.values())) == 3
        for host, found in plans.items():
            for peers in found["macsec"]["peers"].values():
                assert {(peer["host"], peer["name"]): peer["sci"] for peer in peers} == {
                    place: sci for place, sci in sent.items() if place[0] != host
                }


def test_a_host_that_had_macsec_loses_it():
    def had(words, hosts):
        for host in hosts.values():
            owned = {
                name: {"kind": "macsec", "alias": f"vtep.fabric macsec on {name}"}
                for name in ("eth0", "eth9", "vxlan100")
            }
            host["preflight_host"] = {
                "interfaces": {
                    **{name: {"mtu": 1700, "alias": None, "kind": None} for name in ("eth0", "eth1", "eth2")},
                    "vxlan100": {"kind": "vxlan", "alias": "vtep.fabric vxlan100"},
                    **{f"ms-{name}": one for name, one in owned.items()},
                    "macsec7": {"kind": "macsec", "alias": None},
                }
            }

    found = compiled("unicast-static-nd", {}, had, mode="none")["s1"]
    absent = {"state": "absent"}
    assert found["macsec_former"] == {
        # eth9 is no interface of the underlay any more, and has nothing to move to.
        "links": [{"name": "ms-eth0", **absent}, {"name": "ms-eth9", **absent}],
        "segments": [{"name": "ms-vxlan100", **absent}],
    }
    assert found["underlay"]["leaving"]["names"] == ["ms-eth0"] and found["underlay"]["leaving"]["in_clear"]
    assert [one["name"] for one in found["underlay"]["ospfv3"]["interfaces"]] == ["lo", "eth0"]
    assert "macsec" not in found
    found = compiled("unicast-static-nd", {"macsec_mode": "underlay"}, had)["s1"]
    assert (
        found["macsec_former"]["links"] == [{"name": "ms-eth9", **absent}]
        and not found["underlay"]["leaving"]["in_clear"]
    )
    # What encrypts from now on may not be on this host, as on service nodes with MACsec inside.
    found = compiled("unicast-static-flood", {"macsec_mode": "inside"}, had)["s1"]
    assert found["underlay"]["leaving"]["names"] == ["ms-eth0"] and not found["underlay"]["leaving"]["in_clear"]

    def had_elsewhere(words, hosts):
        had(words, hosts)
        for host in hosts.values():
            del host["preflight_host"]["interfaces"]["ms-eth0"]

    assert "leaving" not in compiled("unicast-static-nd", {}, had_elsewhere, mode="none")["s1"]["underlay"]


def without(word):
    return lambda words, hosts: words["fabric_encryption"].pop(word)


def bare_links(words, hosts):
    for host in hosts.values():
        host["vtep_underlay_interfaces"] = [{"dev": "eth0", "mtu": 1700}]


def lacking(words, hosts):
    hosts["s2"]["preflight_host"] = {"features": {"macsec": False, "macsec_xpn": False}}


def before_xpn(words, hosts):
    hosts["s2"]["preflight_host"] = {"features": {"macsec": True, "macsec_xpn": False}}


@pytest.mark.parametrize(
    ("encryption", "change", "mode", "told"),
    [
        ({}, without("macsec_secret"), "macsec", "fabric: fabric_encryption: macsec_secret: is missing"),
        (
            {"macsec_mode": "underlay"},
            without("mka_keys"),
            "macsec-mka",
            "fabric: fabric_encryption: mka_keys: is missing",
        ),
        ({}, None, "macsec-mka", "fabric: fabric_encryption: macsec_mode: inside does not go with macsec-mka"),
        (
            {"macsec_send_sci": False},
            None,
            "macsec",
            "fabric: fabric_encryption: macsec_send_sci: false tells the sender",
        ),
        ({"macsec_mode": "underlay"}, bare_links, "macsec", "s2: vtep_underlay_interfaces: eth0 has no IPv4 address"),
        ({"macsec_mode": "underlay"}, lacking, "macsec", "s2: encryption: kernel has no MACsec: CONFIG_MACSEC"),
        (
            {"macsec_mode": "underlay", "macsec_cipher": "gcm-aes-xpn-256"},
            before_xpn,
            "macsec",
            "s2: fabric_encryption: macsec_cipher: kernel has no MACsec with extended packet numbers: Linux 5.7",
        ),
        (
            {"macsec_mode": "underlay", "macsec_cipher": "gcm-aes-256"},
            None,
            "macsec-mka",
            "fabric: fabric_encryption: macsec_cipher, macsec_send_sci: macsec-mka has gcm-aes-128",
        ),
    ],
)
def test_what_does_not_work_is_refused(encryption, change, mode, told):
    found = faults_of("unicast-static-flood", encryption, change or (lambda words, hosts: None), mode=mode)
    assert any(fault.startswith(told) for fault in found), found
    assert not any(SECRET in fault or CAK in fault for fault in found)


@pytest.mark.parametrize("mode", ["inside", "underlay"])
def test_faults_of_a_host_are_told_beside_macsec(mode):
    """Who cannot be read is no peer of the others, and they are told as usual."""

    def faulty(words, hosts):
        del hosts["s2"]["vtep_address"]
        hosts["s3"]["vtep_router_id"] = "x"

    found = faults_of("unicast-static-flood", {"macsec_mode": mode}, faulty)
    assert len(found) == 2 and found[0].startswith("s2: vtep_address: is missing"), found
    assert found[1].startswith("s3: vtep_router_id: 'x' is not an IP address")


def test_links_have_addresses_of_their_own():
    def same(words, hosts):
        for host in hosts.values():
            host["vtep_underlay_interfaces"] = [{"dev": "eth0", "mtu": 1700, "addresses": ["169.254.1.1/24"]}]

    told = "vtep_underlay_interfaces row 1: addresses: 169.254.1.1 is also that of eth0 of s1; give each link of a host"
    found = faults_of("unicast-static-nd", {"macsec_mode": "underlay"}, same)
    assert len(found) == 2 and all(f"{host}: {told}" in fault for host, fault in zip(("s2", "s3"), found)), found

    def pairs(words, hosts):
        same(words, hosts)
        for host in hosts.values():
            host["vtep_underlay_interfaces"][0]["network"] = "point-to-point"

    assert faults_of("unicast-static-nd", {"macsec_mode": "underlay"}, pairs) == []

    def nobody(words, hosts):
        for host, text in zip(hosts.values(), ("224.0.0.5/24", "127.0.0.1/8", "0.0.0.0/0")):
            host["vtep_underlay_interfaces"] = [{"dev": "eth0", "mtu": 1700, "addresses": [text]}]

    found = faults_of("unicast-static-nd", {"macsec_mode": "underlay"}, nobody)
    assert len(found) == 3 and all("is not an address of one host; take a unicast one" in one for one in found), found


def test_what_a_kernel_lacks_counts_where_it_is_used():
    for change, cipher in ((before_xpn, "gcm-aes-256"), (lacking, "gcm-aes-xpn-256")):
        found = faults_of(
            "unicast-static-flood", {"macsec_mode": "underlay", "macsec_cipher": cipher}, change, mode="macsec"
        )
        assert not any("extended" in fault for fault in found), found


def test_a_device_of_somebody_else_is_not_taken():
    def taken(words, hosts):
        known = {name: {"mtu": 1700, "alias": None, "kind": None} for name in ("eth0", "eth1", "eth2")}
        hosts["s1"]["preflight_host"] = {"interfaces": {**known, "ms-eth0": {"kind": "macsec", "alias": "mine"}}}

    (fault,) = faults_of("unicast-static-nd", {"macsec_mode": "underlay"}, taken)
    assert (
        fault == "s1: encryption: the host has a macsec device ms-eth0, which MACsec on eth0 is to be called; rename it"
    )


def test_names_fit_and_differ():
    assert secured.device("eth0") == "ms-eth0"
    long = [secured.device(f"enp129s0f{number}np0") for number in range(4)]
    assert len(set(long)) == 4
    assert all(len(name) <= 15 for name in long)


# Keys


def told_by(host, current=None, fresh=True, key_id=None, rx=(), used=0.0):
    """What macsec_info tells of ms-eth0 of a host. current, fresh: (an, letter of the epoch)."""
    sci = next(one["sci"] for one in PLANS[host]["macsec"]["devices"])

    def epoch(letter):
        return letter * 32

    now = current and {"an": current[0], "epoch": epoch(current[1]), "pn": 50}
    key = macsec_keys.sak(SECRET, sci, now["epoch"])["key_id"] if now else None
    return [
        {
            "name": "ms-eth0",
            "sci": sci,
            "tx": [{"an": now["an"], "key_id": key_id or key, "pn_used": used}] if now else [],
            "rx": list(rx),
            "epochs": {
                "current": now,
                "fresh": fresh and {"an": (now["an"] + 1) % 4 if now else 0, "epoch": epoch("f")},
            },
        }
    ]


PLANS = compiled("unicast-static-nd", {"macsec_mode": "underlay"})
HOSTS = ("s1", "s2", "s3")
STEADY = {host: told_by(host, (0, "a")) for host in HOSTS}


def turn(told, step, host="s1", **more):
    return macsec_fabric.turn(PLANS[host]["macsec"], told, SECRET, host, step, **more)


def numbers(made):
    """(what is sent with, {peer's SCI: what is received with}) by the numbers of the associations; None for what stays as it is."""
    (device,) = made["devices"]
    sent = [one["an"] for one in device["tx"]] if "tx" in device else None
    heard = {one["sci"]: [sa["an"] for sa in one["sa"]] if "sa" in one else None for one in device.get("rx", ())}
    return sent, heard


def sci(host):
    return PLANS[host]["macsec"]["devices"][0]["sci"]


def test_nothing_turns_where_everybody_has_a_key():
    made = turn(STEADY, "drop")
    assert (made["turning"], made["settle"], made["away"], made["purge"]) == (False, False, [], "listed")
    assert numbers(made) == ([0], {sci("s2"): [0], sci("s3"): [0]})


def test_rotation_receives_before_it_sends_and_drops_last():
    steps = {step: turn(STEADY, step, rotate=True) for step in ("receive", "transmit", "drop")}
    assert all(made["turning"] for made in steps.values())
    assert numbers(steps["receive"]) == (None, {sci("s2"): [0, 1], sci("s3"): [0, 1]})
    assert numbers(steps["transmit"]) == ([1], {})
    assert numbers(steps["drop"]) == ([1], {sci("s2"): [1], sci("s3"): [1]})
    assert [steps[step]["purge"] for step in steps] == ["none", "none", "listed"]
    assert steps["transmit"]["devices"][0]["encodingsa"] == 1


def test_what_one_sends_with_the_others_receive_with():
    for rotate in (False, True):
        sent = turn(STEADY, "drop", "s2", rotate=rotate)["devices"][0]["tx"][0]
        heard = turn(STEADY, "drop", "s1", rotate=rotate)["devices"][0]["rx"][0]["sa"][0]
        assert (sent["an"], sent["key"], sent["key_id"]) == (heard["an"], heard["key"], heard["key_id"])
        assert ("epoch" in sent, "epoch" in heard) == (True, False)


def test_only_the_host_without_a_key_gets_a_fresh_one():
    told = {**STEADY, "s3": told_by("s3")}
    assert numbers(turn(told, "receive")) == (None, {sci("s2"): [0], sci("s3"): [0]})
    assert turn(told, "receive")["turning"]
    assert turn(told, "drop", "s3")["devices"][0]["tx"][0]["epoch"] == "f" * 32
    assert turn(told, "drop", "s1")["devices"][0]["tx"][0]["epoch"] == "a" * 32


def test_a_dry_run_without_scis_before_the_first_run():
    """The SCI is then that of the device's MAC address, and a dry run has made no device."""
    plans = compiled("unicast-static-flood", {"macsec_mode": "underlay", "macsec_send_sci": False})
    made = macsec_fabric.turn(plans["s1"]["macsec"], {host: [] for host in plans}, SECRET, "s1", "drop")
    assert made["purge"] == "none" and [one["name"] for one in made["devices"]] == ["ms-eth0"]


def test_a_key_of_another_secret_gives_way_and_is_heard_until_it_has():
    told = {**STEADY, "s3": told_by("s3", (2, "a"), key_id="0" * 32)}
    assert numbers(turn(told, "receive"))[1][sci("s3")] == [3]
    assert numbers(turn(told, "settle"))[1][sci("s3")] is None
    assert numbers(turn(told, "drop"))[1][sci("s3")] == [3]


def test_packet_numbers_that_are_nearly_used_up_turn_the_key():
    told = {**STEADY, "s1": told_by("s1", (0, "a"), used=macsec_fabric.ROTATE_AT)}
    assert numbers(turn(told, "transmit"))[0] == [1]
    assert numbers(turn(told, "transmit", "s2"))[0] == [0]


def test_what_a_killed_run_left_goes_first():
    left = [{"sci": sci("s2"), "sa": [{"an": 0, "key_id": "1" * 32}, {"an": 1, "key_id": "2" * 32}]}]
    now = macsec_keys.sak(SECRET, sci("s2"), "a" * 32)["key_id"]
    left[0]["sa"][0]["key_id"] = now
    told = {**STEADY, "s1": told_by("s1", (0, "a"), rx=left)}
    assert turn(told, "receive", rotate=True)["settle"]
    assert not turn(told, "receive")["settle"]  # the last step removes it anyway
    assert numbers(turn(told, "settle", rotate=True)) == (None, {sci("s2"): [0], sci("s3"): [0]})


def test_hosts_that_are_away_are_heard_as_before_and_named():
    told = {host: STEADY[host] for host in ("s1", "s2")}
    made = turn(told, "drop")
    assert made["away"] == ["s3"]
    assert numbers(made)[1] == {sci("s2"): [0], sci("s3"): None}


def test_a_channel_that_cannot_be_named_is_not_purged():
    section = copy.deepcopy(PLANS["s1"]["macsec"])
    del section["peers"]["ms-eth0"][1]["sci"]
    made = macsec_fabric.turn(section, {"s1": STEADY["s1"]}, SECRET, "s1", "drop")
    assert (made["purge"], made["away"]) == ("none", ["s2", "s3"])


def test_before_the_device_is_there_only_it_is_told():
    made = turn({}, "drop")
    assert numbers(made) == (None, {sci("s2"): None, sci("s3"): None})


def test_without_a_free_number_it_is_said_what_to_do():
    told = {**STEADY, "s2": told_by("s2", (0, "a"), fresh=False)}
    with pytest.raises(InputError, match="all four associations are taken"):
        turn(told, "receive", rotate=True)


def test_the_filter_takes_it_and_names_a_wrong_step():
    made = turn_filter.turn(PLANS["s1"]["macsec"], STEADY, SECRET, "s1", "drop")
    assert made == turn(STEADY, "drop")
    for section in (None, {"devices": []}):
        with pytest.raises(AnsibleFilterError, match="macsec_turn: it takes the section macsec of a host's plan"):
            turn_filter.turn(section, STEADY, SECRET, "s1", "drop")
    for wrong in (None, {"s1": None}, {"s1": STEADY["s1"][0]}, {"s1": ["ms-eth0"]}, {"s1": [{}]}):
        with pytest.raises(AnsibleFilterError, match="macsec_turn: told: is not .host: devices., as macsec_info tells"):
            turn_filter.turn(PLANS["s1"]["macsec"], wrong, SECRET, "s1", "drop")
    with pytest.raises(AnsibleFilterError, match="macsec_turn: rotate: 'false' is neither true nor false"):
        turn_filter.turn(PLANS["s1"]["macsec"], STEADY, SECRET, "s1", "drop", "false")
    with pytest.raises(AnsibleFilterError, match="step: 'fly' is unknown"):
        turn_filter.turn(PLANS["s1"]["macsec"], STEADY, SECRET, "s1", "fly")

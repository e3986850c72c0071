# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a proof about encryption: what a frame is, what is asked, and every kind of wrong answer turns a check red."""

import copy
import json
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._plan import compile as compiler
from ansible_collections.vtep.fabric.plugins.module_utils._plan import verify, verify_encryption
from ansible_collections.vtep.fabric.plugins.plugin_utils.proof import with_ipsec
from test_compile import words_of
from test_verify import ENDPOINTS, PLANS, broken, endpoint_answer, vtep_answer
from verify_frames import CLEAR, ESP, FRAMES, MACS, MARKER, SECTAG, encryption, ipv4, ipv6, rogue

# What a frame is


@pytest.mark.parametrize("number", range(len(FRAMES)))
def test_what_a_frame_is(number):
    kind, rest = FRAMES[number]
    found, words = encryption.look(MACS + rest, [4789])
    assert found == kind
    assert bool(words) == kind.startswith("vxlan")
    for end in range(len(MACS + rest)):  # nothing that is cut off raises
        encryption.look((MACS + rest)[:end], [4789])


def test_words_about_a_frame():
    kind, words = encryption.look(MACS + ipv6(17, CLEAR), [4789])
    assert (kind, words) == ("vxlan", "2001:db8:1::1 > 2001:db8:2::1 UDP 4789 VNI 100 EtherType 0x0800")


REQUEST = {"dstports": [4789], "marker": MARKER, "rogue_marker": verify_encryption.rogue_marker(MARKER)}


def counted(where, frame, packet_type=socket.PACKET_OUTGOING):
    seen = encryption.Seen({**REQUEST, "where": where})
    seen.underlay("eth0", frame, packet_type)
    return seen.counts


@pytest.mark.parametrize(
    ("where", "clear", "encrypted"),
    [
        ("inside", {"vxlan"}, {"vxlan-macsec"}),
        ("underlay", {"vxlan", "vxlan-macsec"}, {"macsec"}),
        ("esp", {"vxlan", "vxlan-macsec"}, {"esp"}),
    ],
)
def test_what_counts_as_in_clear(where, clear, encrypted):
    for kind, rest in FRAMES:
        counts = counted(where, MACS + rest)
        assert counts["clear"] == {"sent": int(kind in clear), "received": 0}
        assert counts["encrypted"] == {"sent": int(kind in encrypted), "received": 0}
        assert bool(counts["samples"]) == (kind in clear)


def test_the_marker_is_found_wherever_it_is():
    marker = bytes.fromhex(MARKER)
    for where in ("inside", "underlay", "esp"):
        for frame in (ipv4(1, b"x" + marker), SECTAG["encrypted"] + marker, ipv6(50, ESP + marker * 3), marker):
            counts = counted(where, MACS + frame, socket.PACKET_HOST)
            assert counts["marker"] == {"sent": 0, "received": 1}
            assert "with the marker" in counts["samples"][0]
        assert counted(where, MACS + ipv4(1, b"x" + marker[:-1]))["marker"]["sent"] == 0


@pytest.mark.parametrize("spoofed", [False, True])
@pytest.mark.parametrize(("src", "dst"), [("203.0.113.9", "203.0.113.2"), ("2001:db8:9::1", "2001:db8:2::1")])
def test_the_rogues_packet(src, dst, spoofed):
    payload = bytes.fromhex(REQUEST["rogue_marker"]) + bytes([spoofed])
    data = rogue.packet(src, dst, 4789, 100, payload)
    frame = MACS + (b"\x86\xdd" if ":" in dst else b"\x08\x00") + data
    assert encryption.look(frame, [4789]) == ("vxlan", f"{src} > {dst} UDP 4789 VNI 100 EtherType 0x88b5")
    counts = counted("esp", frame, socket.PACKET_HOST)
    key = "spoofed" if spoofed else "own"
    assert counts["arrived"] == {"own": 0, "spoofed": 0, key: 1}
    assert counts["clear"] == {"sent": 0, "received": 0}  # nobody of the fabric sent it
    assert counted("esp", frame)["arrived"] == {"own": 0, "spoofed": 0}  # where it was sent
    seen = encryption.Seen({**REQUEST, "where": "esp"})
    seen.port("eth1", frame[-60:], socket.PACKET_OUTGOING)
    seen.port("eth1", frame[-60:], socket.PACKET_HOST)
    seen.port("eth1", bytes(60), socket.PACKET_OUTGOING)
    assert seen.counts["forwarded"] == {"own": 0, "spoofed": 0, key: 1}


def test_the_rogues_marker_is_not_in_a_repeated_marker():
    marker = bytes.fromhex(MARKER)
    assert bytes.fromhex(verify_encryption.rogue_marker(MARKER)) not in marker * 3
    assert verify_encryption.rogue_marker("00" * 16) == "ff" * 16


# What is asked


def compiled(how, variant="unicast-static-flood", mtu=1400):
    fabric, hosts, _service_hosts, _registry_hosts = words_of("lab")
    fabric["fabric_segments"] = [{**one, "mtu": mtu} for one in fabric["fabric_segments"]]
    if how.get("macsec_mode") == "underlay":
        hosts = {
            name: {**words, "vtep_underlay_interfaces": [{"dev": "eth0", "addresses": [f"169.254.16.{number}/24"]}]}
            for number, (name, words) in enumerate(hosts.items(), 1)
        }
    found, faults = compiler.read({**fabric, "fabric_encryption": how}, hosts, variant)
    assert faults == []
    plans = {host: compiler.compile_host(found, variant, host) for host in hosts}
    return plans, [endpoint._asdict() for endpoint in found.endpoints]


SECRET = {"macsec_secret": "5e" * 32}
HOW = {
    "inside": {"mode": "macsec", "macsec_mode": "inside", **SECRET},
    "underlay": {"mode": "macsec", "macsec_mode": "underlay", **SECRET},
    "esp": {"mode": "ipsec"},
}


@pytest.mark.parametrize("where", HOW)
def test_requests(where):
    plans, endpoints = compiled(HOW[where])
    assert verify_encryption.picked(plans) == HOW[where]["mode"]
    request = verify.node_request(plans["s2"], plans, endpoints, MARKER)
    assert request["encryption"] == {
        "where": where,
        "devices": ["eth0"],
        "macsec": {"inside": ["ms-vxlan100"], "underlay": ["ms-eth0"], "esp": []}[where],
        "ports": ["eth1", "eth2"],
        "dstports": [4789],
        "marker": MARKER,
        "rogue_marker": "ffeeddccbbaa99887766554433221100",
        "seconds": 900,
    }
    asked = verify.endpoint_request(endpoints[0], endpoints, plans, 20, 10, MARKER)
    assert (asked["mtu"], asked["marker"]) == (1400, MARKER)
    # 8 of UDP, 8 of VXLAN, the frame, and 32 of MACsec
    assert [one.get("secured_length") for one in request["sources"]] == [349 if where == "inside" else None] * len(
        endpoints
    )
    assert asked.get("length") == (301 if where == "inside" else None)


def test_a_fabric_without_encryption_is_asked_what_it_was_before():
    plans, endpoints = compiled({})
    assert verify_encryption.picked(plans) == "none"
    assert verify.node_request(plans["s1"], plans, endpoints, MARKER) == verify.node_request(
        plans["s1"], plans, endpoints
    )
    assert "encryption" not in verify.node_request(plans["s1"], plans, endpoints, MARKER)
    asked = verify.endpoint_request(endpoints[0], endpoints, plans, 20, 10, MARKER)
    assert set(asked) == {"kind", "mac", "targets", "mtu", "frames", "wait"} and asked["mtu"] == 1400
    assert verify_encryption.rogue_requests(plans, {}, {"s1": "", "s2": ""}, MARKER) == []


def test_ports_of_a_variant_without_bridges():
    plans, endpoints = compiled(HOW["esp"], variant="unicast-routing")
    assert verify.node_request(plans["s2"], plans, endpoints, MARKER)["encryption"]["ports"] == ["eth1", "eth2"]


LINKS = {
    name: {"eth0": (f"02:00:00:00:00:0{n}", ["169.254.0.1", f"fe80::{n}", f"fe80::1{n}"])}
    for n, name in enumerate(("s1", "s2", "s3"), 1)
}


def test_vteps_as_rogues_send_to_all_but_themselves():
    plans, _endpoints = compiled(HOW["underlay"])
    first, second = verify_encryption.rogue_requests(plans, LINKS, {"s1": "", "s2": ""}, MARKER)
    assert (first["host"], first["request"]["dev"], second["host"]) == ("s1", "eth0", "s2")
    assert first["request"]["marker"] == verify_encryption.rogue_marker(MARKER)
    common = {"mac": "02:00:00:00:00:02", "dst": "2001:db8:2::1", "dstport": 4789, "vni": 100}
    assert first["request"]["frames"][:2] == [
        {**common, "src": None, "spoofed": False},
        {**common, "src": "2001:db8:3::1", "spoofed": True},  # that of a third, as there is one
    ]
    assert [(one["dst"], one["spoofed"]) for one in first["request"]["frames"][2:]] == [
        ("fe80::2", False), ("2001:db8:3::1", False), ("2001:db8:3::1", True), ("fe80::3", False),
    ]  # fmt: skip
    assert [one["dst"] for one in second["request"]["frames"]] == ["2001:db8:1::1"] * 2 + ["fe80::1"]


def test_a_service_node_that_replicates_gets_frames_too():
    """Copies that it would make of them leave by MACsec, so that VTEPs take them."""
    fabric, hosts, service_hosts, _registry_hosts = words_of("segments")
    fabric["fabric_encryption"] = HOW["underlay"]
    found, faults = compiler.read(fabric, hosts, "vxfld-snr", service_hosts=service_hosts)
    assert faults == []
    plans = {host: compiler.compile_host(found, "vxfld-snr", host) for host in [*hosts, *service_hosts]}
    links = {name: {"eth0": ("02:00:00:00:00:09", [])} for name in plans}
    [asked] = verify_encryption.rogue_requests(plans, links, {"stranger": "eth7"}, MARKER)
    common = {"mac": "02:00:00:00:00:09", "dst": fabric["fabric_service_address"], "dstport": 4789, "vni": 100}
    assert [one for one in asked["request"]["frames"] if one["dst"] == common["dst"]] == [
        {**common, "src": None, "spoofed": False},
        {**common, "src": "2001:db8:1::1", "spoofed": True},
    ]


def test_a_rogue_that_is_no_vtep():
    plans, _endpoints = compiled(HOW["esp"])
    [found] = verify_encryption.rogue_requests(plans, LINKS, {"stranger": "eth7"}, MARKER)
    assert (found["host"], found["request"]["dev"], len(found["request"]["frames"])) == ("stranger", "eth7", 9)
    assert verify_encryption.rogue_requests(plans, LINKS, {}, MARKER) == []
    assert verify_encryption.rogue_requests(plans, {}, {"stranger": "eth7"}, MARKER) == []


def test_a_rogue_sends_to_an_endpoint_where_vteps_route():
    """A broadcast would go nowhere there. Without endpoints on both sides nothing would."""
    plans, _endpoints = compiled(HOW["esp"], variant="unicast-routing")
    [found] = verify_encryption.rogue_requests(plans, LINKS, {"s2": ""}, MARKER)
    frames = [one for one in found["request"]["frames"] if one["dst"] == "2001:db8:1::1"]
    assert frames[0]["inner"] == {"mac": "02:00:00:00:00:01", "src": "2001:db8:ff::11", "dst": "2001:db8:ff::10"}
    # Its device takes packets of the other family too.
    others = [(one["dst"], one["src"], "inner" in one) for one in found["request"]["frames"][2:4]]
    assert others == [("fe80::1", None, True), ("169.254.0.1", "any", True)]
    [other] = [one["inner"] for one in found["request"]["frames"] if one["dst"] == "2001:db8:3::1"][:1]
    assert other == {"mac": "02:00:00:00:00:03", "src": "2001:db8:ff::10", "dst": "2001:db8:ff::13"}
    plans["s1"]["overlay"]["neighbors"]["table"] = "192.0.2.10 dev eth1 lladdr 50:54:33:00:00:01 nud permanent\n"
    [found] = verify_encryption.rogue_requests(plans, LINKS, {"s2": ""}, MARKER)
    assert "inner" not in found["request"]["frames"][0]


@pytest.mark.parametrize(
    ("src", "dst", "kind"), [("192.0.2.11", "192.0.2.10", "0x0800"), ("2001:db8:ff::11", "2001:db8:ff::10", "0x86dd")]
)
def test_the_rogues_packet_to_an_endpoint(src, dst, kind):
    payload = bytes.fromhex(REQUEST["rogue_marker"]) + b"\1"
    inner = {"mac": "02:00:00:00:00:01", "src": src, "dst": dst}
    frame = MACS + b"\x86\xdd" + rogue.packet("2001:db8:9::1", "2001:db8:2::1", 4789, 100, payload, inner)
    words = f"2001:db8:9::1 > 2001:db8:2::1 UDP 4789 VNI 100 EtherType {kind}"
    assert encryption.look(frame, [4789]) == ("vxlan", words)
    ethernet = frame[14 + 40 + 8 + 8 :]
    assert ethernet[:6] == bytes.fromhex("020000000001")
    # What comes of it at the access port is one packet of UDP, as other programs read them.
    assert encryption.look(ethernet, [9])[0] == "other" and payload in ethernet
    udp = ethernet[14 + (20 if "." in dst else 40) :]
    assert udp[2:6] == (9).to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")


# The judgement

SCI = {"s1": "0200000000010001", "s2": "0200000000020001"}


def plans_of(where):
    plans = copy.deepcopy(PLANS)
    for name, plan in plans.items():
        other = "s2" if name == "s1" else "s1"
        if where == "esp":
            plan["ipsec"] = {"mode": "ike", "local": plan["local"]}
            continue
        dev = "ms-vxlan100" if where == "inside" else "ms-eth0"
        plan["macsec"] = {
            "where": where, "mka": False, "devices": [{"name": dev, "dev": dev[3:], "mtu": 1500}],
            "peers": {dev: [{"host": other, "name": dev, "sci": SCI[other]}]},
        }  # fmt: skip
    return plans


def seen(where, me, other):
    local, remote = PLANS[me]["local"], PLANS[other]["local"]
    if where == "esp":
        statistics = {
            "xfrm": {"XfrmInStateProtoError": 3, "XfrmInNoStates": 1, "XfrmInTmplMismatch": 0, "XfrmInPolBlock": 2},
            "states": [[remote, local, "0xc0000001", 3], [local, remote, "0xc0000002", 0]],
        }
    else:
        dev = "ms-vxlan100" if where == "inside" else "ms-eth0"
        statistics = {
            "macsec": {dev: {"": {"InPktsBadTag": 0}, SCI[other]: {"InPktsNotValid": 7, "InPktsNotUsingSA": 0}}},
            "pn_used": {dev: 0.749},
        }
    later = copy.deepcopy(statistics)
    if where == "esp":  # the rogue's are the policy's to drop
        later["xfrm"]["XfrmInTmplMismatch"] = 6
    return {
        "packets": {"sent": 40, "received": 41}, "clear": {"sent": 0, "received": 0}, "encrypted": {"sent": 30, "received": 31},
        "marker": {"sent": 0, "received": 0}, "arrived": {"own": 3, "spoofed": 3}, "forwarded": {"own": 0, "spoofed": 0},
        "samples": [], "dropped": 0, "before": {"statistics": statistics, "since": 1}, "after": {"statistics": later, "journal": []},
        "files": {"looked": 9, "exposed": []},
    }  # fmt: skip


@pytest.fixture(params=["inside", "underlay", "esp"])
def proof(request):
    where = request.param
    h1, h2 = "100/50:54:33:00:00:01", "100/50:54:33:00:00:02"
    return where, plans_of(where), {
        "s1": {**vtep_answer("2001:db8:1::1", "2001:db8:2::1", h1, h2), "encryption": seen(where, "s1", "s2")},
        "s2": {**vtep_answer("2001:db8:2::1", "2001:db8:1::1", h2, h1), "encryption": seen(where, "s2", "s1")},
        "h1": endpoint_answer("2001:db8:ff::11"),
        "h2": endpoint_answer("2001:db8:ff::10"),
    }  # fmt: skip


def of(found, ok):
    return [f"{c['host']} {c['check']}" for c in found if c["ok"] is ok]


def judged(plans, answers):
    return verify.checks(plans, ENDPOINTS, answers, 20)


KIND = {"inside": "VXLAN that holds MACsec", "underlay": "frames with MACsec", "esp": "packets with ESP"}
SAID = {"inside": "VXLAN that holds no MACsec", "underlay": "VXLAN in clear", "esp": "VXLAN in clear"}


def test_a_good_fabric_passes(proof):
    where, plans, answers = proof
    found = judged(plans, answers)
    assert of(found, False) == of(found, None) == []
    mine = [c["check"] for c in found if c["host"] == "s1"]
    for kind in (KIND[where], SAID[where], "marker on the wire", "a rogue's VXLAN let in", "VXLAN from a VTEP's address let in",
                 "keys that everybody can read"):  # fmt: skip
        assert kind in mine
    assert not [kind for kind in mine if kind == "keys"]
    json.dumps(found)


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("clear", "sent"), 1, SAID),
        (("clear", "received"), 2, SAID),
        (("marker", "sent"), 1, "marker on the wire"),
        (("marker", "received"), 1, "marker on the wire"),
        (("forwarded", "own"), 1, "a rogue's VXLAN let in"),
        (("forwarded", "spoofed"), 3, "VXLAN from a VTEP's address let in"),
        (("files", "exposed"), ["/etc/swanctl/private/x has mode 0644"], "keys that everybody can read"),
    ],
)
def test_each_fault_turns_its_check_red(proof, path, value, check):
    where, plans, answers = proof
    wanted = check[where] if isinstance(check, dict) else check
    found = judged(plans, broken(answers, ("s1", "encryption", *path), value))
    assert of(found, False) == [f"s1 {wanted}"]


@pytest.mark.parametrize(
    ("path", "value"), [(("encrypted", "sent"), 0), (("encrypted", "received"), 0), (("dropped",), 5)]
)
def test_a_capture_that_proves_nothing_is_a_failure_of_all_that_it_should_prove(proof, path, value):
    where, plans, answers = proof
    found = judged(plans, broken(answers, ("s1", "encryption", *path), value))
    assert of(found, False) == [f"s1 {KIND[where]}", f"s1 {SAID[where]}", "s1 marker on the wire"]
    told = "\n".join(verify.table([c for c in found if c["ok"] is False]))
    assert ("too quick" if path == ("dropped",) else "no encrypted packet went both ways") in told


def test_without_pings_a_silent_underlay_is_not_run_and_says_so(proof):
    where, plans, answers = proof
    answers = {name: answers[name] for name in ("s1", "s2")}
    answers["s1"]["encryption"]["encrypted"] = {"sent": 0, "received": 0}
    found = judged(plans, answers)
    silent = [f"s1 {KIND[where]}", f"s1 {SAID[where]}", "s1 marker on the wire"]
    # On the underlay's links there is always something, such as the pings between loopbacks. It tells nothing of VXLAN.
    assert of(found, False) == (silent[:1] if where == "underlay" else [])
    assert [kind for kind in of(found, None) if kind.startswith("s1")] == silent[where == "underlay" :]
    if where != "underlay":
        assert "no host of group endpoints pings" in "\n".join(verify.table(found))
        assert verify.table(found)[-1] == f"{len(found) - 3} of {len(found)} checks passed, 3 not run"
        leak = broken(answers, ("s1", "encryption", "clear", "sent"), 1)
        assert of(judged(plans, leak), False) == [f"s1 {SAID[where]}"]


def test_a_rogue_that_was_not_sent_or_did_not_arrive_is_not_run_and_says_so(proof):
    _where, plans, answers = proof
    answers["s2"]["encryption"]["arrived"] = {"own": 0, "spoofed": 3}
    found = judged(plans, answers)
    assert (of(found, False), of(found, None)) == ([], ["s2 a rogue's VXLAN let in"])
    assert "s2: a rogue's VXLAN let in: none has arrived" in "\n".join(verify.table(found))


def test_a_rogue_s_broadcast_tells_nothing_where_nothing_is_bridged(proof):
    _where, plans, answers = proof
    for plan in plans.values():
        plan["access"] = {"fdb": {"dev": {}}, "routed": [["vxlan100", "h1"]]}
    found = judged(plans, answers)
    assert [kind.split(" ", 1)[1] for kind in of(found, None)] == [
        "a rogue's VXLAN let in",
        "VXLAN from a VTEP's address let in",
    ] * 2
    leak = broken(answers, ("s1", "encryption", "forwarded", "own"), 1)
    assert of(judged(plans, leak), False) == ["s1 a rogue's VXLAN let in"]


@pytest.mark.parametrize("proof", ["esp"], indirect=True)
def test_what_private_or_clear_permits_is_not_run_and_says_so(proof):
    _where, plans, answers = proof
    for plan in plans.values():
        plan["ipsec"]["group"] = "private-or-clear"
    answers = broken(answers, ("s1", "encryption", "clear", "sent"), 1)
    found = judged(plans, broken(answers, ("s1", "encryption", "forwarded", "own"), 1))
    assert of(found, False) == []
    permitted = ["VXLAN in clear", "marker on the wire", "a rogue's VXLAN let in", "VXLAN from a VTEP's address let in"]
    assert of(found, None) == [f"{host} {kind}" for host in ("s1", "s2") for kind in permitted]
    assert "ipsec_group private-or-clear permits it" in "\n".join(verify.table(found))
    unencrypted = broken(answers, ("s1", "encryption", "encrypted", "sent"), 0)
    assert of(judged(plans, unencrypted), False) == ["s1 packets with ESP"]


def test_what_arrives_in_clear_beside_an_esp_tunnel_is_not_run_and_says_so():
    plans, endpoints = compiled(
        {"mode": "ipsec", "ipsec_mode": "static", "ipsec_esp_mode": "tunnel", "ipsec_secret": "5e" * 32}
    )
    request = verify.node_request(plans["s1"], plans, endpoints, MARKER)["encryption"]
    assert request["tunnel"] is True
    tunnel = encryption.Seen(request)
    for packet_type in (socket.PACKET_HOST, socket.PACKET_OUTGOING):
        tunnel.underlay("eth0", MACS + ipv6(17, CLEAR) + bytes.fromhex(MARKER), packet_type)
    assert tunnel.counts["decrypted"] == 1
    assert tunnel.counts["clear"] == tunnel.counts["marker"] == {"sent": 1, "received": 0}
    answers = {"s1": {"encryption": seen("esp", "s1", "s2")}}
    found = verify_encryption.host_checks("s1", plans["s1"], endpoints, answers)
    assert of(found, None) == ["s1 VXLAN in clear received"]


def test_encryption_that_the_words_leave_out_is_told(proof):
    """As `make verify` without ENCRYPTION= has it."""
    _where, plans, _answers = proof
    former = {
        "links": [{"name": "ms-eth0", "state": "absent"}],
        "segments": [{"name": "ms-vxlan100", "state": "absent"}],
    }
    clear = {name: {**plan, "macsec": None, "ipsec": None, "macsec_former": former} for name, plan in plans.items()}
    del clear["s2"]["macsec_former"]
    found = list(verify_encryption.unwanted_checks(clear, {"s2"}))
    assert [(c["host"], c["seen"], c["ok"]) for c in found] == [
        ("s1", "ms-eth0, ms-vxlan100", False),
        ("s2", "IPsec", False),
    ]
    assert list(verify_encryption.unwanted_checks(plans, {"s1", "s2"})) == []
    assert [c["host"] for c in verify_encryption.unwanted_checks({**clear, "s2": plans["s2"]}, {"s2"})] == ["s1"]
    hostvars = {
        name: {"preflight_host": {"installed": {"ipsec": files}}} for name, files in (("s1", []), ("s2", ["/x"]))
    }
    assert with_ipsec({**hostvars, "s3": {}}, {"vteps": ["s1", "s2", "s3"]}) == {"s2"}


def test_packet_numbers_that_come_to_an_end_are_told(proof):
    where, plans, answers = proof
    if where == "esp":
        assert not [c for c in judged(plans, answers) if c["check"] == "packet numbers"]
        return
    used = answers["s2"]["encryption"]["after"]["statistics"]["pn_used"]
    (dev,) = used
    used[dev] = 0.75
    found = judged(plans, answers)
    assert of(found, False) == ["s2 packet numbers"]
    (worn,) = [c for c in found if c["ok"] is False]
    assert (worn["expected"], worn["seen"]) == ("less than 75% used", "75%")
    assert worn["detail"] == [f"{dev} has used 75%; site.yml and rotate_keys.yml bring new keys"]
    for plan in plans.values():  # supplicants make new keys by themselves
        plan["macsec"]["mka"] = True
    assert not [c for c in judged(plans, answers) if c["check"] == "packet numbers"]


def test_a_host_whose_capture_told_nothing_is_a_failure(proof):
    _where, plans, answers = proof
    del answers["s1"]["encryption"]
    assert of(judged(plans, answers), False) == ["s1 capture"]


# Wrong keys


def no_ping(answers):
    return broken(answers, ("h1", "reach", "2001:db8:ff::11", "received"), 0)


def told(plans, answers):
    return [line for c in judged(plans, answers) if c["check"] == "keys" for line in (c["host"], *c["detail"])]


def test_a_ping_that_fails_for_another_reason_blames_no_key(proof):
    _where, plans, answers = proof
    assert told(plans, no_ping(answers)) == []


def with_counter(answers, host, where, key, counter, n):
    answers = copy.deepcopy(answers)
    statistics = answers[host]["encryption"]["after"]["statistics"]
    if where == "esp":
        statistics["xfrm"][counter] += n
    else:
        (device,) = statistics["macsec"].values()
        device[key][counter] = device[key].get(counter, 0) + n
    return answers


@pytest.mark.parametrize("where", ["inside", "underlay"])
@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        (
            "s1",
            "InPktsNotValid",
            "s2 and s1 have different keys: 5 frames of s1 did not verify on {dev} (InPktsNotValid)",
        ),
        (
            "s1",
            "InPktsNotUsingSA",
            "s2 has no key of the number that s1 sends with: 5 frames on {dev} (InPktsNotUsingSA)",
        ),
        ("", "InPktsBadTag", "s2 cannot read the SecTAG of 5 frames on {dev} (InPktsBadTag), of s1 or of others"),
        ("", "InPktsNoSCI", "s2 has no channel for the sender of 5 frames on {dev} (InPktsNoSCI), s1 or others"),
    ],
)
def test_macsec_names_the_pair_and_the_cause(where, key, counter, words):
    dev = "ms-vxlan100" if where == "inside" else "ms-eth0"
    plans, answers = plans_of(where), {f"s{n}": {"encryption": seen(where, f"s{n}", f"s{3 - n}")} for n in (1, 2)}
    answers = with_counter(answers, "s2", where, SCI.get(key, ""), counter, 5)
    keys = list(verify_encryption.key_checks(plans, ENDPOINTS, answers))
    assert keys == []  # where nothing fails nobody asks
    answers["h1"] = broken(
        {"h1": endpoint_answer("2001:db8:ff::11")}, ("h1", "full", "2001:db8:ff::11", "received"), 0
    )["h1"]
    [found] = verify_encryption.key_checks(plans, ENDPOINTS, answers)
    assert (found["check"], found["host"], found["ok"]) == ("keys", "s1, s2", False)
    assert found["detail"] == [words.format(dev=dev)]
    # One pair of hosts is one row, whatever fails between them.
    answers["h1"]["loss"] = {"2001:db8:ff::11": {"sent": 20, "received": 0}}
    assert len(list(verify_encryption.key_checks(plans, ENDPOINTS, answers))) == 1


def test_a_sender_whose_channel_only_he_knows_is_found():
    plans, answers = (
        plans_of("underlay"),
        {f"s{n}": {"encryption": seen("underlay", f"s{n}", f"s{3 - n}")} for n in (1, 2)},
    )
    del plans["s2"]["macsec"]["peers"]["ms-eth0"][0]["sci"]
    answers = with_counter(answers, "s2", "underlay", SCI["s1"], "InPktsNotValid", 5)
    answers["s1"]["underlay"] = {PLANS["s2"]["local"]: False}  # no endpoint was asked, but a loopback is silent
    [found] = verify_encryption.key_checks(plans, ENDPOINTS, answers)
    assert found["host"] == "s1, s2" and "different keys" in found["detail"][0]


def test_the_supplicants_log_is_told_where_it_has_no_channels():
    """With another CAK there are no counters."""
    log = "KaY: Computed ICV is not equal to Received ICV"
    answers = {f"s{n}": {"encryption": seen("underlay", f"s{n}", f"s{3 - n}")} for n in (1, 2)}
    answers["s2"]["encryption"]["after"]["journal"] = [log]
    answers["s1"]["underlay"] = {PLANS["s2"]["local"]: False}
    plans = plans_of("underlay")
    assert list(verify_encryption.key_checks(plans, ENDPOINTS, answers)) == []
    plans["s2"]["macsec"]["mka"] = True
    [found] = verify_encryption.key_checks(plans, ENDPOINTS, answers)
    assert (found["ok"], found["detail"]) == (False, [f"s2's log: {log}"])

    # With another CKN, or without a supplicant, the log says nothing.
    after = answers["s2"]["encryption"]["after"]
    after["journal"], after["statistics"]["macsec"] = [], {"ms-eth0": {"": {"InPktsNoSCI": 0}}}
    [found] = verify_encryption.key_checks(plans, ENDPOINTS, answers)
    assert found["detail"] == [verify_encryption.DEAF.format(receiver="s2")]
    assert "s2 has agreed on a key with nobody" in found["detail"][0]


def esp_answers():
    answers = {f"s{n}": {"encryption": seen("esp", f"s{n}", f"s{3 - n}")} for n in (1, 2)}
    answers["h1"] = broken(
        {"h1": endpoint_answer("2001:db8:ff::11")}, ("h1", "loss", "2001:db8:ff::11", "received"), 9
    )["h1"]
    return answers


def esp_detail(answers):
    return [line for c in verify_encryption.key_checks(plans_of("esp"), ENDPOINTS, answers) for line in c["detail"]]


def test_esp_names_the_pair_and_the_cause():
    answers = esp_answers()
    assert esp_detail(answers) == []
    answers["s1"]["encryption"]["after"]["statistics"]["states"][0][3] += 4
    answers = with_counter(answers, "s1", "esp", "", "XfrmInStateProtoError", 4)
    assert esp_detail(answers) == ["s1 and s2 have different keys: 4 packets of s2 did not verify at s1"]


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        ("XfrmInStateProtoError", "a wrong key"),
        ("XfrmInNoStates", "sends with keys that it has not"),
        ("XfrmInTmplMismatch", "in clear"),
        ("XfrmInPolBlock", "in clear"),
    ],
)
def test_counters_of_a_host_are_told_as_such(counter, words):
    [line] = esp_detail(with_counter(esp_answers(), "s2", "esp", "", counter, 2))
    assert words in line and counter in line and line.startswith(("2 packets", "s2 has no association for 2 packets"))


def test_charon_is_heard_about_the_pair_or_about_nobody():
    answers, log = esp_answers(), "tried 1 shared key for '2001:db8:1::1' - '2001:db8:2::1', but MAC mismatched"
    answers["s1"]["encryption"]["after"]["journal"] = [log, "received AUTHENTICATION_FAILED notify error"]
    plans = {**plans_of("esp"), "s3": {**plans_of("esp")["s1"], "host": "s3", "local": "2001:db8:1::12"}}
    answers["s2"]["encryption"]["after"]["journal"] = ["no trusted ECDSA public key found for '2001:db8:1::12'"]
    [found] = verify_encryption.key_checks(plans, ENDPOINTS, answers)
    assert found["detail"] == [f"s1's log: {log}", "s1's log: received AUTHENTICATION_FAILED notify error"]


def test_what_of_a_log_tells_something():
    lines = {
        "tried 1 shared key for 'a' - 'b', but MAC mismatched": True,
        "received AUTHENTICATION_FAILED notify error": True,
        "subject certificate invalid (valid from May 01 to May 02)": True,
        'no issuer certificate found for "CN=x"': True,
        "KaY: Computed ICV is not equal to Received ICV": True,
        "received NO_PROPOSAL_CHOSEN notify error": True,
        "IKE_SA vtep-fabric[1] established between 2001:db8:1::1[a]...2001:db8:2::1[b]": False,
        'received end entity cert "CN=s2"': False,
        "CHILD_SA out4789{1} established with SPIs c5f602ad_i 09b7ea2c_o": False,
    }
    assert {line: bool(encryption.TELLING.search(line)) for line in lines} == lines


STATES = """src 2001:db8:2::1 dst 2001:db8:1::1
\tproto esp spi 0x00001001(4097) reqid 1(0x00000001) mode transport
\treplay-window 32 seq 0x00000000 flag  (0x00000000)
\tstats:
\t  replay-window 0 replay 0 failed 12
src 2001:db8:1::1 dst 2001:db8:2::1
\tproto esp spi 0x00001002(4098) reqid 1(0x00000001) mode transport
\tstats:
\t  replay-window 0 replay 0 failed 0
"""


def test_what_iproute2_tells():
    assert encryption.states(STATES) == [
        ["2001:db8:2::1", "2001:db8:1::1", "0x00001001", 12], ["2001:db8:1::1", "2001:db8:2::1", "0x00001002", 0],
    ]  # fmt: skip
    shown = [
        {
            "ifname": "ms-eth0",
            "sci": "1",
            "InPktsBadTag": 2,
            "rx_sc": [{"sci": SCI["s1"], "state": "on", "InPktsNotValid": 3}],
        }
    ]
    assert encryption.channels(shown) == {"": {"InPktsBadTag": 2}, SCI["s1"]: {"InPktsNotValid": 3}}
    assert encryption.channels([]) == {}


@pytest.mark.parametrize(
    ("suite", "pns", "share"),
    [
        ("GCM-AES-128", [1], 0),
        ("GCM-AES-256", [9, (1 << 31) + 1], 0.5),
        ("GCM-AES-128", [0], 1),
        ("GCM-AES-XPN-256", [(1 << 62) + 1], 0.25),
    ],
)
def test_the_share_of_packet_numbers(suite, pns, share):
    device = {"cipher_suite": suite, "sa_list": [{"an": an, "pn": pn} for an, pn in enumerate(pns)]}
    assert encryption.pn_used([device]) == share
    assert encryption.pn_used([]) == 0


# Keys in the open


@pytest.fixture
def open_folder():
    folder = Path(tempfile.mkdtemp())  # pytest's own lets nobody in
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("secrets { ike-1 { secret = 0sQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo= } }", True),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n", True),
        ("mka_cak=0123456789ABCDEF0123456789ABCDEF\n", True),
        ('{"sak": "000102030405060708090a0b0c0d0e0f"}', True),
        ("psk=0123456789abcdef0123456789abcdef", True),
        ('192.0.2.1 %any : PSK "a word that is secret"\n', True),
        ("# 192.0.2.1 %any : PSK is how it is written\ninclude /etc/ipsec.d/*.secrets\n", False),
        ('{"key_id": "000102030405060708090a0b0c0d0e0f", "boot": "one"}', False),
        ("key: /etc/vtep.fabric/registry/server-key.pem\n", False),
        ("mka_ckn=0123456789ABCDEF0123456789ABCDEF\n", False),
        ("-----BEGIN CERTIFICATE-----\nMHcCAQEE\n", False),
        ("auth = pubkey\ncerts = vtep-fabric.pem\n", False),
    ],
)
def test_a_key_is_found_by_what_it_looks_like(open_folder, text, found):
    path = open_folder / "one.conf"
    path.write_text(text)
    looked = {"looked": 1, "exposed": []}
    path.chmod(0o640)
    assert encryption.exposed((), (str(open_folder / "**/*"),)) == looked
    path.chmod(0o644)
    wanted = [f"{path} has mode 0644"]
    assert encryption.exposed((), (str(open_folder / "**/*"),)) == {"looked": 1, "exposed": wanted if found else []}
    assert encryption.exposed((str(open_folder / "*"),), ()) == {"looked": 1, "exposed": wanted}
    open_folder.chmod(0o750)  # nobody gets that far
    assert encryption.exposed((str(open_folder / "*"),), ()) == looked

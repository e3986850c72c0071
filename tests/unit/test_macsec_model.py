# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec devices as a user writes them: normal forms, every fault by name, and keys that nothing shows."""

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model import macsec as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError

K1, K2 = "11" * 16, "22" * 16
PEER = "0200000000020001"
XPN = {"ssci": 1, "salt": "00112233445566778899aabb"}


def unread(path):
    raise AssertionError(f"{path} was read")


def one(read_key=unread, **options):
    [device] = model.devices([{"name": "macsec0", **options}], read_key)
    return device


def faults(read_key=unread, **options):
    with pytest.raises(InputError) as caught:
        one(read_key, **options)
    return caught.value.faults


def test_normal_forms():
    device = one(
        dev="eth0",
        sci="02AABBCCDDEE0001",
        cipher="gcm-aes-xpn-128",
        tx=[{"an": 3, "key": K1.upper(), "pn": 2**32, **XPN}],
        rx=[
            {"address": "02-00-00-00-00-02", "sa": [{"an": 0, "key": K2, "active": False, "key_id": "AB" * 16, **XPN}]},
            {"address": "02:00:00:00:00:02", "port": 7, "active": False},
        ],
    )
    assert device.wanted == {"dev": "eth0", "sci": "02aabbccddee0001", "cipher": "gcm-aes-xpn-128"}
    [sent] = device.tx
    assert (sent.an, sent.pn, sent.ssci, sent.active, sent.key) == (3, 2**32, 1, True, bytes.fromhex(K1))
    first, second = device.rx
    assert (first.sci, first.active, first.sa[0].active, first.sa[0].key_id) == (PEER, None, False, "ab" * 16)
    assert (second.sci, second.active, second.sa) == ("0200000000020007", False, None)


def test_what_is_not_said_is_left_as_it_is():
    device = one()
    assert (device.wanted, device.tx, device.rx) == ({}, None, None)
    assert (one(tx=[], rx=[]).tx, one(tx=[], rx=[]).rx) == ((), ())


def test_absent_reads_no_keys():
    assert one(state="absent", tx=[{"an": 0, "key_file": "/k"}]).present is False


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"sci": "0200"}, "sci: '0200' is not an SCI; write 16 hexadecimal digits"),
        ({"sci": "02:00:00:00:00:01/1"}, "sci: '02:00:00:00:00:01/1' is not an SCI"),
        ({"sci": "0" * 16}, "is not an SCI"),
        ({"sci": PEER, "port": 2}, "sci, port: the SCI has a port already"),
        ({"port": 0}, "port: 0 is out of range; it must be 1 to 65535"),
        ({"port": 65536}, "port: 65536 is out of range"),
        ({"cipher": "aes"}, "cipher: 'aes' is not one of gcm-aes-128, gcm-aes-256, gcm-aes-xpn-128, gcm-aes-xpn-256"),
        ({"icvlen": 7}, "icvlen: 7 is out of range; it must be 8 to 16"),
        ({"icvlen": 9}, "icvlen: 9 is none that GCM takes; write one of 8, 12, 13, 14, 15, 16"),
        ({"window": 2**32}, "window: 4294967296 is out of range; it must be 0 to 4294967295"),
        ({"window": -1}, "window: -1 is out of range"),
        ({"window": 2**30, "cipher": "gcm-aes-xpn-128"}, "with gcm-aes-xpn-128 it must be 0 to 1073741823"),
        ({"window": 3, "replay": False}, "window: it has no effect without replay: true"),
        ({"encodingsa": 4}, "encodingsa: 4 is out of range; it must be 0 to 3"),
        ({"validate": "loose"}, "validate: 'loose' is not one of disabled, check, strict"),
        ({"offload": "nic"}, "offload: 'nic' is not one of off, phy, mac"),
        ({"send_sci": True, "scb": True}, "send_sci, scb: only one of them can be true"),
        ({"end_station": True, "scb": True}, "end_station, scb: only one of them can be true"),
        ({"dev": ""}, "dev: a MACsec device needs a device below it"),
        ({"dev": "a/b"}, "dev: 'a/b' is not a device name"),
        ({"tx": [{"an": 4, "key": K1}]}, "tx 1: an: 4 is out of range; it must be 0 to 3"),
        ({"tx": [{"an": -1, "key": K1}]}, "tx 1: an: -1 is out of range"),
        ({"tx": [{"an": None, "key": K1}]}, "tx 1: an: missing"),
        ({"tx": [{"an": 0}]}, "tx 1: key, key_file: exactly one of the two is needed"),
        ({"tx": [{"an": 0, "key": K1, "key_file": "/k"}]}, "tx 1: key, key_file: exactly one of the two is needed"),
        ({"tx": [{"an": 0, "key": K1[:-2]}]}, "tx 1: key: it has 30 characters; write 32 hexadecimal digits"),
        ({"tx": [{"an": 0, "key": "z" * 32}]}, "tx 1: key: it is not hexadecimal"),
        ({"tx": [{"an": 0, "key": K1, "key_id": "1"}]}, "tx 1: key_id: '1' is not a key id; write 32 hexadecimal digits"),
        ({"tx": [{"an": 0, "key": K1, "pn": 0}]}, "tx 1: pn: 0 is out of range; it must be 1 to"),
        ({"tx": [{"an": 0, "key": K1, "epoch": "x"}]}, "tx 1: epoch: 'x' is not an epoch"),
        ({"tx": [{"an": 0, "key": K1}, {"an": 0, "key": K2}]}, "tx: an: 0 is there twice"),
        ({"tx": [{"an": 0, "key": K1}, {"an": 1, "key": K1}]}, "tx: an 0 and an 1 have the same key"),
        ({"rx": [{"sci": PEER, "sa": [{"an": 1, "key": K1}, {"an": 1, "key": K2}]}]}, "rx 1: sa: an: 1 is there twice"),
        ({"rx": [{"sci": PEER}, {"address": "02:00:00:00:00:02"}]}, f"rx: sci: {PEER} is there twice"),
        ({"rx": [{}]}, "rx 1: sci: exactly one of sci and address is needed"),
        ({"rx": [{"sci": PEER, "address": "02:00:00:00:00:02"}]}, "rx 1: sci: exactly one of sci and address is needed"),
        ({"rx": [{"sci": PEER, "port": 1}]}, "rx 1: sci: the SCI has a port already; give port with address only"),
        ({"rx": [{"address": "01:00:5e:00:00:01"}]}, "rx 1: sci: '01:00:5e:00:00:01' is not a unicast MAC address"),
        ({"rx": [{"sci": "12"}]}, "rx 1: sci: '12' is not an SCI"),
        ({"cipher": "gcm-aes-256", "tx": [{"an": 0, "key": K1}]}, "tx an 0: key: it has 128 bits, and gcm-aes-256 takes 256"),
        ({"cipher": "gcm-aes-128", "tx": [{"an": 0, "key": K1 * 2}]}, "tx an 0: key: it has 256 bits"),
        ({"cipher": "gcm-aes-128", "tx": [{"an": 0, "key": K1, "pn": 2**32}]}, "it must be 1 to 4294967295"),
        ({"cipher": "gcm-aes-128", "tx": [{"an": 0, "key": K1, "ssci": 1}]}, "tx an 0: ssci: gcm-aes-128 has none"),
        ({"cipher": "gcm-aes-xpn-128", "tx": [{"an": 0, "key": K1, "ssci": 1}]}, "tx an 0: salt: missing"),
        ({"cipher": "gcm-aes-xpn-128", "rx": [{"sci": PEER, "sa": [{"an": 2, "key": K1, "salt": "00" * 12}]}]}, "an 2: ssci: missing"),
        ({"tx": [{"an": 0, "key": K1, "ssci": 0}]}, "tx 1: ssci: 0 is out of range"),
        ({"tx": [{"an": 0, "key": K1, "salt": "00" * 11}]}, "tx 1: salt: a word of 22 characters is not a salt"),
        # A key in the wrong place is not quoted, and no id.
        ({"tx": [{"an": 0, "key": K1, "key_id": "5e" * 32}]}, "tx 1: key_id: a word of 64 characters is not a key id"),
        ({"tx": [{"an": 0, "key": K1, "key_id": K1}]}, "tx 1: key_id: it is the key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_name(options, fault):
    told = faults(**options)
    assert any(fault in line for line in told), told
    assert all(line.startswith("macsec0: ") for line in told)


def test_all_faults_are_told_at_once():
    told = faults(sci="x", window=-1, tx=[{"an": 9, "key": "x"}], rx=[{}])
    assert len(told) == 5


def test_senders_with_one_key_need_an_ssci_each():
    """With XPN the nonce has no SCI in it (IEEE 802.1AE-2018, 14.7)."""
    cipher = "gcm-aes-xpn-128"
    shared = {"an": 0, "key": K1, **XPN}
    assert (
        "goes with the same key in tx an 0" in faults(cipher=cipher, tx=[shared], rx=[{"sci": PEER, "sa": [shared]}])[0]
    )
    assert one(cipher=cipher, tx=[shared], rx=[{"sci": PEER, "sa": [{**shared, "ssci": 2}]}])
    assert one(cipher="gcm-aes-128", tx=[{"an": 0, "key": K1}], rx=[{"sci": PEER, "sa": [{"an": 0, "key": K1}]}])


def test_a_key_is_in_no_fault_and_no_repr():
    secret = "0123456789abcdeffedcba98765432"  # two digits short
    assert secret not in str(faults(tx=[{"an": 0, "key": secret}]))
    assert "not-a-secret" not in str(faults(tx=[{"an": 0, "key": "not-a-secret"}]))
    device = one(tx=[{"an": 0, "key": K1}])
    assert K1 not in repr(device) and repr(bytes.fromhex(K1)) not in repr(device)


def test_keys_from_files():
    assert one(lambda path: f"{K1}\n" if path == "/k" else "", tx=[{"an": 0, "key_file": "/k"}]).tx[0].key.hex() == K1

    def refuse(path):
        raise ValueError(f"{path} has mode 0644")

    assert faults(refuse, tx=[{"an": 0, "key_file": "/k"}]) == ["macsec0: tx 1: key_file: /k has mode 0644"]


def test_the_id_of_a_key_is_an_hmac_under_it():
    """By openssl: printf 'vtep.fabric macsec key id' | openssl dgst -sha256 -mac hmac -macopt hexkey:11..."""
    assert model.key_id(bytes.fromhex(K1)) == "cd21df50f7730fefef4b3126952cd481"
    assert one(tx=[{"an": 0, "key": K1}]).tx[0].key_id == "cd21df50f7730fefef4b3126952cd481"
    salted = one(cipher="gcm-aes-xpn-128", tx=[{"an": 0, "key": K1, **XPN}]).tx[0]
    assert salted.key_id != salted.fingerprint == "cd21df50f7730fefef4b3126952cd481"


# Packet numbers


OWN = "0200000000010001"
SA = model.Association(0, bytes.fromhex(K1), model.key_id(bytes.fromhex(K1)))


def row(sci=OWN, pn=None, fingerprint=SA.fingerprint, key_id=None):
    return model.Used(sci, fingerprint, 0, key_id or fingerprint, pn=pn)


def first(record, cipher="gcm-aes-128", own=OWN, pn=None):
    return model.first_pn(record, cipher, own, model.Association(0, SA.key, SA.key_id, pn=pn))


def test_a_key_that_was_never_used_begins_at_one_or_where_it_is_told_to():
    assert first([]) == 1
    assert first([], pn=77) == 77
    assert first([row(fingerprint="00" * 16)]) == 1


def test_a_key_whose_packet_numbers_are_known_goes_on_above_them():
    assert first([row(pn=5000)]) == 5000
    assert first([row(pn=5000), row(pn=6000)]) == 6000
    assert first([row(pn=5000)], pn=5000) == 5000
    with pytest.raises(ValueError, match="pn: 4999 may have been used .* give 5000 or more"):
        first([row(pn=5000)], pn=4999)


def test_a_key_whose_packet_numbers_are_lost_is_refused_whatever_the_number():
    for pn in (None, 1, 2**32 - 1):
        with pytest.raises(ValueError, match="not known any more"):
            first([row()], pn=pn)
    with pytest.raises(ValueError, match="not known any more"):
        first([row(pn=10), row()])
    with pytest.raises(ValueError, match="not known any more"):
        first([row(fingerprint="00" * 16, key_id=SA.key_id)])  # the id alone is known


def test_another_channel_has_packet_numbers_of_its_own_but_with_xpn():
    other = row(sci=PEER)
    assert first([other]) == 1
    for cipher, own in (("gcm-aes-xpn-128", OWN), ("gcm-aes-128", None)):
        with pytest.raises(ValueError, match=f"an 0 of {PEER}"):
            first([other], cipher, own)


def test_a_key_that_is_used_up_is_refused():
    with pytest.raises(ValueError, match="no packet numbers left"):
        first([row(pn=2**32)])
    assert first([row(pn=2**32)], "gcm-aes-xpn-128") == 2**32

# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys for a fabric: their derivation, and who receives what at each step of a rotation."""

import itertools

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.vtep.fabric.plugins.filter import macsec_associations, macsec_sak
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import macsec as base
from ansible_collections.vtep.fabric.plugins.module_utils._model import macsec
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._plan import macsec_keys as keys

SECRET = "5e" * 32
SCIS = {"s1": "0200000000010001", "s2": "0200000000020001", "s3": "0200000000030001"}


# RFC 5869, appendix A, test cases 1 to 3
@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "out"),
    [
        ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        (bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(), 82,
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
        ("0b" * 22, "", "", 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
)  # fmt: skip
def test_hkdf_is_that_of_the_rfc(secret, salt, info, length, out):
    assert keys.hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), length).hex() == out


def test_every_part_of_the_context_makes_another_key():
    first = keys.sak(SECRET, SCIS["s1"], "ab" * 16)
    others = [
        keys.sak("5f" * 32, SCIS["s1"], "ab" * 16),
        keys.sak(SECRET, SCIS["s2"], "ab" * 16),
        keys.sak(SECRET, SCIS["s1"], "ac" * 16),
        keys.sak(SECRET, SCIS["s1"], "ab" * 16, "gcm-aes-xpn-128"),
    ]
    assert len({one["key"] for one in [first, *others]}) == 5
    assert first == keys.sak(SECRET.upper(), SCIS["s1"].upper(), "AB" * 16)


@pytest.mark.parametrize("cipher", list(macsec.CIPHERS))
def test_the_words_are_those_of_an_association(cipher):
    words = keys.sak(SECRET, SCIS["s1"], "ab" * 16, cipher)
    [device] = macsec.devices([{"name": "macsec0", "cipher": cipher, "tx": [{"an": 0, **words}]}], None)
    assert device.tx[0].key_id == words["key_id"] == macsec.key_id(device.tx[0].key, device.tx[0].salt or b"")


def test_a_key_stays_the_same_for_ever():
    """Another derivation would cut off hosts until all of them had it; this one was worked out with openssl kdf."""
    context = "0080020001000001" + SCIS["s1"] + "ab" * 16
    assert keys.sak(SECRET, SCIS["s1"], "ab" * 16)["key"] == GOLDEN, context


GOLDEN = "b30004cb371860b6eedf18c24b5f3837"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("5e" * 31, SCIS["s1"], "ab" * 16), "key: the fabric's key must be 64 to 256 hexadecimal digits"),
        (("x" * 64, SCIS["s1"], "ab" * 16), "key: the fabric's key must be"),
        (("5e5" * 22 + "5", SCIS["s1"], "ab" * 16), "key: the fabric's key must be"),
        ((SECRET, "1", "ab" * 16), "sci: '1' is not an SCI"),
        ((SECRET, SCIS["s1"], ""), "epoch: '' is not an epoch; write 32 hexadecimal digits"),
        ((SECRET, SCIS["s1"], "ab" * 16, "aes"), "cipher: 'aes' is unknown; known are gcm-aes-128"),
    ],
)
def test_bad_input_is_told_without_the_secret(arguments, fault):
    with pytest.raises(AnsibleFilterError) as caught:
        macsec_sak.sak(*arguments)
    assert fault in str(caught.value) and arguments[0] not in str(caught.value)


# Who has what


def epochs(current=None, fresh=1):
    """What macsec_info tells of a device that sends under a number, or not."""
    now = None if current is None else {"an": current, "epoch": f"{current:02x}" * 16, "pn": 77}
    return {"current": now, "fresh": {"an": fresh, "epoch": f"f{fresh}" * 16}}


def told(**hosts):
    return {host: {"sci": SCIS[host], "epochs": found, "tx": [], "rx": []} for host, found in hosts.items()}


def lists(hosts, host, step, **more):
    made = keys.associations(hosts, SECRET, host, step, **more)
    return (
        [one["an"] for one in made["tx"]],
        {channel["sci"]: [one["an"] for one in channel["sa"]] for channel in made["rx"]},
        made.get("encodingsa"),
    )


def test_hosts_that_send_keep_their_keys():
    hosts = told(s1=epochs(0), s2=epochs(3, 0))
    for step in keys.STEPS:
        assert lists(hosts, "s1", step) == ([0], {SCIS["s2"]: [3]}, 0)
        assert lists(hosts, "s2", step) == ([3], {SCIS["s1"]: [0]}, 3)


def test_a_rotation_of_all():
    hosts = told(s1=epochs(0), s2=epochs(3, 0))
    assert lists(hosts, "s1", "receive", rotate=True) == ([0], {SCIS["s2"]: [3, 0]}, 0)
    assert lists(hosts, "s1", "transmit", rotate=True) == ([0, 1], {SCIS["s2"]: [3, 0]}, 1)
    assert lists(hosts, "s1", "drop", rotate=True) == ([1], {SCIS["s2"]: [0]}, 1)


def test_a_host_that_was_rebooted_and_a_host_of_ones_choice():
    hosts = told(s1=epochs(0), s2=epochs(None, 2), s3=epochs(1, 2))
    assert lists(hosts, "s2", "receive") == ([], {SCIS["s1"]: [0], SCIS["s3"]: [1]}, None)
    assert lists(hosts, "s2", "transmit") == ([2], {SCIS["s1"]: [0], SCIS["s3"]: [1]}, 2)
    assert lists(hosts, "s1", "receive", rotate=["s3"]) == ([0], {SCIS["s2"]: [2], SCIS["s3"]: [1, 2]}, 0)
    assert lists(hosts, "s1", "drop", rotate=["s3"]) == ([0], {SCIS["s2"]: [2], SCIS["s3"]: [2]}, 0)


@pytest.mark.parametrize("rotate", [False, True, ["s2"]])
def test_whoever_sends_is_heard_while_all_are_within_one_step(rotate):
    """That is what a barrier between the steps makes sure of."""
    hosts = told(s1=epochs(0), s2=epochs(1, 2), s3=epochs(None, 0))
    made = {
        host: [keys.associations(hosts, SECRET, host, step, rotate=rotate) for step in keys.STEPS] for host in hosts
    }
    for sender, receiver in itertools.permutations(hosts, 2):
        for position, sending in enumerate(made[sender]):
            used = [one["key"] for one in sending["tx"] if one["an"] == sending["encodingsa"]]
            assert len(used) == (0 if sender == "s3" and position == 0 else 1)
            for near in made[receiver][max(position - 1, 0) : position + 2]:
                [heard] = [channel["sa"] for channel in near["rx"] if channel["sci"] == SCIS[sender]]
                assert set(used) <= {one["key"] for one in heard}, (sender, receiver, position)


def test_no_two_hosts_and_no_two_epochs_have_one_key():
    hosts = told(s1=epochs(0), s2=epochs(0), s3=epochs(0))
    made = [
        one["key"] for host in hosts for one in keys.associations(hosts, SECRET, host, "transmit", rotate=True)["tx"]
    ]
    assert len(set(made)) == 6


def test_a_number_that_a_peer_has_a_key_under_is_left_out():
    """As of a host that lost its disk: it begins at 0, where its peers have its former key."""
    hosts = told(s1=epochs(0), s2=epochs(None, 0))
    hosts["s1"]["rx"] = [{"sci": SCIS["s2"], "sa": [{"an": 0}, {"an": 1}]}]
    for host in hosts:
        assert (
            lists(hosts, host, "drop")
            == {
                "s1": ([0], {SCIS["s2"]: [2]}, 0),
                "s2": ([2], {SCIS["s1"]: [0]}, 2),
            }[host]
        )
    hosts["s1"]["rx"][0]["sa"] = [{"an": an} for an in range(4)]
    assert lists(hosts, "s2", "drop")[0] == [0]


def test_receivers_begin_at_the_senders_packet_number():
    hosts = told(s1=epochs(0), s2=epochs(1))
    [channel] = keys.associations(hosts, SECRET, "s1", "receive", rotate=True)["rx"]
    assert [one.get("pn") for one in channel["sa"]] == [77, None]


@pytest.mark.parametrize(
    ("hosts", "more", "fault"),
    [
        (told(s1=epochs(0)), {"step": "begin"}, "step: 'begin' is unknown; known are receive, transmit, drop"),
        (told(s1=epochs(0)), {"host": "s9"}, "host: 's9' is not among s1"),
        ({"s1": {"sci": SCIS["s1"]}}, {}, "s1: give what macsec_info tells of its device"),
        ({**told(s1=epochs(0)), "s2": {"sci": "x", "epochs": epochs(0)}}, {}, "s2: 'x' is not an SCI"),
        ({**told(s1=epochs(0)), "s2": {"sci": SCIS["s1"], "epochs": epochs(0)}}, {}, f"s2: sci: {SCIS['s1']} is that of s1 too"),
        (told(s1={"current": None, "fresh": None}), {}, "s1: all four associations are taken"),
        (told(s1=None), {}, "s1: all four associations are taken"),
        (told(s1=epochs(0)), {"rotate": "true"}, "rotate: 'true' is neither true or false nor a list of hosts; .* bool"),
        (told(s1=epochs(0)), {"rotate": "s10"}, "rotate: 's10' is neither"),
        (told(s1=epochs(0)), {"rotate": 1}, "rotate: 1 is neither"),
        (told(s1=epochs(0)), {"rotate": ["s1", "s9", "s8"]}, "rotate: s9, s8: not among s1"),
    ],
)  # fmt: skip
def test_bad_input_is_told(hosts, more, fault):
    arguments = {"host": "s1", "step": "receive", **more}
    with pytest.raises(AnsibleFilterError, match=fault):
        macsec_associations.associations(hosts, SECRET, **arguments)


def test_the_secret_is_judged_too():
    with pytest.raises(InputError, match="64 to 256"):
        keys.associations(told(s1=epochs(0)), "5e", "s1", "receive")


# What macsec_info tells of it


def secy(*tx, encodingsa=0):
    return macsec.Secy(5, SCIS["s1"], "gcm-aes-128", encodingsa, True, "off", {one.an: one for one in tx}, {})


def sa(an, key_id, active=True):
    return macsec.FoundAssociation(an, active, 9, key_id)


def row(an, key_id, epoch="ee" * 16, sci=SCIS["s1"]):
    return macsec.Used(sci, key_id, an, key_id, epoch=epoch)


def found(secy_, *record):
    rows = {one.key_id: one for one in record if one.sci == secy_.sci}
    made = base._epochs(secy_, rows, list(record))
    return made["current"], made["fresh"] and made["fresh"]["an"]


def test_the_epoch_that_is_in_use():
    now = {"an": 0, "epoch": "ee" * 16, "pn": 9}
    assert found(secy(sa(0, "k")), row(0, "k")) == (now, 1)
    assert found(secy(sa(0, "k"), sa(1, "l")), row(0, "k"), row(1, "l")) == (now, 2)
    assert found(secy(sa(0, "k", active=False)), row(0, "k")) == (None, 1)
    assert found(secy(sa(0, "k")), row(0, "k", epoch="")) == (None, 1)
    assert found(secy(sa(0, "k")), row(0, "k", sci=SCIS["s2"])) == (None, 1)
    assert found(secy(sa(0, "k"), encodingsa=1), row(0, "k")) == (None, 1)


def test_after_a_reboot_the_number_after_the_last_one_is_next():
    assert found(secy()) == (None, 0)
    assert found(secy(), row(0, "k"), row(3, "l")) == (None, 0)
    assert found(secy(), row(3, "l"), row(1, "k"), row(2, "x", sci=SCIS["s2"])) == (None, 2)


def test_a_fresh_epoch_is_new_each_time_and_none_where_no_number_is_free():
    made = [base._epochs(secy(), {}, [])["fresh"]["epoch"] for _turn in range(3)]
    assert len(set(made)) == 3 and all(len(one) == 32 for one in made)
    assert found(secy(*(sa(an, f"k{an}") for an in range(4)))) == (None, None)


@pytest.mark.parametrize(
    ("pn", "numbers", "share"), [(1, 2**32, 0), (2**31 + 1, 2**32, 0.5), (0, 2**32, 1), (2**63 + 1, 2**64, 0.5)]
)
def test_the_share_of_packet_numbers(pn, numbers, share):
    assert base.pn_used(pn, numbers) == share

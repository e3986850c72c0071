# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys derived from one secret, the mesh that is made of them, and the files on a host that keep keys and their record."""

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm_keys as host_keys
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm_keys as keys
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_read import from_entries
from ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm_mesh import KEY_BITS, mesh
from ansible_collections.vtep.fabric.plugins.modules import xfrm as module

SECRET = "a secret of the fabric that has more than enough characters"
HOSTS = [{"name": f"s{i}", "address": f"2001:db8:{i}::1", "epoch": f"boot {i}"} for i in range(1, 5)]


# RFC 5869, appendices A.1 to A.3
@pytest.mark.parametrize(
    "secret, salt, info, made",
    [
        (
            "0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        ("0b" * 22, "", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
)  # fmt: skip
def test_hkdf_as_in_the_rfc(secret, salt, info, made):
    secret, salt, info, made = map(bytes.fromhex, (secret, salt, info, made))
    assert keys.hkdf(secret, salt, info, len(made)) == made


def test_a_direction_in_bytes():
    """So that a host with another version of the collection computes the same."""
    ends = keys.End("s1", "192.0.2.1", "1"), keys.End("s2", "192.0.2.2", "1")
    made = keys.direction(SECRET.encode(), *ends, "aes-gcm", 20)
    assert (made.spi, made.key.hex(), made.auth_key) == DIRECTION
    assert made.key.hex() not in repr(made) and repr(made.key) not in repr(made)


def test_everything_that_ends_say_makes_other_keys():
    ends = keys.End("s1", "192.0.2.1", "1"), keys.End("s2", "192.0.2.2", "1")
    ways = [
        (ends[0], ends[1], "aes-gcm", 20),
        (ends[1], ends[0], "aes-gcm", 20),
        (*ends, "chacha20-poly1305", 20),
        (*ends, "aes-gcm", 36),
    ]
    for i in range(2):
        for field, value in (("name", "s3"), ("address", "192.0.2.3"), ("epoch", "2")):
            changed = list(ends)
            changed[i] = ends[i]._replace(**{field: value})
            ways.append((*changed, "aes-gcm", 20))
    ways.append((keys.End("s11", "92.0.2.1", "1"), ends[1], "aes-gcm", 20))  # the same characters, cut elsewhere
    made = [keys.direction(secret, *way) for way in ways for secret in (b"a" * 32, b"b" * 32)]
    assert len({one.key[:20] for one in made}) == len({one.spi for one in made}) == 2 * len(ways)


def states(host, hosts=HOSTS, **options):
    made = mesh(hosts, host, SECRET, **options)
    read = from_entries(made["states"], made["policies"])
    return {
        (state.src, state.dst, state.spi, state.key, state.auth_key): state.shape.dir for state in read.states
    }, read


@pytest.mark.parametrize("algorithm, bits", [(name, bits) for name, lengths in KEY_BITS.items() for bits in lengths])
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_both_hosts_compute_the_same(algorithm, bits, mode):
    options = {"algorithm": algorithm, "key_bits": bits, "mode": mode, "encap": {"sport": 4500, "dport": 4500}}
    all_of = {host["name"]: states(host["name"], **options)[0] for host in HOSTS}
    for name, mine in all_of.items():
        assert len(mine) == 6
        for state, direction in mine.items():
            (other,) = (theirs for peer, theirs in all_of.items() if peer != name and state in theirs)
            assert {direction, other[state]} == {"in", "out"}
    assert len({state[3] for mine in all_of.values() for state in mine}) == 12


def test_an_epoch_changes_the_keys_of_its_host_and_no_others():
    before = states("s1")[0]
    booted = [{**HOSTS[0]}, {**HOSTS[1], "epoch": "boot 2, again"}, *HOSTS[2:]]
    after = states("s1", booted)[0]
    assert len(set(before) & set(after)) == 4
    assert not {state[3] for state in states("s2")[0]} & {state[3] for state in states("s2", booted)[0]}


def test_another_replay_window_makes_no_sender_anew():
    """One that is made anew with the same key would begin again at sequence number 0."""
    (before, read), (after, other) = states("s1"), states("s1", replay_window=64)
    assert before == after

    def windows(mesh):
        return {way: {one.shape.replay_window for one in mesh.states if one.shape.dir == way} for way in ("in", "out")}

    assert (windows(read), windows(other)) == ({"in": {1024}, "out": {1024}}, {"in": {64}, "out": {1024}})


def test_policies_of_a_mesh():
    read = states("s1")[1]
    told = [policy.text() for policy in read.policies]
    assert len(told) == 8
    (out,) = (state.spi for state in read.states if state.shape.dir == "out" and state.dst[5] == 2)
    assert told[0] == (
        "policy dir out src 2001:db8:1::1/128 dst 2001:db8:2::1/128 proto udp dport 4789 priority 1000 action allow "
        f"tmpl src 2001:db8:1::1 dst 2001:db8:2::1 proto esp spi {hex(out)} reqid 118 mode transport"
    )
    assert told[1] == (
        "policy dir in src 2001:db8:2::1/128 dst 2001:db8:1::1/128 proto udp dport 4789 priority 1000 action allow "
        "tmpl src 2001:db8:2::1 dst 2001:db8:1::1 proto esp reqid 118 mode transport"
    )
    assert told[-2:] == [
        "policy dir out src 2001:db8:1::1/128 dst ::/0 proto udp dport 4789 priority 2000 action block",
        "policy dir in src ::/0 dst ::/0 proto udp dport 4789 priority 2000 action block",
    ]
    assert all(
        state.sel.src == state.src and state.sel.dst == state.dst and state.sel.dport == 4789 for state in read.states
    )
    assert len(states("s1", block=False)[1].policies) == 6


def test_the_example_of_the_module_blocks_what_a_mesh_does():
    example = yaml.safe_load(module.EXAMPLES)[0]["vtep.fabric.xfrm"]
    read = from_entries(example["states"], example["policies"], False, lambda path: f"0x{path.encode().hex():0<40.40}")
    blocks = [policy.text() for policy in read.policies if policy.action == "block"]
    assert blocks == [policy.text() for policy in states("s1")[1].policies if policy.action == "block"]


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"secret": "short"}, "secret: it has 5 characters; it must have 32 or more"),
        ({"algorithm": "des"}, "algorithm and key_bits: 'des' with 256 is not known"),
        ({"key_bits": 192}, "algorithm and key_bits: 'aes-gcm' with 192 is not known"),
        ({"algorithm": "chacha20-poly1305", "key_bits": 128}, "chacha20-poly1305 with 256"),
        ({"mode": "beet"}, "mode: 'beet' is neither transport nor tunnel"),
        ({"host": "s9"}, "'s9' is none of the hosts"),
        ({"hosts": [*HOSTS, {**HOSTS[0], "address": "2001:db8:9::1"}]}, "hosts row 5: name: s1 stands twice"),
        ({"hosts": [*HOSTS, {**HOSTS[0], "name": "s5"}]}, "hosts row 5 (s5): address: 2001:db8:1::1 is that of s1 too"),
        (
            {"hosts": [*HOSTS, {"name": "s5", "address": "192.0.2.5", "epoch": 1}]},
            "hosts: their addresses are of both families",
        ),
        ({"hosts": [*HOSTS, {"name": "s5", "address": "2001:db8:5::1"}]}, "hosts row 5 (s5): epoch: missing"),
        ({"hosts": [*HOSTS, {"name": "s5", "epoch": 1}]}, "hosts row 5 (s5): address: None is not an IP address"),
        ({"hosts": [*HOSTS, {}]}, "hosts row 5: name: missing"),
        ({"hosts": "s1"}, "hosts: it is not a list; write"),
        ({"hosts": [*HOSTS, "s5"]}, "hosts row 5: 's5' is not a mapping; write"),
        ({"secret": [SECRET]}, "secret: it is not text (the value is not shown)"),
        ({"algorithm": ["aes-gcm"]}, "algorithm and key_bits: ['aes-gcm'] with 256 is not known"),
        ({"key_bits": [256]}, "algorithm and key_bits: 'aes-gcm' with [256] is not known"),
        ({"host": ["s1"]}, "['s1'] is none of the hosts"),
        ({"port": 70000}, "port: 70000 is out of range; it must be 1 to 65535"),
        ({"replay_window": -1}, "replay_window: -1 is out of range; it must be 0 to 4096"),
        ({"encap": "espinudp"}, "encap: 'espinudp' is not a mapping; write"),
        ({"encap": {"sport": 0}}, "encap: sport: 0 is out of range; it must be 1 to 65535"),
        ({"encap": {"dport": "x"}}, "encap: dport: 'x' is not a whole number"),
        ({"encap": {"type": "espintcp"}}, "encap: type: 'espintcp' is not known; it is espinudp"),
        ({"encap": {"port": 4500}}, "encap: port: is not a known word; known are type, sport, dport"),
        ({"block": "no"}, "block: 'no' is neither true nor false; in a template, write | bool after it"),
        ({"esn": "maybe"}, "esn: 'maybe' is neither true nor false"),
        ({"ciper": "x"}, "ciper: is not a known word; known are algorithm, key_bits,"),
    ],
)
def test_a_bad_mesh_is_refused(change, fault):
    with pytest.raises(InputError) as caught:
        mesh(**{"hosts": HOSTS, "host": "s1", "secret": SECRET, **change})
    assert any(fault in one for one in caught.value.faults), caught.value.faults
    assert SECRET not in str(caught.value)


def test_what_a_state_is_made_for_makes_its_key():
    """One that is made anew for something else begins again at sequence number 0."""
    ways = [{}, {"mode": "tunnel"}, {"port": 8472}, {"mode": "tunnel", "port": 8472}]
    made = [set(states("s1", **way)[0]) for way in ways]
    assert len(set.union(*({(state[2], state[3]) for state in one} for one in made))) == 4 * 6


def test_two_peers_with_one_spi_are_told(monkeypatch):
    made = keys.direction
    monkeypatch.setattr(
        "ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm_mesh.direction",
        lambda *how, **use: made(*how, **use)._replace(spi=4096),
    )
    with pytest.raises(
        InputError, match="s2 and s3 and s4 have the same SPI towards s1 by chance; give one of them another epoch"
    ):
        mesh(HOSTS, "s1", SECRET)


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(host_keys, "RECORD", tmp_path / "state" / "used-keys")
    return host_keys.RECORD


def test_the_record_of_used_keys(record, monkeypatch):
    assert host_keys.used() == set()
    host_keys.add([])
    host_keys.forget([])
    assert not record.exists()
    host_keys.add(["aa", "bb"])
    host_keys.add(["cc"])
    assert host_keys.used() == {"aa", "bb", "cc"}
    assert record.stat().st_mode & 0o777 == 0o600
    host_keys.forget(iter(["bb"]))
    assert host_keys.used() == {"aa", "cc"}
    monkeypatch.setattr(host_keys, "KEPT", 2)
    host_keys.add(["dd"])
    assert host_keys.used() == {"cc", "dd"}


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "key"
    path.write_text("0x00\n")
    path.chmod(0o600)
    assert host_keys.private_text(path) == "0x00\n"
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(ValueError, match=rf"key has mode {mode:04o}, so that others may read it; chmod 0600"):
            host_keys.private_text(path)
    with pytest.raises(ValueError, match="none': No such file"):
        host_keys.private_text(f"{tmp_path}/none")
    for key in ("5e" * 20, "0x" + "5E" * 36):  # written in place of a file
        with pytest.raises(ValueError, match="a word of [47][0-9] characters: No such file"):
            host_keys.private_text(key)
    with pytest.raises(ValueError, match="is no regular file"):
        host_keys.private_text(tmp_path)
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        host_keys.private_text(path)


# hmac.new and bytes put together by hand
DIRECTION = (4282918844, "1bef9f5542a53af49ad854573c7ff878af403032", b"")

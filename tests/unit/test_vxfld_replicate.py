# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication without a kernel: frames and errors through sockets that are lists, and what nft is told."""

import errno
import os
import socket
import struct
from dataclasses import replace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld import replicate, replicate_nft
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.config import Prefix, Vxsnd
from hypothesis import given
from hypothesis import strategies as st


def pack(*texts):
    return [socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in texts]


A, B, C = pack("192.0.2.1", "192.0.2.2", "192.0.2.3")
A6, B6 = pack("2001:db8::1", "2001:db8::2")
ANYCAST = dict(zip((4, 6), pack("203.0.113.100", "2001:db8:ffff::100")))
SETTINGS = Vxsnd(svcnode_ip=ANYCAST)
FRAME = bytes.fromhex("0800000000006400") + b"\xff" * 42
FAMILY = {3: 4, 5: 6}  # file numbers of the data sockets


class Data:
    """A data socket: a list of what waits in it."""

    def __init__(self, number):
        self.number, self.waiting = number, []

    def fileno(self):
        return self.number

    def close(self):
        self.waiting = None

    def recvfrom_into(self, buffer):
        if not self.waiting:
            raise BlockingIOError
        data, name = self.waiting.pop(0)
        if isinstance(data, OSError):
            raise data
        buffer[: len(data)] = data
        return len(data), name


class Raw:
    """A raw socket: what was sent, and which destinations raise what."""

    def __init__(self):
        self.sent, self.errors, self.closed = [], {}, False

    def close(self):
        self.closed = True

    def sendto(self, data, name):
        if name[0] in self.errors:
            raise OSError(self.errors[name[0]], os.strerror(self.errors[name[0]]))
        self.sent.append((name[0], bytes(data)))


@pytest.fixture
def make(monkeypatch):
    def made(settings=SETTINGS, kind=replicate.Replicator):
        data, raw = [], {}

        def data_socket(address, _settings):
            data.append(Data(3 if len(address) == 4 else 5))
            return data[-1]

        def raw_socket(family):
            raw[family] = Raw()
            return raw[family]

        monkeypatch.setattr(replicate, "_data_socket", data_socket)
        monkeypatch.setattr(replicate, "_raw_socket", raw_socket)
        return Bench(kind(settings), data, raw)

    return made


class Bench:
    def __init__(self, replicator, data, raw):
        self.replicator, self.raw = replicator, raw
        self.data = {FAMILY[one.number]: one for one in data}
        self.learned, self.proxied = [], []

    def hear(self, *frames, source="192.0.2.1", port=59381, proxy=False):
        """The destinations of what these frames make the replicator send."""
        family = 6 if ":" in source else 4
        name = (source, port, 0, 0) if family == 6 else (source, port)
        self.data[family].waiting += [(frame, name) for frame in frames]
        before = len(self.raw[family].sent)

        def heard(*words):
            self.learned.append(words)

        passed = (lambda *words: self.proxied.append(words)) if proxy else None
        self.replicator.handle(self.data[family].number, heard, passed)
        return [name for name, _data in self.raw[family].sent[before:]]


def checksum(data):
    """RFC 1071, word by word."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_copy_goes_to_each_other_vtep_from_the_first_one(make):
    bench = make()
    bench.replicator.update(100, [A, B, C, A6], [A, B, C, A6])
    assert bench.hear(FRAME) == ["192.0.2.2", "192.0.2.3"]
    # What upstream sent for this frame; length, identification and checksum of the IP header are the kernel's.
    head = bytes.fromhex("4500 0000 0000 0000 4011 0000 c0000201 c0000202 e7f5 12b5 003a 0000")
    assert bench.raw[4].sent[0] == ("192.0.2.2", head + FRAME)
    assert bench.replicator.counters() == {"frames": 1, "copies": 2}
    assert bench.learned == []


@given(packet=st.binary(max_size=70), port=st.integers(0, 65535), tail=st.binary(min_size=8, max_size=8))
def test_the_checksum_over_ipv6_is_right_and_never_zero(packet, port, tail):
    with pytest.MonkeyPatch.context() as patch:
        raw = Raw()
        patch.setattr(replicate, "_data_socket", lambda address, _settings: Data(len(address)))
        patch.setattr(replicate, "_raw_socket", lambda _family: raw)
        one = replicate.Replicator(replace(SETTINGS, svcnode_ip={6: ANYCAST[6]}))
        far = bytes.fromhex("20010db800000000") + tail
        one.update(100, [A6, far], [A6])
        one.inject(packet, A6, port, 100)
        data = raw.sent[0][1]
    assert data[:8] == struct.pack("!IHBB", 0x60000000, 8 + len(packet), 17, 64) and data[8:40] == A6 + far
    assert data[40:46] == struct.pack("!HHH", port, 4789, 8 + len(packet)) and data[48:] == packet
    assert data[46:48] != b"\0\0"
    assert checksum(data[8:40] + struct.pack("!II", len(data) - 40, 17) + data[40:]) == 0xFFFF


def test_a_sum_of_zero_is_sent_as_all_ones():
    total = replicate._sum6(b"", bytes(16), 0, 0, 0)
    assert total == 17
    assert replicate._sum6((0xFFFF - 17 - 4).to_bytes(2, "big"), bytes(16), 0, 0, 2) == 0


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "drops_short"),
        (FRAME[:7], "drops_short"),
        (b"\xf7" + FRAME[1:], "drops_no_flag"),
        (FRAME[:4] + b"\xff\xff\xff" + FRAME[7:], "drops_unknown_vni"),
    ],
)
def test_frames_that_lead_nowhere_are_counted(make, frame, reason):
    bench = make()
    bench.replicator.update(100, [A, B], [A, B])
    assert bench.hear(frame, FRAME) == ["192.0.2.2"]
    assert bench.replicator.counters() == {"frames": 2, "copies": 1, reason: 1}


def test_senders_without_registration_are_learned_once_a_batch(make):
    bench = make()
    bench.replicator.update(100, [A, B], [B])
    assert bench.hear(FRAME, FRAME, FRAME) == ["192.0.2.2"] * 3
    assert bench.hear(FRAME, source="192.0.2.3") == ["192.0.2.1", "192.0.2.2"]
    assert bench.hear(FRAME, source="192.0.2.2") == ["192.0.2.1"]
    other = FRAME[:4] + b"\0\0\1\0" + FRAME[8:]
    assert bench.hear(other, other) == []
    assert bench.learned == [(100, A), (100, C), (1, A)]


def test_an_update_counts_at_once(make):
    bench = make()
    bench.replicator.update(100, [A, B], [A, B])
    assert bench.hear(FRAME) == ["192.0.2.2"]
    bench.replicator.update(100, [A, C], [C])
    assert bench.hear(FRAME) == ["192.0.2.3"]
    assert bench.learned == [(100, A)]
    bench.replicator.update(100, [], [])
    assert bench.hear(FRAME) == []
    assert bench.replicator.counters()["drops_unknown_vni"] == 1


def test_a_batch_ends_so_that_others_have_their_turn(make):
    bench = make()
    bench.replicator.update(100, [A, B], [A, B])
    assert len(bench.hear(*[FRAME] * 100)) == replicate.BATCH
    assert len(bench.hear()) == 100 - replicate.BATCH


def test_an_error_of_the_data_socket_loses_no_frame(make):
    bench = make()
    bench.replicator.update(100, [A, B], [A, B])
    assert bench.hear(OSError(errno.ENOMEM, "out"), FRAME) == []
    assert bench.hear() == ["192.0.2.2"]
    assert bench.replicator.counters()["receive_errors_ENOMEM"] == 1


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM])
def test_an_error_of_one_destination_leaves_the_others(make, number):
    bench = make()
    bench.replicator.update(100, [A, B, C], [A])
    bench.raw[4].errors = {"192.0.2.2": number}
    assert bench.hear(FRAME, FRAME) == ["192.0.2.3"] * 2
    assert bench.replicator.counters() == {"frames": 2, "copies": 2, f"send_errors_{errno.errorcode[number]}": 2}
    key = f"send_errors_{errno.errorcode[number]} 192.0.2.2"
    words = f"a packet of 78 octets to 192.0.2.2 was not sent: {os.strerror(number)}"
    assert bench.replicator.alarms == [(key, words)]


def test_what_does_not_fit_is_named_once_with_its_size(make):
    bench = make()
    bench.replicator.update(100, [A6, B6], [A6])
    bench.raw[6].errors = {"2001:db8::2": errno.EMSGSIZE}
    bench.hear(FRAME + bytes(9000), FRAME + bytes(9001), source="2001:db8::1")
    assert bench.replicator.counters() == {"frames": 2, "copies": 0, "drops_too_big": 2}
    ((_key, words),) = bench.replicator.alarms
    assert words.startswith("a packet of 9098 octets to 2001:db8::2 was not sent: Message too long; raise")


def test_nothing_goes_to_ourselves_or_to_what_is_no_host(make):
    bench = make(replace(SETTINGS, src_ip={4: C}))
    bad = pack("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.9")
    bench.replicator.update(100, [*bad, *ANYCAST.values(), A, B, C, A6, B6], [A, A6])
    assert bench.hear(FRAME) == ["192.0.2.2"]
    assert bench.hear(FRAME, source="2001:db8::1") == ["2001:db8::2"]


def test_the_allow_list_covers_frames_and_may_change(make):
    bench = make(replace(SETTINGS, allow=(Prefix(A, 32),)))
    bench.replicator.update(100, [A, B, C], [A, B, C])
    assert bench.hear(FRAME) == ["192.0.2.2", "192.0.2.3"]
    assert bench.hear(FRAME, source="192.0.2.2") == []
    assert bench.replicator.counters()["drops_not_allowed"] == 1
    bench.replicator.allow(())
    assert bench.hear(FRAME, source="192.0.2.2") == ["192.0.2.1", "192.0.2.3"]


def test_proxies_get_sound_frames_and_inject_sends_theirs(make):
    bench = make(replace(SETTINGS, vxlan_dest_port=8472))
    bench.replicator.update(100, [A, B], [A, B])
    bench.hear(FRAME, FRAME[:7], proxy=True)
    assert bench.proxied == [(100, A, 59381, FRAME)]
    bench.raw[4].sent.clear()
    bench.replicator.inject(FRAME, C, 1234, 100)
    assert [name for name, _data in bench.raw[4].sent] == ["192.0.2.1", "192.0.2.2"]
    assert bench.raw[4].sent[0][1][12:24] == C + A + struct.pack("!HH", 1234, 8472)
    bench.replicator.inject(FRAME, C, 1234, 101)
    assert bench.replicator.counters()["drops_unknown_vni"] == 1


def test_without_an_address_it_listens_on_all_of_ipv4_as_upstream(make):
    bench = make(replace(SETTINGS, svcnode_ip={}))
    assert bench.replicator.filenos() == [3]
    bench.replicator.inject(FRAME, A6, 1, 100)  # no socket of this family: no error
    bench.replicator.close()
    assert bench.raw[4].closed and bench.data[4].waiting is None


# --- what nft is told


class Nft:
    def __init__(self, monkeypatch):
        self.texts, self.fail, self.counts, self.refused = [], [], {}, 0
        monkeypatch.setattr(replicate_nft, "_run", self.run)
        monkeypatch.setattr(replicate_nft, "_counts", lambda _families: (dict(self.counts), self.refused))

    def run(self, text, check=False):
        self.texts.append(text)
        if self.fail:
            raise FabricError(self.fail.pop(0))


@pytest.fixture
def nft(monkeypatch):
    return Nft(monkeypatch)


def kernel(make, **settings):
    return make(replace(SETTINGS, **settings), replicate_nft.Replicator).replicator


def test_the_first_flush_takes_a_former_table_s_place_in_one_transaction(make, nft):
    one = kernel(make)
    one.update(100, [A, B, A6, B6], [A, A6])
    one.flush()
    (text,) = nft.texts
    assert text.startswith("add table ip vtep_fabric_vxsnd\ndelete table ip vtep_fabric_vxsnd\ntable ip ")
    assert "vni_100 ip saddr != 192.0.2.2 counter name copies_100 ip daddr set 192.0.2.2 dup to 192.0.2.2\n" in text
    assert (
        "vni_100 ip6 saddr != 2001:db8::2 counter name copies_100 ip6 daddr set 2001:db8::2 dup to 2001:db8::2\n"
        in text
    )
    assert "add element ip vtep_fabric_vxsnd senders { 100 . 192.0.2.1 : goto vni_100 }\n" in text
    assert "100 . 192.0.2.2" not in text  # not registered: its frames go up to be learned
    one.flush()
    assert nft.texts[1:] in ([], [""])


def test_only_changed_vnis_are_rewritten(make, nft):
    one = kernel(make, svcnode_ip={4: ANYCAST[4]})
    for vni in (100, 200):
        one.update(vni, [A, B], [A, B])
    one.flush()
    one.update(200, [A, C], [A, C])
    one.flush()
    assert "table ip vtep_fabric_vxsnd\n" not in nft.texts[1] and "vni_100" not in nft.texts[1]
    assert "delete element ip vtep_fabric_vxsnd senders { 200 . 192.0.2.2 : goto vni_200 }\n" in nft.texts[1]
    assert "add element ip vtep_fabric_vxsnd senders { 200 . 192.0.2.3 : goto vni_200 }\n" in nft.texts[1]
    one.update(200, [A], [])
    nft.counts = {(4, 200): (5, 10), (4, 100): (1, 2)}
    one.flush()
    assert "delete chain ip vtep_fabric_vxsnd vni_200\n" in nft.texts[2] and "add" not in nft.texts[2]
    del nft.counts[4, 200]
    assert one.counters() == {"kernel_frames": 6, "kernel_copies": 12, "kernel_drops_not_allowed": 0}
    assert one.by_vni() == {100: (1, 2)}


def test_a_big_fill_goes_in_several_transactions(make, nft, monkeypatch):
    monkeypatch.setattr(replicate_nft, "ROWS", 10)
    one = kernel(make)
    for vni in range(1, 13):
        one.update(vni, [A, B], [A])
    one.flush()
    assert [text.count("dup to") for text in nft.texts] == [10, 10, 4]
    assert [text.count("delete table") for text in nft.texts] == [2, 0, 0]


def test_a_refused_update_is_tried_anew_from_nothing(make, nft):
    one = kernel(make)
    one.update(100, [A, B], [A])
    one.flush()
    one.update(200, [A, B], [A])
    nft.fail = ["No such file or directory"]
    one.flush()
    assert "delete table" not in nft.texts[1] and "delete table" in nft.texts[2]
    assert nft.texts[2].count("goto vni_100") == nft.texts[2].count("goto vni_200") == 1
    one.update(300, [A, B], [A])
    nft.fail = ["first", "second"]
    with pytest.raises(FabricError, match="second"):
        one.flush()
    one.flush()
    assert all(f"goto vni_{vni} " in nft.texts[-1] for vni in (100, 200, 300))


def test_tables_that_somebody_removed_come_back(make, nft):
    one = kernel(make)
    one.update(100, [A, B], [A])
    one.flush()
    nft.counts = {(4, 100): (0, 0)}
    one.counters()
    one.flush()
    assert len([text for text in nft.texts if text]) == 1
    nft.counts = {}
    one.counters()
    one.flush()
    assert "delete table" in nft.texts[-1] and "goto vni_100" in nft.texts[-1]
    one.update(100, [A, B, A6, B6], [A, A6])
    one.flush()
    nft.counts = {(4, 100): (0, 0)}  # that of the other family is gone
    one.counters()
    one.flush()
    assert "delete table" in nft.texts[-1]


def test_counting_while_tables_are_made_asks_for_nothing(make, nft, monkeypatch):
    """flush() runs in a thread, counters() in the loop."""
    one = kernel(make)
    one.update(100, [A, B], [A])
    run = nft.run
    monkeypatch.setattr(replicate_nft, "_run", lambda text, check=False: (one.counters(), run(text, check)))
    one.flush()
    nft.counts = {(4, 100): (0, 0)}
    one.flush()
    assert len([text for text in nft.texts if text]) == 1


def test_the_table_s_rules_follow_the_settings(make, nft):
    allow = (Prefix(*pack("10.0.0.0"), 8), Prefix(*pack("10.1.0.0"), 16), Prefix(*pack("2001:db8::"), 32))
    one = kernel(make, vxlan_port=4790, allow=allow)
    one.update(100, [A, B], [A])
    nft.refused = 9  # by a former process
    one.flush()
    text = nft.texts[0]
    assert "ip daddr 203.0.113.100 udp dport 4790 ip saddr != { 10.0.0.0/8 } counter name not_allowed drop\n" in text
    assert "ip6 saddr != { 2001:db8::/32 } counter name not_allowed drop\n" in text
    one.allow((Prefix(*pack("2001:db8::"), 32),))
    nft.refused = 7
    one.flush()
    assert "ip daddr 203.0.113.100 udp dport 4790 counter name not_allowed drop\n" in nft.texts[1]
    one.allow(())
    one.flush()
    assert "not_allowed drop" not in nft.texts[2]
    nft.refused = 0
    assert one.counters()["kernel_drops_not_allowed"] == 14


def test_proxies_and_another_port_need_the_process(nft):
    held, reason = replicate_nft.available(replace(SETTINGS, vxfld_proxy_servers=((A, 10001),)))
    assert not held and reason.startswith("vxfld_proxy_servers")
    held, reason = replicate_nft.available(replace(SETTINGS, vxlan_dest_port=8472))
    assert not held and reason.startswith("vxlan_dest_port 8472")
    assert nft.texts == []
    nft.fail = ["nft: no dup here"]
    assert replicate_nft.available(SETTINGS) == (False, "nft: no dup here")
    assert replicate_nft.available(SETTINGS) == (True, "")

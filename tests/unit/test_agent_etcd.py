# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's JSON gateway as from a stranger: keys, numbers, answers that are none. And what sources share."""

import asyncio
import json
import logging
import random
import time
from base64 import b64encode
from types import SimpleNamespace

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import etcd, http, source, source_etcd
from ansible_collections.vtep.fabric.plugins.module_utils._agent.config import Settings

URL = "http://192.0.2.1:2379"
HEADER = {"cluster_id": "14841639068965178418", "member_id": "1", "revision": "7", "raft_term": "2"}
log = logging.getLogger("test")


def text(octets):
    return b64encode(octets).decode()


def row(key=b"/vtep.fabric/endpoints/100/50:54:33:00:00:01/192.0.2.1", value=b"{}", revision=7):
    return {"key": text(key), "value": text(value), "create_revision": "3", "mod_revision": str(revision), "lease": "9"}


class Fake:
    """In the place of the HTTP client: the next of some answers, each (status, octets)."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        self.stream_closed = False

    async def request(self, method, path, body, headers, timeout, most):
        self.asked.append((path, json.loads(body), headers))
        if not self.answers:
            raise http.HttpError("no answer")
        status, data = self.answers.pop(0)
        if len(data) > most:
            raise http.TooLong(f"longer than {most}")
        return http.Response(status, {}, data)

    async def stream(self, method, path, body, headers):
        self.asked.append((path, json.loads(body), headers))
        status, data = self.answers.pop(0)
        return FakeStream(status, data, self)

    def close(self):
        pass


class FakeStream:
    def __init__(self, status, data, owner):
        self.status, self.headers, self._data, self._owner = status, {}, data, owner

    async def lines(self, most):
        for line in self._data.splitlines():
            yield line

    async def read(self, most):
        return self._data

    def close(self):
        self._owner.stream_closed = True


def client(*answers, **arguments):
    made = etcd.Etcd(URL, **arguments)
    made._client = Fake(*[one if isinstance(one, tuple) else (200, one) for one in map(_octets, answers)])
    return made


def _octets(answer):
    if isinstance(answer, tuple):
        return answer[0], answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
    return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def run(work):
    return asyncio.run(work)


async def gathered(pages):
    return [(header, rows) async for header, rows in pages]


async def watched(made, revision=8):
    found = []
    async with made.watch(b"a", b"b", revision) as changes:
        async for header, events, more in changes:
            found.append((header, events, more))
    return found


# --- what is asked


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"/a/", b"/a0"), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0")]
)
def test_the_end_of_a_prefix(prefix, end):
    assert etcd.prefix_end(prefix) == end


def test_pages_follow_one_another_at_one_revision():
    first = {"header": HEADER, "kvs": [row(b"k1"), row(b"k2")], "more": True, "count": "3"}
    second = {"header": {**HEADER, "revision": "20"}, "kvs": [row(b"k3", revision=5)], "count": "3"}
    made = client(first, second)
    pages = run(gathered(made.pages(b"k", b"l")))
    assert [one.key for _header, rows in pages for one in rows] == [b"k1", b"k2", b"k3"]
    assert {header.revision for header, _rows in pages} == {7}
    (_path, asked, _headers), (_path, again, _headers) = made._client.asked
    assert (asked["key"], asked["range_end"], "revision" in asked) == (text(b"k"), text(b"l"), False)
    assert (again["key"], again["revision"]) == (text(b"k2\0"), 7)


def test_a_page_that_is_too_long_is_asked_for_in_parts():
    long = b" " * (etcd.MOST_ANSWER + 1)
    made = client(long, long, {"header": HEADER, "kvs": [row()]})
    assert len(run(gathered(made.pages(b"k", b"l")))) == 1
    assert [asked["limit"] for _path, asked, _headers in made._client.asked] == [1000, 125, 15]
    with pytest.raises(etcd.EtcdError, match="longer"):
        run(gathered(client(*[long] * 9).pages(b"k", b"l")))


def test_pages_that_lead_in_a_circle():
    page = {"header": HEADER, "kvs": [row(b"a")], "more": True}
    with pytest.raises(etcd.EtcdError, match="no order"):
        run(gathered(client(page, page).pages(b"k", b"l")))


def test_more_keys_than_anybody_has(monkeypatch):
    monkeypatch.setattr(etcd, "MOST_KEYS", 5)
    made = client(*[{"header": HEADER, "kvs": [row(b"%d" % at), row(b"%dx" % at)], "more": True} for at in range(9)])
    with pytest.raises(etcd.EtcdError, match="more than 5 keys"):
        run(gathered(made.pages(b"0", b":")))
    assert len(made._client.asked) == 3


# --- what is answered


def test_numbers_and_octets():
    made = client({"header": HEADER, "kvs": [row(b"\0\xff", b"\n")]})
    _header, found = run(made.get(b"x"))
    assert found == etcd.Row(b"\0\xff", b"\n", 3, 7, 9)
    # What is zero, or empty, is left out.
    made = client({"header": {}, "kvs": [{"key": "eA=="}]})
    assert run(made.get(b"x")) == (etcd.Header(0, 0), etcd.Row(b"x", b"", 0, 0, 0))


HOSTILE = [
    b"", b"x", b"[]", b"null", b"1", b'"x"', b"[" * 100000, b'{"a":' * 100000, b"\xff\xfe", b'{"header": ' + b"9" * 1000000 + b"}",
    {}, {"header": []}, {"header": {"revision": "x"}}, {"header": {"revision": "1" * 30}}, {"header": {"revision": True}},
    {"header": {"revision": 1.5}}, {"header": {"cluster_id": []}},
    {"header": HEADER, "kvs": {}}, {"header": HEADER, "kvs": [1]}, {"header": HEADER, "kvs": "x"},
    {"header": HEADER, "kvs": [{"key": "!"}]}, {"header": HEADER, "kvs": [{"key": "eA=\u00e9"}]},
    {"header": HEADER, "kvs": [{"key": 1}]}, {"header": HEADER, "kvs": [{"key": "eA", "value": []}]},
    {"header": HEADER, "kvs": [{"key": "eA==", "lease": {}}]}, {"error": {"message": ["x"], "code": "y"}},
    {"error": "\x1b[31mred", "code": 5}, {"error": 1}, {"result": 5},
]  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_answers_that_are_none(answer):
    for status in (200, 500):
        for ask in (lambda made: made.get(b"x"), lambda made: gathered(made.pages(b"k", b"l")), watched):
            with pytest.raises(etcd.EtcdError) as caught:
                run(ask(client((status, _octets(answer)))))
            assert len(str(caught.value)) < 400


def test_damaged_answers():
    """Each is read or refused; and so is what is whole JSON with other things in it."""
    chance = random.Random(1)
    answer = {"header": HEADER, "kvs": [row(), row()], "more": False, "count": "2"}
    line = {"result": {"header": HEADER, "events": [{"type": "DELETE", "kv": row()}, {"kv": row()}]}}
    values = [None, True, 0, -1, 1 << 70, 1.5, "", "x", "7", "eA==", [], [[]], {}, {"a": {}}, "\x00", "9" * 50]
    refused = 0
    for number in range(4000):
        whole = answer if number % 2 else line
        if number % 4 < 2:
            octets = bytearray(json.dumps(whole).encode())
            for _dummy in range(chance.randint(1, 3)):
                octets[chance.randrange(len(octets))] = chance.randrange(256)
            data = bytes(octets)
        else:
            data = json.dumps(_changed(whole, chance, values)).encode()
        try:
            run(gathered(client(data).pages(b"", b"\0")) if number % 2 else watched(client(data)))
        except etcd.EtcdError as error:
            refused += "the watch has ended" not in str(error)
    assert 400 < refused < 3600


def _changed(value, chance, values):
    """A copy with something else in one place."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        place = chance.choice(keys)
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[place] = _changed(value[place], chance, values)
        return copy
    return chance.choice(values)


@pytest.mark.parametrize(
    ("status", "answer", "code", "words"),
    [
        (404, b"404 page not found\n", None, "enable-grpc-gateway"),
        (404, {"error": "etcdserver: requested lease not found", "message": "x", "code": 5}, 5, "x"),
        (503, {"code": 14, "message": "etcdserver: no leader"}, 14, "no leader"),
        (200, {"error": {"grpc_code": 14, "message": "m"}}, 14, "m"),
    ],
)
def test_refusals(status, answer, code, words):
    with pytest.raises(etcd.EtcdError, match=words) as caught:
        run(client((status, answer)).get(b"x"))
    assert caught.value.code == code


@pytest.mark.parametrize("words", ["\ud800", "\x1b[2J", "a\nb", "\u202e", "\x9b"])
@pytest.mark.parametrize("answer", [(500, {"message": "%"}), (200, {"error": {"message": "%"}}), (200, {"error": "%"})])
def test_others_words_are_shown_as_they_cannot_harm(answer, words):
    status, told = answer
    told = json.dumps(told).replace("%", json.dumps(words)[1:-1])
    with pytest.raises(etcd.EtcdError) as caught:
        run(client((status, told.encode())).get(b"x"))
    assert str(caught.value).isprintable() and "\\" in str(caught.value)
    canceled = {"result": {"header": HEADER, "canceled": True, "cancel_reason": words}}
    with pytest.raises(etcd.EtcdError) as caught:
        run(watched(client(canceled)))
    assert str(caught.value).isprintable()


def test_what_is_forgotten_is_told_apart():
    words = "etcdserver: mvcc: required revision has been compacted"
    with pytest.raises(etcd.Compacted):
        run(client((400, {"code": 11, "message": words})).get(b"x", 3))
    with pytest.raises(etcd.EtcdError) as caught:
        run(
            client((400, {"code": 11, "message": "etcdserver: mvcc: required revision is a future revision"})).get(b"x")
        )
    assert not isinstance(caught.value, etcd.Compacted)
    canceled = {"result": {"header": HEADER, "canceled": True, "compact_revision": "5"}}
    with pytest.raises(etcd.Compacted):
        run(watched(client(canceled)))
    with pytest.raises(etcd.EtcdError, match="for a reason"):
        run(watched(client({"result": {"header": HEADER, "canceled": True, "cancel_reason": "for a reason"}})))


def test_a_watch():
    line = {"result": {"header": HEADER, "events": [{"kv": row()}, {"type": "DELETE", "kv": row(value=b"")}]}}
    lines = json.dumps({"result": {"header": HEADER, "created": True}}), json.dumps(line)
    made = client("\n".join(lines).encode())
    found = []

    async def work():
        async with made.watch(b"a", b"b", 8) as changes:
            async for one in changes:
                found.append(one)

    with pytest.raises(etcd.EtcdError, match="has ended"):
        run(work())
    assert [[event.gone for event in events] for _header, events, _more in found] == [[], [False, True]]
    assert made._client.stream_closed
    assert made._client.asked[0][1]["create_request"]["start_revision"] == 8


# --- users


def test_a_token_is_got_once_and_again_when_it_is_forgotten():
    token, other = {"header": HEADER, "token": "abc.1"}, {"header": HEADER, "token": "def.2"}
    good = {"header": HEADER, "kvs": []}
    forgotten = (401, {"code": 16, "message": "etcdserver: invalid auth token"})
    made = client(token, good, good, forgotten, other, good, username="agent", password="secret")

    async def work():
        for _dummy in range(3):
            await made.get(b"x")

    run(work())
    asked = [(path, headers.get("Authorization")) for path, _body, headers in made._client.asked]
    range_, authenticate = "/v3/kv/range", ("/v3/auth/authenticate", None)
    assert asked == [
        authenticate, (range_, "abc.1"), (range_, "abc.1"), (range_, "abc.1"), authenticate, (range_, "def.2"),
    ]  # fmt: skip
    assert made._client.asked[0][1] == {"name": "agent", "password": "secret"}
    # Not for ever.
    made = client(token, forgotten, other, forgotten, username="agent", password="secret")
    with pytest.raises(etcd.EtcdError, match="invalid auth token"):
        run(made.get(b"x"))
    # Of many at a time one asks for it.
    made = client(token, good, good, good, username="agent", password="secret")

    async def many():
        await asyncio.gather(*(made.get(b"x") for _dummy in range(3)))

    run(many())
    assert made.authentications == 1


@pytest.mark.parametrize("token", [None, 5, "", "a b", "a\r\nX: y", "x" * 5000, "\u00e9"])
def test_tokens_that_are_none(token):
    with pytest.raises(etcd.EtcdError, match="no token"):
        run(client({"header": HEADER, "token": token}, username="agent", password="x").get(b"x"))


def test_the_password_is_in_no_fault():
    refused = (400, {"code": 3, "message": "etcdserver: authentication failed, invalid user ID or password"})
    made = client(refused, username="agent", password="secret")
    with pytest.raises(etcd.EtcdError, match="authentication failed") as caught:
        run(made.get(b"x"))
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(made)


# --- what sources share


def test_back_off_doubles_up_to_a_bound():
    backoff = source.Backoff(chance=lambda: 0.5)
    assert [round(backoff.next(), 3) for _dummy in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 0.2
    for chance in (0.0, 0.999):
        backoff = source.Backoff(chance=lambda chance=chance: chance)
        waits = [backoff.next() for _dummy in range(9)]
        assert min(waits) > 0.1
        assert max(waits) <= 5.0


class Sink:
    def __init__(self):
        self.states, self.faults, self.snapshots, self.rows = [], [], [], {}
        self.source = None

    def state(self):
        self.states.append((self.source.ok, self.source.why))

    def fault(self, key, words):
        self.faults.append((key, words))

    alarm = fault

    def mended(self, key):
        self.faults = [one for one in self.faults if one[0] != key]

    def snapshot(self, claims, grace=0.0):
        self.snapshots.append((len(claims), grace))

    def put(self, claim):
        self.rows[claim[:3]] = claim

    def drop(self, *where):
        self.rows.pop(where, None)


def made_source(cls=source.Source, **settings):
    sink = Sink()
    sink.source = cls(Settings(**{"kind": "etcd", "urls": (URL,), "statedir": "/nonexistent", **settings}), sink, log)
    return sink.source, sink


def test_states_are_told_when_they_change():
    one, sink = made_source()
    one.lost("x")
    one.lost("x")
    one.good()
    one.good()
    one.lost("y")
    one.lost("z")
    one.good()
    assert sink.states == [(False, "x"), (True, ""), (False, "y"), (False, "z"), (True, "")]
    assert one.counters["contacts lost"] == 1
    assert time.monotonic() - one.heard < 60


def test_refused_entries_of_a_snapshot_are_told_up_to_a_bound():
    one, sink = made_source()
    faults = source.Faults(one)
    for number in range(250):
        faults.add(number, "text")
    faults.end()
    assert len(sink.faults) == 101
    assert "150 more" in sink.faults[-1][1]
    assert one.counters["entries refused"] == 250


# --- the source


def test_keys_of_strangers_in_a_snapshot():
    good = row()
    bad = [
        row(b"/vtep.fabric/endpoints/100/50:54:33:00:00:01/192.0.2.1/x"), row(b"/vtep.fabric/endpoints/\x1b[2J\n"),
        row(b"/vtep.fabric/endpoints/" + b"9" * 5000 + b"/50:54:33:00:00:01/192.0.2.1"), row(b"\xff" * 100),
        row(b"/vtep.fabric/endpoints/100/50:54:33:00:00:02/192.0.2.1", b"[" * 60000),
        row(b"/vtep.fabric/endpoints/100/50:54:33:00:00:03/192.0.2.1", b'{"addresses": ["ff02::1"]}'),
        row(b"/vtep.fabric/endpoints/100/50:54:33:00:00:04/192.0.2.1", b"x" * 100000),
    ]  # fmt: skip
    one, sink = made_source(source_etcd.EtcdSource)
    run(one._load(client({"header": HEADER, "kvs": [good, *bad]})))
    assert sink.snapshots == [(1, 0.0)]
    assert len(sink.faults) == len(bad)
    assert all(len(words) < 400 and words.isprintable() for _key, words in sink.faults)


@pytest.mark.parametrize(
    ("header", "grace"),
    [
        ({}, 0.0),
        ({"revision": "9"}, 0.0),
        ({"revision": "6"}, 60.0),
        ({"cluster_id": "5"}, 60.0),
        ({"cluster_id": "5", "revision": "99"}, 60.0),
    ],
)
def test_data_that_are_others_are_told_and_give_grace(header, grace):
    one, sink = made_source(source_etcd.EtcdSource)
    run(one._load(client({"header": HEADER, "kvs": [row()]})))
    run(one._load(client({"header": {**HEADER, **header}, "kvs": []})))
    assert sink.snapshots == [(1, 0.0), (0, grace)]
    assert one.counters["data lost"] == bool(grace) == len(sink.faults)


@pytest.mark.parametrize(
    ("answer", "resumable", "lost"),
    [
        ({"header": HEADER, "kvs": [row()]}, True, False),
        ({"header": {**HEADER, "revision": "90"}, "kvs": [row()]}, True, False),
        ({"header": {**HEADER, "revision": "90"}, "kvs": []}, False, True),
        ({"header": {**HEADER, "revision": "90"}, "kvs": [row(revision=6)]}, False, True),
        ({"header": {**HEADER, "cluster_id": "5"}, "kvs": [row()]}, False, True),
        ((400, {"code": 11, "message": "required revision has been compacted"}), False, False),
        ((400, {"code": 11, "message": "required revision is a future revision"}), False, False),
    ],
)
def test_when_the_changes_are_enough(answer, resumable, lost):
    one, _sink = made_source(source_etcd.EtcdSource)
    assert run(one._resumable(client())) is False
    run(one._load(client({"header": HEADER, "kvs": [row()]})))
    assert run(one._resumable(client(answer))) is resumable
    assert one._replaced is lost


def test_deletions_and_what_replaces_a_good_entry():
    one, sink = made_source(source_etcd.EtcdSource)
    event = etcd.Event(False, etcd._row(row()))
    one._change(event)
    assert len(sink.rows) == 1
    one._change(event._replace(row=event.row._replace(value=b"x", revision=8)))
    assert not sink.rows
    assert len(sink.faults) == 1
    one._change(event._replace(row=event.row._replace(revision=9)))
    one._change(event._replace(gone=True, row=event.row._replace(key=b"/vtep.fabric/endpoints/x", revision=10)))
    assert len(sink.rows) == 1
    one._change(event._replace(gone=True, row=event.row._replace(revision=11)))
    assert not sink.rows


def test_certificates_that_are_not_there_are_told_and_tried_again():
    async def work():
        one, _sink = made_source(source_etcd.EtcdSource, urls=("https://127.0.0.1:9",), ca_file="/nonexistent/ca.pem")
        task = asyncio.ensure_future(one.run())
        await asyncio.sleep(0.05)
        assert not task.done()
        assert one.why == "/nonexistent/ca.pem: No such file or directory"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.close()

    run(work())


def test_an_etcd_that_is_further_than_the_watch():
    one, _sink = made_source(source_etcd.EtcdSource)
    one._again = SimpleNamespace(set=lambda: told.append(1))
    told = []
    one._seen = one._checked = 7
    one._compare(7)
    assert one.lag == 0
    one._compare(8)
    one._behind -= 5
    one._compare(8)
    assert one.lag == 0  # looked into
    assert (told, one._checked) == ([1], 8)
    one._opened = time.monotonic()
    one._compare(9)
    one._behind -= 5
    one._compare(9)
    assert 4.9 < one.lag < 60
    assert told == [1]
    one._seen = 9
    one._compare(9)
    assert one.lag == 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd is told of users, from what it has; with an etcdctl of the test's that keeps them in a file."""

import json
import socket
import stat
import sys

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import etcd_auth as resource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import (
    DaemonError,
    FabricError,
    InputError,
    RefusedError,
)

WANTED = {
    "endpoint": "https://127.0.0.1:2379", "ca": None, "root_password": "root-pass", "username": "vtep",
    "password": "vtep-pass", "prefix": "/vtep.fabric/",
}  # fmt: skip
FIRST = [
    "user add root --interactive=false", "user grant-role root root", "role add vtep",
    "role grant-permission vtep readwrite /vtep.fabric/ /vtep.fabric0", "user add vtep --interactive=false",
    "user grant-role vtep vtep", "auth enable",
]  # fmt: skip

# As etcdctl of etcd 3.4 answers: JSON without what is empty, and errors after a line of the log.
ETCDCTL = r"""#!{python}
import base64, json, os, sys
path = {path!r}
state = json.load(open(path))
words, given = sys.argv[1:], sys.stdin.readline().rstrip("\n")
assert os.environ["ETCDCTL_WRITE_OUT"] == "json" and os.environ["ETCDCTL_ENDPOINTS"]
state["said"].append(words)
json.dump(state, open(path, "w"))

def fail(text, code=1):
    print('{{"level":"warn","msg":"retrying of unary invoker failed"}}', file=sys.stderr)
    sys.exit(print(f"Error: etcdserver: {{text}}", file=sys.stderr) or code)

if state.get("down"):
    fail("context deadline exceeded", 2)
name, users, roles = os.environ.get("ETCDCTL_USER"), state["users"], state["roles"]
if state["enabled"]:
    if not name:
        fail("user name is empty")
    if users.get(name, {{}}).get("password") != os.environ["ETCDCTL_PASSWORD"]:
        fail("authentication failed, invalid user ID or password", 2)
    if "root" not in users[name]["roles"] and words != ["user", "get", name]:
        fail("permission denied")
answer, done, rest = {{}}, " ".join(words[:2]), words[2:]
if done == "user list":
    answer = {{"users": sorted(users)}} if users else {{}}
elif done == "user get":
    answer = {{"roles": users[rest[0]]["roles"]}} if rest[0] in users else fail("user name not found")
elif done == "role get":
    code = lambda text: base64.b64encode(text.encode()).decode()
    kinds = {{"read": {{}}, "write": {{"permType": 1}}, "readwrite": {{"permType": 2}}}}
    rows = roles[rest[0]] if rest[0] in roles else fail("role name not found")
    answer = {{"perm": [{{**kinds[kind], "key": code(key), **({{"range_end": code(end)}} if end else {{}})}} for kind, key, end in rows]}}
elif done == "user add":
    users[rest[0]] = {{"password": given, "roles": []}}
elif done == "user passwd":
    users[rest[0]]["password"] = given
elif done == "user grant-role":
    users[rest[0]]["roles"].append(rest[1])
elif done == "user revoke-role":
    users[rest[0]]["roles"].remove(rest[1])
elif done == "role add":
    roles[rest[0]] = []
elif done in ("role grant-permission", "role revoke-permission"):
    grant = done.startswith("role grant")
    role, kind, key, end = rest[0], rest[1] if grant else "", *(rest[1 + grant:] + [""])[:2]
    end = "\0" if end == "--from-key=true" else end
    roles[role] = [row for row in roles[role] if row[1:] != [key, end]] + ([[kind, key, end]] if grant else [])
elif words == ["auth", "enable"]:
    state["enabled"] = True
else:
    fail(f"unknown: {{words}}")
json.dump(state, open(path, "w"))
print(json.dumps({{"header": {{}}, **answer}}))
"""


class Etcd:
    def __init__(self, root):
        self.path = root / "state.json"
        self.write({"enabled": False, "users": {}, "roles": {}, "said": []})
        program = root / "etcdctl"
        program.write_text(ETCDCTL.format(python=sys.executable, path=str(self.path)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def write(self, state):
        self.path.write_text(json.dumps(state))

    def change(self, **words):
        self.write({**self.state, **words})

    @property
    def state(self):
        return json.loads(self.path.read_text())

    def run(self, checking=False, **words):
        return converge(resource.EtcdAuth(), {**WANTED, **words}, checking)


@pytest.fixture
def etcd(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "http://elsewhere:2379")
    return Etcd(tmp_path)


@pytest.fixture
def set_up(etcd):
    etcd.run()
    return etcd


def test_where_nobody_listens_etcdctl_is_not_even_started(etcd, tmp_path):
    (tmp_path / "etcdctl").unlink()
    endpoint = f"unix://{tmp_path}/nobody:0"
    assert etcd.run(checking=True, endpoint=endpoint).result["commands"] == FIRST
    with pytest.raises(DaemonError, match="etcd does not run"):
        etcd.run(endpoint=endpoint)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(f"{tmp_path}/nobody:0")
        with pytest.raises(DaemonError, match="Connection refused"):
            etcd.run(endpoint=endpoint)


def test_from_nothing(etcd):
    predicted = etcd.run(checking=True)
    assert not etcd.state["users"]
    done = etcd.run()
    assert done == predicted and done.changed and done.result["commands"] == FIRST
    state = etcd.state
    assert state["enabled"] and state["users"] == {"root": {"password": "root-pass", "roles": ["root"]},
                                                   "vtep": {"password": "vtep-pass", "roles": ["vtep"]}}  # fmt: skip
    assert state["roles"] == {"vtep": [["readwrite", "/vtep.fabric/", "/vtep.fabric0"]]}
    assert done.after == ("passwords: asked for\nuser root: root\nuser vtep: vtep\n"
                          "role vtep: readwrite '/vtep.fabric/' to '/vtep.fabric0'\n")  # fmt: skip
    again = etcd.run()
    assert not again.changed and again.before == again.after == done.after


def test_no_password_among_the_words(set_up):
    assert not any("pass" in word for words in set_up.state["said"] for word in words if word != "passwd")
    done = set_up.run(password="other")
    assert done.result["commands"] == ["user passwd vtep --interactive=false"]
    assert "user vtep (new password): vtep" in done.after and "other" not in str(done)
    assert set_up.state["users"]["vtep"]["password"] == "other"


def test_what_a_run_that_broke_off_left(etcd):
    """Passwords of then are not known; they are set anew."""
    etcd.change(users={"root": {"password": "x", "roles": []}, "vtep": {"password": "x", "roles": []}})
    commands = etcd.run().result["commands"]
    assert commands[:2] == ["user passwd root --interactive=false", "user grant-role root root"]
    assert "user passwd vtep --interactive=false" in commands
    assert not etcd.run().changed


def test_more_than_is_wanted_is_taken_away_and_others_are_left_alone(set_up):
    state = set_up.state
    state["users"]["vtep"]["roles"] += ["root", "guests"]
    state["users"]["other"] = {"password": "y", "roles": ["guests"]}
    state["roles"]["guests"] = [["read", "/", "\0"]]
    state["roles"]["vtep"] = [
        ["read", "/vtep.fabric/", "/vtep.fabric0"],
        ["write", "/a", ""],
        ["readwrite", "/b", "\0"],
    ]
    set_up.write(state)
    assert set_up.run().result["commands"] == [
        "role revoke-permission vtep /b --from-key=true", "role revoke-permission vtep /a",
        "role grant-permission vtep readwrite /vtep.fabric/ /vtep.fabric0",
        "user revoke-role vtep guests", "user revoke-role vtep root",
    ]  # fmt: skip
    after = set_up.state
    assert after["roles"] == {
        "vtep": [["readwrite", "/vtep.fabric/", "/vtep.fabric0"]],
        "guests": state["roles"]["guests"],
    }
    assert after["users"]["other"] == state["users"]["other"]


def test_another_prefix_takes_the_place_of_the_former(set_up):
    set_up.run(prefix="/other/")
    assert set_up.state["roles"]["vtep"] == [["readwrite", "/other/", "/other0"]]


def test_roots_password_is_never_guessed(set_up):
    with pytest.raises(RefusedError, match="etcdctl user passwd root"):
        set_up.run(root_password="other")
    assert set_up.state["users"]["root"]["password"] == "root-pass"


def test_an_etcd_that_does_not_answer(etcd):
    etcd.change(down=True)
    assert etcd.run(checking=True).result["commands"] == FIRST
    with pytest.raises(DaemonError, match="etcdctl user list: etcdserver: context deadline exceeded"):
        etcd.run()


def test_etcdctl_is_missing(etcd, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert etcd.run(checking=True).changed
    with pytest.raises(FabricError, match="apt-get install etcd-client"):
        etcd.run()


@pytest.mark.parametrize(("word", "value"), [
    ("endpoint", "[::1]:2379"), ("username", "root"), ("username", "a b"), ("password", "a b"), ("password", ""),
    ("root_password", "é"), ("prefix", "vtep/"), ("prefix", "/vtep"), ("prefix", "/v p/"),
])  # fmt: skip
def test_wrong_words(etcd, word, value):
    with pytest.raises(InputError) as error:
        etcd.run(**{word: value})
    assert error.value.faults[0].startswith(f"{word}: ")
    assert "password" not in word or not value or value not in str(error.value)
    assert etcd.state["said"] == []

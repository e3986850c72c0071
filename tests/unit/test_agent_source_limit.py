# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of requests: what it asks nft for, and what it changes."""

import json
import logging

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._agent import source_limit
from ansible_collections.vtep.fabric.plugins.module_utils._agent.source_limit import SourceLimit
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import nft

log = logging.getLogger("test")


class Nft:
    """In the place of the program. `ports` are those of the set, None without a table."""

    def __init__(self):
        self.ports, self.changes = None, []

    def __call__(self, arguments, text=""):
        if arguments == ["list", "tables"]:
            return "table bridge vtep_agent\n" if self.ports is not None else ""
        if arguments == ["-j", "-t", "list", "table", "bridge", "vtep_agent"]:
            found = source_limit.objects(50, ())
            for one in found:
                one.get("set", {}).pop("elem", None)
            return json.dumps({"nftables": [{"metainfo": {}}, *found]})
        if arguments == ["-j", "list", "set", "bridge", "vtep_agent", "ports"]:
            one = {"name": "ports", **({"elem": self.ports} if self.ports else {})}
            return json.dumps({"nftables": [{"metainfo": {}}, {"set": one}]})
        assert arguments == ["-j", "-f", "-"], f"{arguments} would read what stations have used"
        self.changes.append(json.loads(text)["nftables"])
        return ""


@pytest.fixture
def program(monkeypatch):
    made = Nft()
    monkeypatch.setattr(nft, "_nft", made)
    return made


def element(*names):
    return {"element": {"family": "bridge", "table": "vtep_agent", "name": "ports", "elem": list(names)}}


def test_what_stations_have_used_is_not_read(program):
    limit = SourceLimit(50, log)
    program.ports = ["eth1", "eth2"]
    limit.apply({"eth1", "eth2"})
    assert limit.ok and not program.changes
    program.ports = ["eth1", {"prefix": {"addr": "x", "len": 1}}]
    limit.apply({"eth1", "eth2"})
    assert program.changes == [[{"delete": element('{"prefix": {"addr": "x", "len": 1}}')}, {"add": element("eth2")}]]
    program.ports = []
    limit.apply({"eth2"})
    assert program.changes[1:] == [[{"add": element("eth2")}]]
    limit.limit = 60
    limit.apply({"eth2"})
    assert [list(one) for one in program.changes[2][:3]] == [["add"], ["delete"], ["add"]], "the table is made anew"
    limit.close()
    assert program.changes[3:] == [[{"delete": {"table": {"family": "bridge", "name": "vtep_agent"}}}]]

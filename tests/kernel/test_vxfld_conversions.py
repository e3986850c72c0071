# SPDX-License-Identifier: GPL-3.0-or-later
"""Module fdb and vxrd at one flood list, as conversions into and out of the variants vxfld-* bring them together."""

import json
import socket
from collections import namedtuple

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.fdb import FdbResource
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import flood_lists
from ansible_collections.vtep.fabric.plugins.module_utils._kernel.flood_list import FloodLists
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.flood_record import FloodRecord
from ansible_collections.vtep.fabric.plugins.module_utils._vxfld.flooder import Flooder
from device_support import MARKS, private, sh
from table_support import converged

pytestmark = MARKS

ZERO = "00:00:00:00:00:00"
A, B, SHARED = "2001:db8:1::1", "2001:db8:2::1", "2001:db8:100::100"
STATIC = "".join(f"{ZERO} dev vxlan100 dst {dst} permanent self\n" for dst in (A, B))
Device = namedtuple("Device", "name index")


@pytest.fixture(autouse=True)
def namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(flood_lists, "DIRECTORY", tmp_path / "flood-lists")
    with private():
        sh("ip link set lo up", "ip link add vxlan100 type vxlan id 100 dstport 4789 local 2001:db8:9::1")
        yield


@pytest.fixture
def vxrd(tmp_path):
    """vxrd(A, B) has these and no others in the flood list, as far as they are vxrd's."""
    kernel = FloodLists()
    flooder = Flooder(kernel, FloodRecord(tmp_path, kernel.space()))
    device = Device("vxlan100", socket.if_nametoindex("vxlan100"))
    yield lambda *wanted: flooder.apply(device, {socket.inet_pton(socket.AF_INET6, one) for one in wanted})
    kernel.close()


def fdb(table):
    """(added, changed, removed) by the module, as role overlay calls it."""
    outcome = converged(FdbResource(False), False, dev=["vxlan100"], table=table, purge="owned")
    rows = outcome.result["rows"]
    return rows["added"], rows["changed"], rows["removed"]


def destinations():
    return [row["dst"] for row in json.loads(sh("bridge -j fdb show dev vxlan100")) if row["mac"] == ZERO]


def test_a_purge_leaves_what_vxrd_wrote(vxrd):
    vxrd(A, B)
    assert fdb("") == (0, 0, 0)
    assert destinations() == [A, B]


def test_a_static_list_takes_over_what_vxrd_wrote(vxrd):
    vxrd(A, B)
    assert fdb(STATIC) == (0, 2, 0)
    assert vxrd().refused, "vxrd ends, and leaves the list"
    assert destinations() == [A, B]


def test_vxrd_takes_along_what_nobody_else_wants(vxrd):
    vxrd(A, B)
    assert fdb("50:54:33:00:00:01 dev vxlan100 dst 2001:db8:1::1 permanent self\n") == (1, 0, 0)
    vxrd()
    assert destinations() == []


def test_a_static_list_gives_way_to_vxrd(vxrd):
    fdb(STATIC)
    assert vxrd(A, B).refused
    assert fdb("") == (0, 0, 2)
    vxrd(A, B)
    assert destinations() == [A, B]
    assert fdb("") == (0, 0, 0)


def test_a_shared_address_takes_the_place_of_the_list(vxrd):
    """From vxfld-hrep to vxfld-snr: the device's remote is its own row."""
    vxrd(A, B)
    sh(f"ip link set vxlan100 type vxlan remote {SHARED}")
    assert fdb("") == (0, 0, 0)
    vxrd()
    assert destinations() == [SHARED]

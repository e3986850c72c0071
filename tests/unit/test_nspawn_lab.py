# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's program without a lab: what it refuses, how it would wire, and that half an image never counts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "roles" / "lab" / "files" / "lab.py"
specification = importlib.util.spec_from_file_location("lab_program", PROGRAM)
lab = importlib.util.module_from_spec(specification)
specification.loader.exec_module(lab)


def spec(prefix="vtep", **hosts):
    return {"prefix": prefix, "hosts": {host: {"links": links, "masked_units": []} for host, links in hosts.items()}}


ROUTE = {"to": "203.0.113.0/24", "via": "192.0.2.1", "lladdr": "02:00:00:00:00:02"}
S1 = {"name": "eth0", "to": "underlay", "mtu": 1600, "addresses": ["169.254.15.1/24"]}


def test_a_good_specification_has_no_faults():
    links = {"name": "eth0", "to": "s1", "mac": "50:54:33:00:00:01", "addresses": ["2001:db8:ff::10/64"]}
    assert lab.faults_of(spec(s1=[S1, {"name": "eth1", "to": "h1"}], h1=[links])) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (spec(prefix="much-too-long-a-prefix", s1=[S1]), "lab_prefix: 'much-too-long-a-prefix' is no prefix"),
        (spec(), "no host to boot"),
        (spec(underlay=[]), "underlay: no name for a lab host"),
        (spec(**{"s" * 11: []}), "sssssssssss: no name for a lab host"),
        (spec(s1=["eth0"]), "each must be a mapping"),
        (spec(s1=[S1, S1]), "s1: lab_links: eth0 appears twice"),
        (spec(s1=[{"to": "underlay"}]), "None is no name for a network device"),
        (spec(s1=[{"name": "lo", "to": "underlay"}]), "'lo' is no name"),
        (spec(s1=[{"name": "e" * 13, "to": "underlay"}]), "has more than 15 characters"),
        (spec(s1=[{"name": "eth0", "to": "s1"}]), "leads to 's1', which is neither"),
        (spec(s1=[{"name": "eth0", "to": "h9"}]), "leads to 'h9', which is neither"),
        (spec(s1=[{**S1, "mtu": 67}]), "mtu 67 is not within 68..65535"),
        (spec(s1=[{**S1, "mtu": "1600"}]), "mtu '1600' is not"),
        (spec(s1=[{**S1, "mac": 18446}]), "mac 18446 is not six hexadecimal pairs"),
        (spec(s1=[{**S1, "addresses": ["192.0.2.256/24"]}]), "address '192.0.2.256/24' is neither"),
        (spec(s1=[{**S1, "addresses": ["192.0.2.1"]}]), "address '192.0.2.1' is neither"),
        (spec(s1=[{**S1, "addresses": [5]}]), "address 5 is neither"),
        (spec(s1=[{**S1, "speed": 1}]), "unknown keys speed"),
        (spec(s1=[{**S1, "routes": "::/0"}]), "routes '::/0' is no list of mappings"),
        (spec(s1=[{**S1, "routes": [{**ROUTE, "dev": "eth0"}]}]), "unknown keys dev: use to, via, lladdr"),
        (spec(s1=[{**S1, "routes": [{"via": "192.0.2.1"}]}]), "to None is no prefix"),
        (spec(s1=[{**S1, "routes": [{**ROUTE, "to": "203.0.113.1/24"}]}]), "to '203.0.113.1/24' is no prefix"),
        (spec(s1=[{**S1, "routes": [{"to": "::/0"}]}]), "via None is no address"),
        (spec(s1=[{**S1, "routes": [{**ROUTE, "via": 5}]}]), "via 5 is no address"),
        (
            spec(s1=[{**S1, "routes": [{**ROUTE, "via": "fe80::1"}]}]),
            "to 203.0.113.0/24 and via fe80::1 are of different",
        ),
        (spec(s1=[{**S1, "routes": [{**ROUTE, "lladdr": 18446}]}]), "lladdr 18446 is not six hexadecimal pairs"),
        (
            spec(s1=[{**S1, "routes": [{**ROUTE, "to": "0.0.0.0/0"}, {**ROUTE, "lladdr": "02:00:00:00:00:03"}]}]),
            "via 192.0.2.1 has more than one lladdr",
        ),
        (
            spec(s1=[{**S1, "routes": [ROUTE]}, {"name": "eth9", "to": "underlay", "routes": [ROUTE]}]),
            "s1: lab_links: two routes to 203.0.113.0/24",
        ),
        (spec(s1=[{"name": "eth1", "to": "h1"}], h1=[]), "h1 and s1: lab_links of both must name each other"),
    ],
)
def test_faults_are_named(bad, words):
    assert any(words in fault for fault in lab.faults_of(bad)), lab.faults_of(bad)


def test_all_faults_are_told_at_once():
    assert len(lab.faults_of(spec(s1=[{"name": "eth0", "to": "h9", "mtu": 1, "mac": "x", "speed": 1}]))) == 4


def test_cables_between_the_same_two_hosts_are_paired_in_order():
    wanted = spec(
        a=[{"name": "x0", "to": "b"}, {"name": "x1", "to": "b"}], b=[{"name": n, "to": "a"} for n in ("y0", "y1")]
    )
    ends = [((a, one["name"]), (b, other["name"])) for (a, one), (b, other) in lab.pairs(wanted)]
    assert ends == [(("a", "x0"), ("b", "y0")), (("a", "x1"), ("b", "y1"))]


def test_links_that_say_the_same_are_equal():
    one = {"name": "eth0", "to": "s1", "mac": "50:54:33:AA:00:01", "addresses": ["2001:DB8:0::10/64"],
           "routes": [{"to": "2001:DB8::/32", "via": "2001:db8:0::1", "lladdr": "02:00:00:00:00:AA"}]}  # fmt: skip
    other = {"name": "eth0", "to": "s1", "mtu": 1500, "mac": "50:54:33:aa:00:01", "addresses": ["2001:db8::10/64"],
             "routes": [{"to": "2001:db8::/32", "via": "2001:db8::1", "lladdr": "02:00:00:00:00:aa"}]}  # fmt: skip
    assert lab.normal_link(one) == lab.normal_link(other)
    assert lab.normal_link({"name": "a", "to": "b"}) == lab.normal_link(
        {"name": "a", "to": "b", "addresses": [], "routes": [], "mtu": 1500}
    )


def test_cables_that_change_places_are_not_the_same():
    one = spec(
        a=[{"name": "x0", "to": "b"}, {"name": "x1", "to": "b"}], b=[{"name": n, "to": "a"} for n in ("y0", "y1")]
    )
    other = spec(
        a=[{"name": "x1", "to": "b"}, {"name": "x0", "to": "b"}], b=[{"name": n, "to": "a"} for n in ("y0", "y1")]
    )
    peers = [{link["name"]: link["peer"] for link in lab.recordable(each)["a"]} for each in (one, other)]
    assert peers == [{"x0": "b y0", "x1": "b y1"}, {"x0": "b y1", "x1": "b y0"}]


def test_routes_come_after_all_they_need():
    link = {**S1, "addresses": ["192.0.2.2/24"], "routes": [ROUTE]}
    words = [" ".join(command).removeprefix("ip -n vtep-s1 ") for command in lab.end_commands("vtep", "s1", link)]
    assert words[-3:] == [
        "link set dev eth0 up",
        "neigh replace 192.0.2.1 lladdr 02:00:00:00:00:02 nud permanent dev eth0",
        "route replace 203.0.113.0/24 via 192.0.2.1 dev eth0 onlink",
    ]


def test_a_restart_keeps_the_cables_and_nothing_else():
    words = [" ".join(command) for command in lab.restart_commands("vtep", "s1", [S1])]
    assert words == [
        "ip -n vtep-s1 link set dev eth0 netns vtep-underlay name s1.0",
        "ip netns del vtep-s1",
        "ip netns add vtep-s1",
        "ip -n vtep-underlay link set dev s1.0 netns vtep-s1 name eth0",
        "ip -n vtep-s1 link set dev eth0 mtu 1600",
        "ip -n vtep-s1 addr replace 169.254.15.1/24 dev eth0",
        "ip -n vtep-s1 link set dev eth0 up",
    ]


def test_device_names_are_short_enough_whatever_the_prefix():
    longest = spec(prefix="p" * 16, **{"h" * 10: [{"name": "eth0", "to": "underlay"}]})
    assert lab.faults_of(longest) == []
    for command in lab.restart_commands(longest["prefix"], "h" * 10, longest["hosts"]["h" * 10]["links"]):
        for before, name in zip(command, command[1:]):
            assert before not in ("name", "dev") or len(name) <= lab.NAME_LIMIT


IMAGE = {"suite": "trixie", "packages": ["systemd"], "options": [], "hooks": []}


def test_an_images_name_depends_on_all_that_goes_into_it():
    others = [
        {**IMAGE, "suite": "forky"},
        {**IMAGE, "packages": ["frr"]},
        {**IMAGE, "options": ["-q"]},
        {**IMAGE, "hooks": ["x"]},
    ]
    assert len({lab.image_path(image) for image in (IMAGE, *others)}) == 5
    assert lab.image_path(dict(reversed(IMAGE.items()))) == lab.image_path(IMAGE)


def test_an_image_that_is_no_lab_hosts_is_not_named_like_one():
    assert lab.image_path({**IMAGE, "name": "guest"}).name.startswith("guest-")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A cache of images in a temporary directory, and an mmdebstrap that counts its runs and waits when told to."""
    monkeypatch.setattr(lab, "IMAGES", tmp_path / "images")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "mmdebstrap"
    program.write_text(
        "#!/bin/sh\n"
        f'cd {tmp_path}; for target; do :; done; mkdir -p "$target"; echo run >>runs; echo started >fifo\n'
        f"[ ! -e hold ] || exec sleep 600\n"
        '[ ! -e break ] || { echo "E: no such package" >&2; exit 1; }\n'
        'echo complete >"$target/os-release"\n'
    )
    program.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def build_elsewhere(images):
    """Build in a process of its own, as a playbook does."""
    text = (
        f"import importlib.util, pathlib\n"
        f"spec = importlib.util.spec_from_file_location('lab_program', {str(PROGRAM)!r})\n"
        f"lab = importlib.util.module_from_spec(spec); spec.loader.exec_module(lab)\n"
        f"lab.IMAGES = pathlib.Path({str(images / 'images')!r}); print(lab.build_image({IMAGE!r}))\n"
    )
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def wait_started(images):
    return (images / "fifo").read_text()


def test_an_image_is_built_once(images):
    build = build_elsewhere(images)
    wait_started(images)
    assert build.communicate()[0] == "True\n"
    assert lab.build_image(IMAGE) is False
    assert (lab.image_path(IMAGE) / "os-release").exists()
    assert (images / "runs").read_text().split() == ["run"]


def test_a_build_killed_half_way_leaves_nothing_that_counts(images):
    (images / "hold").touch()
    build = build_elsewhere(images)
    wait_started(images)
    build.kill()
    build.communicate()
    assert not lab.image_path(IMAGE).exists()
    (images / "hold").unlink()
    again = build_elsewhere(images)
    wait_started(images)
    assert again.communicate()[0] == "True\n"
    assert (lab.image_path(IMAGE) / "os-release").read_text() == "complete\n"
    assert [path.name for path in lab.IMAGES.iterdir() if path.is_dir()] == [lab.image_path(IMAGE).name]


def test_two_builds_at_once_make_one_image(images):
    builds = [build_elsewhere(images) for turn in range(2)]
    wait_started(images)
    assert sorted(build.communicate()[0] for build in builds) == ["False\n", "True\n"]
    assert (images / "runs").read_text().split() == ["run"]


def test_a_failed_build_says_why_and_leaves_nothing_that_counts(images):
    (images / "break").touch()
    reader = subprocess.Popen(["cat", str(images / "fifo")], stdout=subprocess.DEVNULL)
    with pytest.raises(lab.LabError, match="E: no such package"):
        lab.build_image(IMAGE)
    reader.wait()
    assert not lab.image_path(IMAGE).exists()


def test_only_root_may_run_it(monkeypatch):
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["lab.py", "status", "vtep"])
    with pytest.raises(SystemExit, match="only root can run the lab"):
        lab.main()

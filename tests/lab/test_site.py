# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml and teardown.yml on the built-in lab, the whole way: check mode predicts, reruns change nothing, every variant
turns into every other, a killed run is completed by the next, and teardown leaves the hosts as they were.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "lab" / "files" / "lab.py"
VTEPS = ("s1", "s2", "s3")
# Each ordered pair of variants once.
TOUR = (
    "unicast-static-flood", "unicast-static-l2", "multicast", "unicast-static-flood", "multicast", "unicast-static-l2",
    "unicast-static-flood",
)  # fmt: skip

# What a host had before the collection came. Counters, indexes and ages are left out, and what FRR's daemons note in
# /var/lib/frr by themselves: sequence numbers, which must not go back.
SNAPSHOT = r"""
ip -d -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/ promiscuity [0-9]+ / /; s/ allmulti [0-9]+ / /'
ip -o addr | sed -E 's/^[0-9]+: //; s/valid_lft.*//'
ip -4 route show table all; ip -6 route show table all | sed -E 's/ expires [0-9a-z]+//'
ip neigh show nud permanent; ip neigh show proxy; bridge fdb
nft list ruleset
sysctl -a 2>/dev/null | grep -E '^net\.(ipv[46]|bridge)\.' | grep -vE 'stable_secret|random|tcp_mem|udp_mem|\.mtu = '
systemctl list-unit-files --no-pager --no-legend
vtysh -c 'show running-config'
find /etc /var/lib -xdev -type f -not -path '*/systemd/*' -not -path '/var/lib/frr/*' -not -name '.updated' | sort | xargs sha256sum
"""


class Fabric:
    def __init__(self, directory):
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.record = directory / "record.json"

    def command(self, *arguments):
        playbook = Path(sys.executable).parent / "ansible-playbook"
        return [str(playbook), "-i", str(ROOT / "inventories" / "lab"), "-e", f"lab_prefix={self.prefix}", *arguments]

    def environment(self):
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "RECORD_FILE": str(self.record),
        }

    def play(self, *arguments, fails=False):
        """Run playbooks; {(task, host): (changed, diff)} of what changed."""
        done = subprocess.run(
            self.command(*arguments), cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        tasks = json.loads(self.record.read_text())["tasks"]
        return {
            (task["name"], host): result["diff"]
            for task in tasks
            for host, result in task["hosts"].items()
            if result["changed"]
        }

    def site(self, variant, *arguments):
        return self.play("site.yml", "-e", f"variant={variant}", "--diff", *arguments)

    def verify(self, variant):
        self.play("playbooks/verify.yml", "-e", f"variant={variant}", "-e", f"verify_report_file={self.record}.verify")

    def run(self, host, script):
        command = [sys.executable, PROGRAM, "shell", self.prefix, host, "sh", "-c", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def overlay(self):
        """What a variant puts into the kernel, without learned entries, which other people's tools tell."""
        found = {}
        for host in VTEPS:
            devices = json.loads(self.run(host, "ip -j -d link show"))
            kept = {
                # What iproute2 tells of a bridge beside this is its spanning tree's timers and addresses.
                d["ifname"]: (
                    d.get("master"),
                    d.get("ifalias"),
                    d["mtu"],
                    kind == "vxlan" and d["linkinfo"]["info_data"],
                )
                for d in devices
                if (kind := d.get("linkinfo", {}).get("info_kind")) in ("vxlan", "bridge")
            }
            rows = [
                line
                for line in self.run(host, "bridge fdb show dev vxlan100").splitlines()
                if " self permanent" in line
            ]
            found[host] = (kept, sorted(rows), self.run(host, "nft list ruleset"))
        return found

    def snapshot(self):
        return {host: sorted(self.run(host, SNAPSHOT).splitlines()) for host in VTEPS}


@pytest.fixture(scope="module")
def fabric(tmp_path_factory):
    fabric = Fabric(tmp_path_factory.mktemp("site"))
    try:
        fabric.play("playbooks/lab_up.yml")
        fabric.before = fabric.snapshot()
        fabric.states = {}
        yield fabric
    finally:
        fabric.play("playbooks/lab_down.yml")


def without_bridge_address(changes):
    return {key: re.sub(r"br100 address \S+", "br100 address", json.dumps(diff)) for key, diff in changes.items()}


def test_an_unknown_variant_is_refused_and_the_known_are_named(fabric):
    fabric.play("site.yml", "-e", "variant=unicast-flood", fails=True)
    messages = [
        h["msg"] for t in json.loads(fabric.record.read_text())["tasks"] for h in t["hosts"].values() if h["failed"]
    ]
    assert all(
        name in str(messages) for name in ("unicast-flood", "multicast", "unicast-static-flood", "unicast-static-l2")
    )
    assert fabric.snapshot() == fabric.before


def test_check_mode_changes_nothing_and_predicts_the_first_run(fabric):
    predicted = fabric.site(TOUR[0], "--check")
    assert fabric.snapshot() == fabric.before
    assert predicted
    assert fabric.site(TOUR[0]) == predicted
    fabric.verify(TOUR[0])
    fabric.states[TOUR[0]] = fabric.overlay()


@pytest.mark.parametrize(("old", "new"), list(zip(TOUR, TOUR[1:])))
def test_conversion_is_predicted_leaves_nothing_and_is_done_once(fabric, old, new):
    predicted = fabric.site(new, "--check")
    assert predicted
    assert fabric.site(new) == predicted
    assert fabric.site(new) == {}
    assert fabric.overlay() == fabric.states.setdefault(new, fabric.overlay()), f"{old} left something behind"


def test_the_tour_ends_in_a_working_fabric(fabric):
    assert fabric.site(TOUR[-1], "--check") == {}
    fabric.verify(TOUR[-1])


def test_teardown_leaves_the_hosts_as_they_were(fabric):
    predicted = fabric.play("playbooks/teardown.yml", "--check", "--diff")
    done = fabric.play("playbooks/teardown.yml", "--diff")
    # A bridge takes the lowest MAC address of its ports, so its own changes when the VXLAN device goes before it.
    assert without_bridge_address(done) == without_bridge_address(predicted)
    assert fabric.snapshot() == fabric.before
    assert fabric.play("playbooks/teardown.yml") == {}


def test_a_killed_run_is_completed_by_the_next(fabric):
    run = subprocess.Popen(
        fabric.command("site.yml", "-e", f"variant={TOUR[0]}"),
        cwd=ROOT, env=fabric.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while "br100" not in fabric.run("s1", "ip -o link") and time.monotonic() < deadline:
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert fabric.site(TOUR[0])
    assert fabric.overlay() == fabric.states[TOUR[0]]
    fabric.verify(TOUR[0])

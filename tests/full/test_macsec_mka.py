# SPDX-License-Identifier: GPL-3.0-or-later
"""MKA as role macsec sets it up: supplicants of Debian on hosts in network namespaces, with the role's configuration and what it runs them
by. They come out of the lab's image, since the machine itself may have none."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment
from macsec_support import MARKS, Host, counted, ping, pinging

IMAGES = sorted(
    path.parents[2] for path in Path("/var/cache/vtep-fabric/images").glob("trixie-*/usr/sbin/wpa_supplicant")
)
pytestmark = [
    *MARKS,
    pytest.mark.skipif(not IMAGES, reason="NOT TESTED: no image of trixie with wpa_supplicant; make images"),
]

ROLE = Path(__file__).parents[2] / "roles" / "macsec"
TEMPLATE = ROLE / "templates" / "mka.conf.j2"
NAMES = ("s1", "s2", "s3")
# As systemd does.
AGAIN = 'while :; do "$0" "$@"; test $? = 75 || exit; sleep 16; done'
KEYS = ({"ckn": "01", "cak": "6b" * 16}, {"ckn": "02a4", "cak": "5c" * 16})


class Link:
    def __init__(self, disk):
        self.disk, self.running = disk, {}
        self.switch = Host("switch", disk)
        self.switch.sh("ip link add br0 type bridge mcast_snooping 0 group_fwd_mask 8", "ip link set br0 mtu 1700 up")
        self.hosts = {name: Host(name, disk) for name in NAMES}
        for number, (name, host) in enumerate(self.hosts.items(), 1):
            host.sh(
                f"ip link add eth0 address 02:00:00:00:00:0{number} mtu 1700 type veth peer name p-{name} netns {self.switch.path}"
            )
            host.sh("ip link set lo up", "ip link set eth0 up")
            self.switch.sh(f"ip link set p-{name} mtu 1700 master br0 up")
            host.macsec(devices=[self.device(number)])
            host.sh(f"ip addr add 10.0.0.{number}/24 dev ms-eth0")

    @staticmethod
    def device(number):
        return {"name": "ms-eth0", "dev": "eth0", "sci": f"0200000000{number:02x}0001", "cipher": "gcm-aes-128",
                "validate": "strict", "encrypt": True, "mtu": 1668, "up": True}  # fmt: skip

    def start(self, name, key):
        text = Environment(trim_blocks=True).from_string(TEMPLATE.read_text()).render(
            macsec_words={"mka_keys": [key]}, macsec_members=NAMES, inventory_hostname=name)  # fmt: skip
        conf = self.disk / f"{name}.conf"
        conf.write_text(text)
        # The image's program with the image's libraries, without changing the root: the configuration is outside.
        library = next(IMAGES[-1].glob("usr/lib/*-linux-gnu"))
        loader = next((IMAGES[-1] / "usr").glob("lib*/ld-linux-*.so.*"))
        program = self.disk / "bin" / "wpa_supplicant"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\nexec {loader} --library-path {library} {IMAGES[-1]}/usr/sbin/wpa_supplicant "$@"\n'
        )
        program.chmod(0o755)
        with self.hosts[name].here():
            self.running[name] = subprocess.Popen(
                ["sh", "-c", AGAIN, ROLE / "files" / "vtep-mka", "eth0", conf],
                env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
                stdout=(self.disk / f"{name}.log").open("a"), stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def stop(self, name):
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)

    def close(self):
        for name in list(self.running):
            self.stop(name)
        for host in (*self.hosts.values(), self.switch):
            host.close()

    def agreed(self, seconds=300, names=NAMES):
        """How long it took until each host hears the others. Who is left out joins anew, which may take some turns."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            told = [self.hosts[name].device("ms-eth0") for name in names]
            if all(one["tx"] and [bool(rx["sa"]) for rx in one["rx"]] == [True] * (len(names) - 1) for one in told):
                return time.monotonic() - start
            time.sleep(0.2)
        raise AssertionError("\n".join((self.disk / f"{name}.log").read_text()[-2000:] for name in names) + f"\n{told}")

    def all_speak(self):
        pairs = [(one, number) for one in NAMES for number, other in enumerate(NAMES, 1) if one != other]
        return [ping(self.hosts[one], f"10.0.0.{number}", 3) for one, number in pairs] == [3] * len(pairs)


@pytest.fixture
def link(tmp_path):
    made = Link(tmp_path)
    yield made
    made.close()


def test_supplicants_give_keys_to_the_device_that_is_there_and_leave_it(link):
    before = link.hosts["s1"].device("ms-eth0")["ifindex"]
    for name in NAMES:
        link.start(name, KEYS[0])
    print("agreed after", link.agreed())
    assert link.all_speak()
    told = link.hosts["s1"].info()["devices"]
    assert [(one["name"], one["ifindex"]) for one in told] == [("ms-eth0", before)]
    assert [one["encrypt"] for one in told] == [True]
    for name in NAMES:
        assert KEYS[0]["cak"] not in (link.disk / f"{name}.log").read_text()
    # The role's module finds nothing to change.
    assert not link.hosts["s1"].macsec(devices=[link.device(1)]).changed
    link.stop("s1")
    assert [one["ifindex"] for one in link.hosts["s1"].info()["devices"]] == [before]


def test_another_cak_or_ckn_is_deaf_and_a_change_on_all_comes_back(link):
    for name in NAMES:
        link.start(name, KEYS[0])
    link.agreed()
    process = pinging(link.hosts["s1"], "10.0.0.2", 2500)
    for name in NAMES:  # as the role does it: all stop before one begins anew
        link.stop(name)
    for name in NAMES:
        link.start(name, KEYS[1])
    print("agreed anew after", link.agreed())
    sent, answered = counted(process)
    print("lost", sent - answered, "of", sent)
    assert 0 < answered < sent
    assert link.all_speak()
    # What verify.yml looks for: with another CAK what the others' log says, and with another CKN that it hears nobody.
    told = "Computed ICV is not equal to Received ICV"
    for wrong, tells in (({**KEYS[1], "ckn": "03"}, False), ({**KEYS[1], "cak": "4d" * 16}, True)):
        link.stop("s2")
        link.start("s2", wrong)
        # One with the right CAK is let in within a minute at the latest.
        with pytest.raises(AssertionError):
            link.agreed(60)
        assert (told in (link.disk / "s1.log").read_text()) == tells
        assert link.hosts["s2"].device("ms-eth0")["rx"] == []


@pytest.mark.parametrize("late", [0.0, 2.0, 4.0])
def test_who_joins_just_after_a_key_was_made_is_let_in(link, late):
    """The key server makes none within 6 seconds of the last one, and forgets that one is wanted. Who sees that a host is left out joins
    anew, which may be one that was there before; the pings tell what that costs."""
    for name in NAMES[:2]:
        link.start(name, KEYS[0])
    link.agreed(names=NAMES[:2])
    process = pinging(link.hosts["s1"], "10.0.0.2", 3000)
    time.sleep(late)
    link.start("s3", KEYS[0])
    took = link.agreed()
    sent, answered = counted(process)
    anew = {name: (link.disk / f"{name}.log").read_text().count("joining anew") for name in NAMES}
    print(f"agreed after {took:.1f} s, anew: {anew}; lost {sent - answered} of {sent} between the others")
    assert link.all_speak()
    assert answered == sent or anew["s1"] + anew["s2"], "the others lose nothing unless one of them joins anew"


def test_the_configuration_is_of_root_alone():
    (outer,) = yaml.safe_load((TEMPLATE.parents[1] / "tasks" / "mka.yml").read_text())
    (task,) = [one for one in outer["block"] if one["name"] == "Write the keys"]
    assert (task["no_log"], task["diff"]) == (True, False)
    template = task["ansible.builtin.template"]
    assert (template["mode"], template["owner"], template["group"]) == ("0600", "root", "root")

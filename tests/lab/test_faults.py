# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on which a fabric cannot be built: all that is wrong is told in one run, and nothing is changed. And fabrics that are
built although a host is away or its FRR does not answer.
"""

import json
import re
import time
from pathlib import Path

import pytest

# Two VTEPs. What they are given here does not matter as long as it is sound: most tests do not get as far as building it.
LAB = {
    "lab": {
        "vars": {"ansible_connection": "vtep.fabric.nspawn", "ansible_python_interpreter": "/usr/bin/python3"},
        "hosts": {
            f"s{n}": {
                "lab_links": [{"name": "eth0", "to": "underlay", "mtu": 1600}, {"name": "eth1", "to": "underlay"}],
                "vtep_address": f"2001:db8:{n}::1",
                "vtep_underlay_interfaces": ["eth0"],
                "vtep_access_ports": ["eth1"],
            }
            for n in (1, 2)
        },
    },
    "vteps": {"hosts": {"s1": None, "s2": None}, "vars": {"fabric_segments": [{"vni": 100}]}},
}


# What the tests that build it have instead: no access port, since both are cables to the underlay, and quick timers.
KEY = "never-to-be-seen"
BUILT = {
    "variant": "unicast-static-flood",
    "vtep_access_ports": [],
    "underlay_ospf_hello_interval": 1,
    "underlay_ospf_dead_interval": 3,
    "underlay_ospf_retransmit_interval": 1,
    "underlay_ospf_lsa_min_arrival": 0,
    "underlay_ospf_authentication": {"key_id": 1, "key": KEY},
}

# Interpreters for the hosts. The kernel knows no @wrong@, and answers as one without the feature that @name@ is of does for @name@.
WITHOUT = r"""
mkdir -p /opt/without
cat >/opt/without/sitecustomize.py <<'END'
import socket

def send(self, data, *rest):
    return plain(self, bytes(data).replace(b"@name@", b"@wrong@") if self.family == socket.AF_NETLINK else data, *rest)

plain, socket.socket.send = socket.socket.send, send
END
cat >/opt/without/python3 <<'END'
#!/bin/sh
PYTHONPATH=/opt/without exec /usr/bin/python3 "$@"
END
chmod +x /opt/without/python3
"""
READ_ONLY = r"""
cat >/opt/read-only <<'END'
#!/bin/sh
exec unshare --mount sh -ec 'mount -o remount,bind,ro /; exec /usr/bin/python3 "$@"' sh "$@"
END
chmod +x /opt/read-only
"""


def build(lab, *arguments, roles=None, more=(), **options):
    """site.yml, or only some of its roles. The words go by file: Ansible itself shows what is on its command line."""
    playbook = "site.yml"
    if roles:
        playbook = str(lab.directory / "roles.json")
        play = {"hosts": "vteps", "gather_facts": False, "roles": [f"vtep.fabric.{role}" for role in roles]}
        Path(playbook).write_text(json.dumps([play]))
    words = lab.directory / "words.json"
    words.write_text(json.dumps({**BUILT, **dict(more)}))
    return lab.playbook(playbook, "-e", f"@{words}", *arguments, **options)


def changes(said):
    """{host: how many tasks changed something}."""
    return dict(re.findall(r"(s\d) : ok=\d+ changed=(\d+)", said))


def refused(lab, *arguments):
    """What site.yml says that fails before the first change."""
    said = lab.playbook("site.yml", "-e", "variant=unicast-static-flood", *arguments, fails=True)
    assert said.count("changed=0") == 2, said
    return said


@pytest.fixture
def on(running_lab):
    """on(host, script) runs it; on(host, script, undo) undoes it after the test."""
    undone = []

    def run(host, script, undo=None):
        if undo:
            undone.append((host, undo))
        return running_lab.run(host, "sh", "-ec", script)

    yield run
    for host, undo in undone:
        running_lab.run(host, "sh", "-ec", undo)


def test_what_each_host_lacks(running_lab, on):
    on("s1", "mv /usr/bin/vtysh /usr/bin/away", "mv /usr/bin/away /usr/bin/vtysh")
    on("s1", "mv /usr/sbin/nft /usr/sbin/away", "mv /usr/sbin/away /usr/sbin/nft")
    library = "/usr/lib/python3/dist-packages/"
    on("s2", f"mv {library}pyroute2 {library}away", f"mv {library}away {library}pyroute2")
    on("s2", "mount --bind /var/lib /var/lib; mount -o remount,bind,ro /var/lib", "umount /var/lib")
    said = refused(running_lab)
    for words in (
        "FRR is not installed: apt-get install frr",
        "nftables is not installed: apt-get install nftables",
        "pyroute2 is not installed for /usr/bin/python3: apt-get install python3-pyroute2",
        "/var/lib: mounted read-only",
    ):
        assert words in said


def test_half_an_frr_and_files_that_cannot_be_written(running_lab, on):
    on("s1", "mv /usr/lib/frr/ospf6d /usr/lib/frr/away", "mv /usr/lib/frr/away /usr/lib/frr/ospf6d")
    on("s1", "mkdir /var/lib/vtep.fabric; mount -t tmpfs -o size=300k records /var/lib/vtep.fabric;"
       "head -c 100000 /dev/zero >/var/lib/vtep.fabric/fills", "umount /var/lib/vtep.fabric; rmdir /var/lib/vtep.fabric")  # fmt: skip
    on("s2", "mv /usr/lib/frr /usr/lib/away", "mv /usr/lib/away /usr/lib/frr")
    on("s2", "mount --bind /etc/frr/frr.conf /etc/frr/frr.conf", "umount /etc/frr/frr.conf")
    said = refused(running_lab)
    for words in (
        "this FRR has no ospf6d: install a package of FRR with /usr/lib/frr/ospf6d",
        "/var/lib/vtep.fabric: less than 256 KiB or no inode free; make room",
        "FRR is not whole, /usr/lib/frr lacks watchfrr or zebra",
        "/etc/frr/frr.conf: a mount point",
    ):
        assert words in said


SECRET = "5ec2e7" * 11


@pytest.mark.parametrize(
    ("name", "encryption", "told"),
    [
        ("vxlan", "none", "kernel has no VXLAN: CONFIG_VXLAN"),
        ("macsec", "macsec", "kernel has no MACsec: CONFIG_MACSEC; take another mode of encryption, or none"),
        (
            "rfc4106(gcm(aes))",
            "ipsec",
            "kernel has no IPsec ESP over IPv6 with AES-GCM: CONFIG_INET6_ESP and CONFIG_CRYPTO_GCM",
        ),
    ],
)
def test_a_kernel_without(running_lab, on, name, encryption, told):
    for host in ("s1", "s2"):
        on(host, WITHOUT.replace("@name@", name).replace("@wrong@", f"n{name[1:]}"), "rm -r /opt/without")
    words = {
        "encryption": encryption,
        "fabric_encryption": {"ipsec_mode": "static", "macsec_secret": SECRET, "ipsec_secret": SECRET},
        "fabric_segments": [{"vni": 100, "mtu": 1400}],
    }
    said = refused(running_lab, "-e", "ansible_python_interpreter=/opt/without/python3", "-e", json.dumps(words))
    assert all(re.search(f"{host}[]:].*{told}", said) for host in ("s1", "s2")) and SECRET not in said, said


def test_roles_by_themselves_do_not_leave_encryption_out(running_lab, on):
    """Here where the kernel lacks a cipher: role ipsec compiles the fabric itself, and roles of variants call it before there is VXLAN."""
    for host in ("s1", "s2"):
        on(
            host,
            WITHOUT.replace("@name@", "cbc(aes)").replace("@wrong@", "nbc(aes)"),
            "rm -r /opt/without",
        )
    words = {
        "ansible_python_interpreter": "/opt/without/python3",
        "encryption": "ipsec",
        "fabric_encryption": {"ipsec_mode": "static", "ipsec_secret": SECRET, "ipsec_cipher": "aes128-sha256"},
        "fabric_segments": [{"vni": 100, "mtu": 1400}],
    }
    for roles in (["ipsec"], ["preflight", "underlay", "access", "unicast_static_flood"]):
        said = build(running_lab, roles=roles, more=words, fails=True)
        for host in ("s1", "s2"):
            # Without ESP it is told first, which not every kernel has.
            assert re.search(rf"{host}\].*kernel has no (cbc[(]aes[)].* for )?ESP", said), said
        assert "vxlan" not in running_lab.run("s1", "ip", "-d", "-o", "link")
    running_lab.playbook("playbooks/teardown.yml")


def test_encryption_does_not_go_from_a_part_of_the_vteps(running_lab, on):
    record = "/var/lib/vtep.fabric/ipsec.json"
    on("s1", f'mkdir -p /var/lib/vtep.fabric; echo \'{{"mode": "ike"}}\' >{record}', f"rm -f {record}")
    said = build(running_lab, "--limit", "s1", fails=True)
    assert (
        "s1: encryption: none, and the host has IPsec; its VXLAN would go in clear, also to s2, not in this run" in said
    )
    assert changes(said) == {"s1": "0"}
    build(running_lab, "--limit", "s1", "-e", "encryption_partial=true")
    assert on("s1", f"test -e {record} || echo gone") == "gone\n"
    running_lab.playbook("playbooks/teardown.yml")


def test_a_host_whose_root_is_read_only(running_lab, on):
    for host in ("s1", "s2"):
        on(host, READ_ONLY, "rm /opt/read-only")
    said = refused(running_lab, "-e", "ansible_python_interpreter=/opt/read-only")
    told = r"fatal: \[s\d\]: FAILED! => changed: false msg: 'the root file system is read-only, with [^']*: mount -o remount,rw /'"
    assert len(re.findall(told, said)) == 2


def test_what_others_made_is_left_to_them(running_lab, on):
    on("s1", "ip link add br100 type bridge; ip link set eth1 master br100; ip addr add 192.0.2.99/24 dev br100",
       "ip link del br100")  # fmt: skip
    on("s1", "ip link add overlay type vxlan id 100 dstport 4789 local 2001:db8::9", "ip link del overlay")
    on("s2", "ip link add vxlan100 type vxlan id 7 dstport 4789 local 192.0.2.1; ip link set vxlan100 up;"
       "bridge fdb append 02:00:00:00:00:01 dst 192.0.2.9 dev vxlan100;"
       "ip link add lan type bridge; ip link set eth1 master lan", "ip link del vxlan100; ip link del lan")  # fmt: skip
    said = refused(running_lab)
    for words in (
        "s1: fabric_segments: VNI 100: bridge: the host has a bridge device br100 that vtep.fabric did not make",
        "s2: fabric_segments: VNI 100: vxlan: the host has a vxlan device vxlan100 that vtep.fabric did not make",
        "s1: fabric_segments: VNI 100: the host has a VXLAN device overlay on VNI 100 on UDP port 4789, that vtep.fabric did not",
        "s2: vtep_access_ports: eth1 is in lan, which vtep.fabric did not make",
    ):
        assert words in said
    running_lab.playbook("playbooks/teardown.yml")
    assert "192.0.2.99" in on("s1", "ip addr show br100")
    assert "02:00:00:00:00:01 dst 192.0.2.9" in on("s2", "bridge fdb show dev vxlan100")


def test_systemd_hears_of_a_new_watchfrr_in_time(running_lab, on):
    """systemd takes a unit whose reload ends before the new watchfrr's READY=1 for one that stops, and kills FRR."""
    late = 'watchfrr_wrap="env -u NOTIFY_SOCKET"'  # as late as can be: never
    on("s1", f"echo '{late}' >>/etc/frr/daemons", "sed -i /watchfrr_wrap/d /etc/frr/daemons; systemctl restart frr")
    playbook = running_lab.directory / "ospfv3.yml"
    ospfv3 = {
        "vtep.fabric.ospfv3": {"areas": [{"area": "0.0.0.0"}], "interfaces": [{"name": "eth0", "area": "0.0.0.0"}]}
    }
    playbook.write_text(json.dumps([{"hosts": "s1", "gather_facts": False, "tasks": [ospfv3]}]))
    running_lab.playbook(str(playbook))
    assert on("s1", "systemctl is-active frr") == "active\n"
    running_lab.playbook("playbooks/teardown.yml")


def test_a_vtep_that_cannot_be_reached_stops_all(running_lab, on):
    running_lab.run("s2", "systemctl", "poweroff")
    limit = time.monotonic() + 30
    while running_lab.status()["s2"] == "running":
        assert time.monotonic() < limit
        time.sleep(0.1)
    said = refused(running_lab)
    assert f"{running_lab.prefix}-s2 is not running" in said
    assert "br100" not in on("s1", "ip -br link")
    # Told to leave it out, the play does not wait for its loopback.
    said = build(running_lab, "--limit", "s1")
    assert "vxlan100" in on("s1", "ip -br link")
    running_lab.playbook("playbooks/teardown.yml", "--limit", "s1")
    running_lab.up()


def test_nobody_sees_the_key_and_a_hanging_daemon_stops_no_other_host(running_lab, on):
    def underlay(*arguments, **options):
        return build(running_lab, "-vvvvv", "--diff", *arguments, roles=["underlay"], **options)

    said = underlay()
    assert "authentication key-id 1 hash-algo hmac-sha-256 key ********" in said
    assert KEY in on("s1", "vtysh -c 'show running-config'")
    on("s1", "systemctl stop frr")
    predicted = underlay("--check")
    done = underlay()
    assert changes(predicted) == changes(done) == {"s1": "1", "s2": "0"}
    on("s2", "kill -STOP $(pidof ospf6d)", "pidof ospf6d | xargs -r kill -CONT")
    hung = underlay(fails=True)
    assert "ospf6d did not answer vtysh within 10 s: it hangs or is very busy" in hung
    assert re.search(r"s1 : ok=\d+ changed=0 unreachable=0 failed=0 ", hung), hung
    assert re.search(r"s2 : ok=\d+ changed=0 unreachable=0 failed=1 ", hung), hung
    other = {"underlay_ospf_authentication": {"key_id": 1, "key": KEY, "algorithm": "hmac-sha-1"}}
    refusal = underlay("--limit", "s1", more=other, fails=True)
    assert "refused: Hash algorithm not supported" in refusal
    for text in (said, predicted, done, hung, refusal):
        assert KEY not in text
    on("s2", "kill -CONT $(pidof ospf6d)")
    running_lab.playbook("playbooks/teardown.yml")

# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of role macsec that take VXLAN from MACsec devices only: as nft prints them, and by packets. A veth end that is called as
the MACsec device would be stands for it: the rules go by names."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

ROLE = Path(__file__).parents[2] / "roles" / "macsec"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can make network namespaces"),
    pytest.mark.skipif(not shutil.which("nft"), reason="NOT TESTED: nft is missing"),
]

DRIVE = r"""
set -e
ip link set lo up
for dev in eth0 ms-eth0; do
    ip link add $dev type veth peer name far-$dev
done
unshare --net sleep 60 &
far=$!
while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
number=1
for dev in eth0 ms-eth0; do
    ip link set far-$dev netns $far
    ip addr add 2001:db8:$number::1/64 dev $dev nodad
    ip link set $dev up
    nsenter -t $far -n ip addr add 2001:db8:$number::2/64 dev far-$dev nodad
    nsenter -t $far -n ip link set far-$dev up
    number=$((number + 1))
done
sleep 0.5
nft -f "$1"
nft --stateless list table inet vtep_fabric_macsec > "$2"
cat > "$3.py" <<END
import socket, sys
there, port = sys.argv[1], int(sys.argv[2])
import subprocess
here = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
here.bind(("::", port))
here.settimeout(0.5)
send = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], int(sys.argv[2])))"
subprocess.run(["nsenter", "-t", sys.argv[3], "-n", sys.executable, "-c", "import sys; " + send, there, str(port)], check=True)
try:
    here.recv(1)
    got = "in"
except TimeoutError:
    got = ""
try:
    out = here.sendto(b"x", (there[:-1] + "2", port)) and "out"
except PermissionError:
    out = ""
print(there, port, got, out)
END
for port in 4789 4790; do
    for address in 2001:db8:1::1 2001:db8:2::1 ; do
        python3 "$3.py" $address $port $far
    done
done
python3 - <<END
import socket
here = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); here.bind(("::1", 4789)); here.settimeout(1)
here.sendto(b"x", ("::1", 4789)); print("lo", here.recv(1))
END
# What a service node's kernel would make copies of, in prerouting at -300.
nft -f - <<END
table inet copies {
 chain eth {
  counter
 }
 chain ms {
  counter
 }
 chain frames {
  type filter hook prerouting priority -300; policy accept;
  udp dport 4789 iifname vmap { "eth0" : jump eth, "ms-eth0" : jump ms }
 }
}
END
mac=$(ip -o link show eth0 | sed 's/.* link.ether \([^ ]*\) .*/\1/')
for address in 2001:db8:1::1 2001:db8:2::1 2001:db8:1::9 ; do
    nsenter -t $far -n ip -6 neigh replace 2001:db8:1::9 lladdr $mac dev far-eth0
    python3 "$3.py" $address 4789 $far >/dev/null
done
nft list table inet copies | awk '/chain|packets/ {print $1, $2, $3}'
kill $far
"""


def made(*devices, **words):
    text = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["macsec_guard"]
    plan = {"macsec": {"devices": [{"name": name} for name in devices], "vxlan_ports": [8472]}}
    jinja = Environment(trim_blocks=True, keep_trailing_newline=True)
    jinja.filters["regex_findall"] = lambda text, pattern: re.findall(pattern, text)
    # 4789 is that of VXLAN devices that are about to have another one.
    return jinja.from_string(text).render(preflight_plan=plan, macsec_more_ports=[4789], **words)


@pytest.fixture(scope="module")
def rules():
    return made("ms-eth1", "ms-eth0")


def test_widened_they_are_those_of_both(rules):
    told = {"stdout": rules}
    assert made("ms-eth2", "ms-eth1", macsec_widen=True, macsec_rules=told) == made("ms-eth0", "ms-eth1", "ms-eth2")
    assert made("ms-eth2", "ms-eth1", macsec_widen=False, macsec_rules=told) == made("ms-eth1", "ms-eth2")


def test_nft_prints_what_it_was_given_and_packets_obey(rules, tmp_path):
    given, printed = tmp_path / "given", tmp_path / "printed"
    given.write_text(rules)
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", DRIVE, "drive", str(given), str(printed), str(tmp_path / "probe")],
        capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert printed.read_text().strip() == rules.strip()
    assert done.stdout.splitlines() == [
        "2001:db8:1::1 4789  ",
        "2001:db8:2::1 4789 in out",
        "2001:db8:1::1 4790 in out",
        "2001:db8:2::1 4790 in out",
        "lo b'x'",
        "chain eth {",
        "counter packets 1",  # what is for another host
        "chain ms {",
        "counter packets 1",
        "chain frames {",
    ]

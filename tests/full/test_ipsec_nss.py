# SPDX-License-Identifier: GPL-3.0-or-later
"""vtep-nss, which Libreswan's unit runs before it: what is in its NSS database, by Debian's own certutil, in the images that
hold Libreswan. A database lies in memory, and nothing of it outlives its mount namespace."""

import os
import subprocess
from pathlib import Path

import pytest
from jinja2 import Environment

IMAGES = sorted(path.parents[3] for path in Path("/var/cache/vtep-fabric/images").glob("*/usr/libexec/ipsec/pluto"))
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: it mounts, as root"),
    pytest.mark.skipif(not IMAGES, reason="NOT TESTED: no image with Libreswan; make test-full"),
]

TEMPLATE = Path(__file__).parents[2] / "roles" / "ipsec" / "templates" / "vtep-nss.j2"
# Where the script finds its files.
FOLDER = "/mnt"
BEGIN = """
set -eu
mount -t tmpfs none "$IMAGE/var/lib/ipsec/nss"
mount -t tmpfs none "$IMAGE/mnt"
mount -t tmpfs none "$IMAGE/tmp"
mount --bind /dev "$IMAGE/dev"
cat > "$IMAGE/mnt/vtep-nss"
exec chroot "$IMAGE" sh -euc "$INSIDE"
"""
# A CA, and a certificate of it with a key of its own; the number is the certificate's.
ISSUE = """
cd /mnt
db=sql:/var/lib/ipsec/nss
certutil -N -d $db --empty-password
ca() {
    openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=$1" -days 30 -keyout $1.key -out $1.pem 2>/dev/null
}
issue() {  # CA NUMBER KIND...
    ca=$1 number=$2; shift 2
    openssl genpkey "$@" -out key.pem 2>/dev/null
    openssl req -new -key key.pem -subj "/CN=${name:-vtep}" -out req.pem
    openssl x509 -req -in req.pem -CA $ca.pem -CAkey $ca.key -set_serial $number -days 30 -out cert.pem 2>/dev/null
}
names() { certutil -L -d $db | awk 'NF > 1 && /,/ && !/SSL,S/ {print $1, $NF}' | sort | tr '\\n' ';'; echo; }
# Where there is no key certutil ends with an error, and so does grep, which tells 0.
keys() { (certutil -K -d $db 2>/dev/null || true) | grep -c '^<' || true; }
serial() { certutil -L -d $db -n vtep-fabric | awk '/Serial Number/ {print $3}'; }
load() { sh vtep-nss load >/dev/null; }
EC="-algorithm EC -pkeyopt ec_paramgen_curve:P-256" RSA="-algorithm RSA -pkeyopt rsa_keygen_bits:2048"
ca first; cp first.pem ca.pem
"""


def inside(image, script):
    templates = Environment(trim_blocks=True)
    templates.filters["dirname"] = os.path.dirname
    text = templates.from_string(TEMPLATE.read_text())
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", BEGIN],
        input=text.render(ipsec_certificate_files={"key": f"{FOLDER}/key.pem"}), capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "IMAGE": str(image), "INSIDE": ISSUE + script},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


images = pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name.split("-")[0])


@images
@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_it_has_the_certificate_that_the_files_have_and_no_other(image, kind):
    """Once more with the same, and with a new one: there is one of each, and one key."""
    told = inside(image, f"""
        issue first 7 ${kind}; load; load; names; serial; keys
        issue first 8 ${kind}; load; names; serial; keys
    """)  # fmt: skip
    both = "vtep-fabric u,u,u;vtep-fabric-ca CT,,;"
    assert told == [both, "7", "1", both, "8", "1"]


@images
def test_another_ca_takes_the_place_of_the_first(image):
    told = inside(image, """
        issue first 7 $EC; load
        ca second; cp second.pem ca.pem; issue second 7 $EC; load; names
        certutil -L -d $db -n vtep-fabric-ca | grep -o 'Issuer: .*'; keys
    """)  # fmt: skip
    assert told == ["vtep-fabric u,u,u;vtep-fabric-ca CT,,;", 'Issuer: "CN=second"', "1"]


@images
def test_it_forgets_its_own_alone(image):
    """What others have in the database stays, and there may be nothing to forget."""
    told = inside(image, """
        name=theirs issue first 3 $EC
        openssl pkcs12 -export -name theirs -inkey key.pem -in cert.pem -passout pass: -out theirs.p12
        pk12util -i theirs.p12 -d $db -W '' >/dev/null
        issue first 7 $EC; load; names; keys
        sh vtep-nss forget; names; keys
        sh vtep-nss forget; names
    """)  # fmt: skip
    theirs = "theirs u,u,u;"
    assert told == [f"{theirs}vtep-fabric u,u,u;vtep-fabric-ca CT,,;", "2", theirs, "1", theirs]


@images
def test_a_key_of_another_certificate_is_refused_and_no_key_is_left_lying(image):
    """The unit fails then, with the words of openssl in its journal; what it made on the way is gone."""
    told = inside(image, """
        issue first 7 $EC; openssl genpkey $EC -out key.pem 2>/dev/null
        load 2>said && echo loaded; test -s said && echo said; names; keys; ls /tmp | wc -l
        sh vtep-nss 2>&1 || echo $?
    """)  # fmt: skip
    assert told == ["said", "vtep-fabric-ca CT,,;", "0", "0", "usage: vtep-nss load|forget", "2"]


@images
def test_the_same_subject_by_another_name_is_told(image):
    """As where the user's own certificate is there already: NSS knows a subject by one name, and Libreswan asks by ours."""
    told = inside(image, """
        issue first 7 $EC
        openssl pkcs12 -export -name theirs -inkey key.pem -in cert.pem -passout pass: -out theirs.p12
        pk12util -i theirs.p12 -d $db -W '' >/dev/null
        load 2>&1 || echo $?
    """)  # fmt: skip
    assert told == [
        "vtep-nss: sql:/var/lib/ipsec/nss has a certificate of this subject by another name; certutil -L -d shows it, -D removes it", "1"
    ]  # fmt: skip

# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/full: what goes in and comes out, what the guest's kernel has, and that nothing is left of a guest whatever happens."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import full  # noqa: E402

FULL = [str(ROOT / "tools" / "full")]

pytestmark = pytest.mark.skipif(
    not full.image_path(full.image()).is_dir(), reason="NOT TESTED: there is no full kernel here: make images"
)


def run(*words, environment=None, **more):
    return subprocess.run([*FULL, *words], env={**os.environ, **(environment or {})}, check=False, text=True,
                          capture_output=True, **{"stdin": subprocess.DEVNULL, **more})  # fmt: skip


def processes_of(namespace):
    """The processes of a PID namespace, children of it included."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns" / "pid").readlink()) == namespace:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def guest_under(pid):
    """The PID namespace of the guest that a process waits for, once its kernel runs."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            namespace = str(Path(f"/proc/{child}/ns/pid_for_children").readlink())
        except (OSError, ValueError):
            namespace = ""
        if namespace != str(Path("/proc/self/ns/pid").readlink()) and len(processes_of(namespace)) > 2:
            return namespace
        time.sleep(0.05)
    raise AssertionError("no guest was started")


def gone(namespace):
    limit = time.monotonic() + 5
    while processes_of(namespace):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def guest():
    """A guest that stays, for all tests that can share one; the environment that names it."""
    environment = {"FULL_GUEST": f"t{uuid.uuid4().hex[:8]}"}
    try:
        done = run("--up", environment=environment)
        assert done.returncode == 0, done.stderr
        yield environment
    finally:
        run("--down", environment=environment)


def test_what_comes_out(guest):
    done = run("sh", "-c", "echo out; echo err >&2; exit 7", environment=guest)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_what_goes_in(guest):
    text = "line\n" * 200_000  # more than all buffers on the way hold
    done = run("cat", environment=guest, stdin=None, input=text)
    assert done.stdout == text
    assert done.returncode == 0


def test_a_command_that_a_signal_ended(guest):
    assert run("sh", "-c", "kill -SEGV $$", environment=guest).returncode == 128 + signal.SIGSEGV


def test_a_command_that_is_not_there(guest):
    done = run("no-such-command", environment=guest)
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_place_and_environment_are_those_outside(guest):
    done = run("sh", "-c", 'pwd; echo "$WORD"; id -u; command -v pytest', environment={**guest, "WORD": "two words"})
    assert done.stdout.splitlines() == [str(ROOT), "two words", "0", str(Path(sys.executable).parent / "pytest")]


def test_a_terminal_is_one_inside(guest):
    pid, descriptor = pty.fork()
    if not pid:
        os.execve(FULL[0], [*FULL, "sh", "-c", "stty size; tty; stty -echo; echo ask; read x; echo got $x"],
                  {**os.environ, **guest})  # fmt: skip
    told = b""
    try:
        while True:
            told += os.read(descriptor, 4096)
            if told.endswith(b"ask\r\n"):
                os.write(descriptor, b"answer\r")
    except OSError:
        pass  # the end
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert told.split() == [b"0", b"0", b"/dev/pts/0", b"ask", b"got", b"answer"]


def test_the_kernel_is_full(guest):
    """By what iproute2 can do, and by what host_info tells."""
    script = """
    set -e
    ip link add d0 type dummy
    ip link add link d0 m0 type macsec cipher gcm-aes-256 encrypt on
    ip link add link d0 name d0.7 type vlan id 7
    ip link add r0 type vrf table 7
    ip link add b0 type bridge vlan_filtering 1
    ip link add x0 type vxlan external vnifilter dstport 4789
    key=0x$(printf %040d 0)
    for cipher in "rfc4106(gcm(aes))" "rfc7539esp(chacha20,poly1305)"; do
      [ "$cipher" = "rfc4106(gcm(aes))" ] || key=0x$(printf %072d 0)
      ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport aead "$cipher" $key 128
      ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 256 mode tunnel aead "$cipher" $key 128
      ip xfrm state flush
    done
    ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport \
      enc "cbc(aes)" 0x$(printf %032d 0) auth-trunc "hmac(sha256)" 0x$(printf %064d 0) 128
    """
    done = run("unshare", "-n", "sh", "-c", script, environment=guest)
    assert done.returncode == 0, done.stderr
    done = run("tools/full", "--lacking", environment=guest)
    assert (done.returncode, done.stderr) == (0, "")
    assert run("tools/full", "--if-lacking", "uname", "-r", environment=guest).stdout != os.uname().release


def test_what_a_guest_writes_is_gone_with_it_but_for_the_checkout(guest, tmp_path):
    mark = f"{uuid.uuid4().hex}"
    (ROOT / "build").mkdir(exist_ok=True)
    places = [f"/etc/{mark}", f"/tmp/{mark}", f"/root/{mark}", f"/run/{mark}", f"/var/lib/vtep-fabric/{mark}"]
    script = f"for place in {' '.join(places)} build/{mark}; do echo {mark} >$place; done"
    try:
        assert run("sh", "-c", script, environment=guest).returncode == 0
        assert not [place for place in places if Path(place).exists()]
        assert (ROOT / "build" / mark).read_text() == f"{mark}\n"
    finally:
        (ROOT / "build" / mark).unlink(missing_ok=True)
    # What changes in the checkout afterwards, the guest sees.
    changed = ROOT / "build" / f"changed-{mark}"
    try:
        for text in ("one", "another"):
            new = changed.with_suffix(".new")
            new.write_text(text)
            new.replace(changed)
            assert run("cat", f"build/{changed.name}", environment=guest).stdout == text
    finally:
        changed.unlink(missing_ok=True)


def test_a_guest_has_no_device_but_lo_and_the_machine_none_of_the_guest(guest):
    assert [link["ifname"] for link in json.loads(run("ip", "-j", "link", environment=guest).stdout)] == ["lo"]
    links = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout
    assert not {link["ifname"] for link in json.loads(links)} & {"full", "vec0"}


def test_a_command_ends_with_who_asked_for_it(guest):
    seconds = str(3000 + os.getpid())
    with subprocess.Popen([*FULL, "sleep", seconds], env={**os.environ, **guest}, stdin=subprocess.DEVNULL) as process:
        seen = f"pgrep -f '[s]leep {seconds}'"
        limit = time.monotonic() + 10
        while run("sh", "-c", seen, environment=guest).returncode:
            assert time.monotonic() < limit, "it never began"
        process.kill()
    limit = time.monotonic() + 5
    while not run("sh", "-c", seen, environment=guest).returncode:
        assert time.monotonic() < limit, "it goes on"


def test_a_guest_that_stays_is_the_same_until_it_is_ended():
    environment = {"FULL_GUEST": f"t{uuid.uuid4().hex[:8]}"}
    place = full.STATE / environment["FULL_GUEST"]
    try:
        assert run("--up", environment=environment).returncode == 0
        namespace = str(Path(f"/proc/{(place / 'pid').read_text()}/ns/pid_for_children").readlink())
        assert run("touch", "/tmp/mine", environment=environment).returncode == 0
        assert run("--up", environment=environment).returncode == 0
        assert run("test", "-e", "/tmp/mine", environment=environment).returncode == 0
    finally:
        assert run("--down", environment=environment).returncode == 0
    assert gone(namespace)
    assert not place.exists()
    assert run("--down", environment=environment).returncode == 0
    assert run("test", "-e", "/tmp/mine", environment=environment).returncode == 1, (
        "a new guest has the old one's files"
    )


def lone_guest():
    """A guest for one command that would take long: what waits for it."""
    return {"FULL_GUEST": f"t{uuid.uuid4().hex[:8]}"}, [*FULL, "sleep", "3000"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_guest_is_left_when_tools_full_is_killed(number):
    environment, command = lone_guest()
    with subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL) as process:
        namespace = guest_under(process.pid)
        process.send_signal(number)
    assert gone(namespace)


def test_no_guest_is_left_when_its_caller_is_killed():
    environment, command = lone_guest()
    script = f"{' '.join(command)} & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True) as caller:  # fmt: skip
        namespace = guest_under(int(caller.stdout.readline()))
        caller.kill()
    assert gone(namespace)


def test_a_guest_that_cannot_boot_is_told_with_its_words():
    done = run("true", environment={"FULL_GUEST": "t0", "FULL_MEMORY": "8M"})
    assert done.returncode == 1
    assert "tools/full: the guest did not boot, the last that it said is:\n" in done.stderr


def test_a_name_that_is_none():
    assert "use letters and digits" in run("true", environment={"FULL_GUEST": "../x"}).stderr


# What takes minutes on Debian's kernel, where the rest of tests/full takes hours, and labs.
SHORT = [
    ["macsec", "macsec_modules"],
    ["xfrm"],
    ["mtu_wire_full", "verify_encryption_full", "ipsec_ask_peer"],
    ["ipsec"],
]


@pytest.mark.parametrize("names", SHORT, ids=" ".join)
def test_on_a_full_kernel(names):
    files = [f"tests/full/test_{name}.py" for name in names]
    done = run("--if-lacking", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=300", *files)
    assert done.returncode == 0, done.stdout + done.stderr

# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of vxfld's daemons: hosts in network namespaces around a router, and programs and sockets on them."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

MODULE_UTILS = Path(__file__).parents[2] / "plugins" / "module_utils"
LIBC = ctypes.CDLL(None, use_errno=True)
ANYCAST = {4: "203.0.113.100", 6: "2001:db8:ffff::100"}
MTU = 9216
FLAG = b"\x08\0\0\0"


def pack(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def text(address):
    return socket.inet_ntop(socket.AF_INET6 if len(address) == 16 else socket.AF_INET, address)


def sh(*words, stdin=None):
    done = subprocess.run(words, capture_output=True, text=True, input=stdin, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def frame(vni, payload):
    """A VXLAN packet."""
    return FLAG + vni.to_bytes(3, "big") + b"\0" + payload


class Star:
    """Hosts, each behind a link of its own to one router. host("a", 4) is an address of one."""

    def __init__(self, roles):
        self.numbers = {role: number for number, role in enumerate(roles, 1)}
        self.names = {role: f"vxs{os.getpid()}-{role}" for role in ("net", *roles)}

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        for role, name in self.names.items():
            sh("ip", "netns", "add", name)
            self.sysctl(role, ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        for role, number in self.numbers.items():
            lines = f"""
                link add to_{role} mtu {MTU} type veth peer name e0 mtu {MTU} netns {self.names[role]}
                addr add 10.0.{number}.254/24 dev to_{role}
                addr add 2001:db8:{number}::fe/64 dev to_{role} nodad
                link set to_{role} up
                """
            sh("ip", "-n", self.names["net"], "-batch", "-", stdin=lines)
            lines = f"""
                addr add 10.0.{number}.1/24 dev e0
                addr add 2001:db8:{number}::1/64 dev e0 nodad
                link set e0 up
                route add default via 10.0.{number}.254
                route add default via 2001:db8:{number}::fe
                """
            sh("ip", "-n", self.names[role], "-batch", "-", stdin=lines)
        self.sysctl("net", ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)

    def __exit__(self, *_error):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def host(self, role, family):
        number = self.numbers[role]
        return f"10.0.{number}.1" if family == 4 else f"2001:db8:{number}::1"

    @contextlib.contextmanager
    def inside(self, role):
        """This thread, and the programs and sockets that it makes, on a host."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.names[role]}") as there:
            assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())

    def sysctl(self, role, **values):
        with self.inside(role):
            for name, value in values.items():
                Path("/proc/sys/net", *name.split("__")).write_text(str(value))

    def ip(self, role, *words):
        return sh("ip", "-n", self.names[role], *words)

    def route_anycast(self, role):
        """Let the router lead to a service node, as a routing daemon would."""
        for family, address in ANYCAST.items():
            self.ip("net", "route", "replace", address, "via", self.host(role, family))

    def udp(self, role, family, port=0, address=None):
        """A bound UDP socket on a host."""
        with self.inside(role):
            one = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
            one.bind((address or self.host(role, family), port))
        one.settimeout(5)
        return one

    def tcp(self, role, address, port):
        with self.inside(role):
            return socket.create_connection((address, port), timeout=20)


def received(one, seconds=0.3):
    """[(data, (address, port))] of what waits in a socket, until nothing has come for so long."""
    found = []
    one.settimeout(seconds)
    try:
        while True:
            data, name = one.recvfrom(65535)
            found.append((data, name[:2]))
    except socket.timeout:
        return found
    finally:
        one.settimeout(5)


def eventually(what, seconds=10.0):
    """Wait until `what()` is true; what it returned."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found or time.monotonic() > end:
            assert found, f"not within {seconds} s: {what}"
            return found
        time.sleep(0.02)


class Program:
    """A daemon of vxfld on a host, in a directory of its own, with the settings in `config` {section: {key: value}}."""

    def __init__(self, star, role, name, directory, config):
        self.star, self.role, self.name = star, role, name
        self.directory = Path(directory)
        self.directory.mkdir(exist_ok=True)
        (self.directory / "state").mkdir(mode=0o700, exist_ok=True)
        package = self.directory / "vtep_fabric"
        if not package.exists():
            package.symlink_to(MODULE_UTILS)
        self.config = self.directory / f"{name}.conf"
        common = {
            "pidfile": self.directory / "pid", "udsfile": self.directory / "sock", "logdest": self.directory / "log",
            "loglevel": "DEBUG", **config.pop("common", {}),
        }  # fmt: skip
        own = {"statedir": self.directory / "state", **config.pop(name, {})}
        self.write({"common": common, name: own})
        self.process = None

    def write(self, config):
        lines = []
        for section, keys in config.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def set(self, key, value):
        """Write another value into the file."""
        lines = self.config.read_text().splitlines()
        changed = [f"{key} = {value}" if line.split(" = ")[0] == key else line for line in lines]
        assert changed != lines, f"{key} is not in the file"
        self.config.write_text("\n".join(changed) + "\n")

    def command(self, *words, **more):
        with self.star.inside(self.role):
            return subprocess.Popen(
                [sys.executable, "-m", f"vtep_fabric._vxfld.{self.name}", "-c", str(self.config), *words],
                cwd=self.directory, stdin=subprocess.DEVNULL, **more,
            )  # fmt: skip

    def start(self, *words, seconds=20):
        """Start it and wait until it tells that it is ready."""
        path = self.directory / "notify"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(path))
            ready.settimeout(seconds)
            with open(self.directory / "err", "w") as errors:
                environment = {**os.environ, "NOTIFY_SOCKET": str(path)}
                self.process = self.command(*words, env=environment, stderr=errors)
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
            except socket.timeout:
                raise AssertionError(f"{self.name} is not ready: {self.told()}") from None
        return self

    def told(self):
        return "".join(path.read_text() for path in (self.directory / "err", self.log) if path.exists())

    @property
    def log(self):
        return self.directory / "log"

    def fails(self, *words):
        """What it says when it cannot start."""
        process = self.command(*words, stderr=subprocess.PIPE, text=True)
        _none, errors = process.communicate(timeout=30)
        assert process.returncode == 1, errors
        assert "Traceback" not in errors
        return errors

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0, self.told()

    def end(self):
        """Whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ctl(self, *words, check=True):
        """What its command prints; as JSON with -j."""
        done = subprocess.run(
            [sys.executable, "-m", f"vtep_fabric._vxfld.{self.name}ctl", "-u", str(self.directory / "sock"), *words],
            cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "-j" in words else done.stdout

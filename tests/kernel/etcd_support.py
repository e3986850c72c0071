# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests with a real etcd: one from each suite's lab image on loopback, with or without TLS and users."""

import contextlib
import datetime
import ipaddress
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from suite_host import image, needs_image

# Of the suites that are to be supported, so that nobody takes other versions for them.
VERSIONS = {"bookworm": "3.4.23", "trixie": "3.5.16"}
ADDRESS = "127.0.0.1"
PASSWORD = "correct horse"


def program(suite, name="etcd"):
    needs_image(suite)
    found = image(suite) / "usr/bin" / name
    if not found.exists():
        pytest.skip(f"NOT TESTED: the lab image of {suite} has no {name}; `make images` builds a newer one")
    return found


class Etcd:
    """A member on its own, in this thread's network namespace; its data are kept over kill() and start()."""

    def __init__(self, suite, directory, port=2379, tls=None, address=ADDRESS):
        self.suite, self.directory, self.port, self.tls = suite, Path(directory), port, tls
        self.directory.mkdir(exist_ok=True)
        self.address = address
        self.url = f"{'https' if tls else 'http'}://{address}:{port}"
        self.process = None
        self._program, self._ctl = program(suite), program(suite, "etcdctl")

    def start(self):
        peers = f"http://{self.address}:{self.port + 10000}"
        words = [
            "--name=one", f"--data-dir={self.directory}/data", f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peers}", f"--initial-cluster=one={peers}",
            f"--initial-advertise-peer-urls={peers}", "--unsafe-no-fsync" if self.suite != "bookworm" else "",
        ]  # fmt: skip
        if self.tls:
            words += [f"--cert-file={self.tls.cert}", f"--key-file={self.tls.key}"]
        with open(self.directory / "log", "a") as log:
            self.process = subprocess.Popen([self._program, *filter(None, words)], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            if "is healthy" in self.ctl("endpoint", "health", check=False):
                return self
            time.sleep(0.05)
        raise AssertionError((self.directory / "log").read_text()[-2000:])

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def wipe(self):
        """Take the data away; what starts then is an etcd that knows nothing."""
        subprocess.run(["rm", "-rf", self.directory / "data"], check=True)

    def ctl(self, *words, check=True, user="root", text=None):
        command = [self._ctl, f"--endpoints={self.url}", "--command-timeout=5s", *words]
        if self.tls:
            command.append(f"--cacert={self.tls.ca}")
        if user and (self.directory / "users").exists():
            command.append(f"--user={user}:{PASSWORD}")
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(command, capture_output=True, text=True, input=text, env=environment, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def users(self, prefix="/vtep.fabric/"):
        """Let nobody in but root and `agent`, who may use the prefix."""
        for name in ("root", "agent"):
            self.ctl("user", "add", f"{name}:{PASSWORD}")
            self.ctl("role", "add", name)
            self.ctl("user", "grant-role", name, name)
        self.ctl("role", "grant-permission", "--prefix=true", "agent", "readwrite", prefix)
        self.ctl("auth", "enable")
        (self.directory / "users").touch()

    def put(self, key, value, *words):
        self.ctl("put", key, value, *words)

    def delete(self, *words):
        self.ctl("del", *words)

    def keys(self, prefix="/vtep.fabric/"):
        """{key: value} of what is there."""
        from base64 import b64decode

        rows = json.loads(self.ctl("get", "--prefix", prefix, "-w", "json")).get("kvs", [])
        return {b64decode(row["key"]).decode(): b64decode(row.get("value", "")).decode() for row in rows}

    def leases(self):
        return [line for line in self.ctl("lease", "list").splitlines() if line and "found" not in line]

    def revision(self):
        return json.loads(self.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]


class Certificates:
    """A CA, and a server's certificate of it for the loopback address."""

    def __init__(self, directory, names=(ADDRESS,)):
        directory = Path(directory)
        directory.mkdir(exist_ok=True)
        self.ca, self.cert, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, own_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name, own_name = _name("the tests' CA"), _name("etcd")
        authority = x509.BasicConstraints(ca=True, path_length=None)
        alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in names])
        _write(self.ca, _certificate(ca_name, ca_name, ca_key, ca_key, authority))
        _write(self.cert, _certificate(own_name, ca_name, own_key, ca_key, alternatives))
        form = serialization.PrivateFormat.TraditionalOpenSSL
        self.key.write_bytes(own_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, issuer, key, signer, extension):
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
    return made.add_extension(extension, critical=True).sign(signer, hashes.SHA256())


def _write(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class Between:
    """Carries TCP connections to a port, until it is told to swallow what comes; as where a path breaks without a word."""

    def __init__(self, port, to):
        self.port, self.to = port, to
        self.swallow = False
        self._server = None

    async def __aenter__(self):
        import asyncio

        self._server = await asyncio.start_server(self._carry, ADDRESS, self.port)
        return self

    async def __aexit__(self, *_error):
        self._server.close()

    async def _carry(self, reader, writer):
        import asyncio

        there = await asyncio.open_connection(ADDRESS, self.to)
        await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer), return_exceptions=True)
        writer.close()
        there[1].close()

    async def _copy(self, reader, writer):
        while True:
            data = await reader.read(1 << 16)
            if not data:
                break
            if not self.swallow:
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)

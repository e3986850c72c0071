# SPDX-License-Identifier: GPL-3.0-or-later
"""/etc/vtep-agent.conf: keys, defaults, and which may change while the daemon runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from .._model.errors import InputError
from .._service import settings as reading
from .._service.settings import key, level, logdest, number, path, seconds, truth, word

PROGRAM = "vtep-agent"
KINDS = ("file", "etcd", "http")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[!-~]*)?")
_USERNAME = re.compile(r"[!-9;-~]{1,64}")  # RFC 7617, section 2: no colon

# --- what a value may be -------------------------------------------------------------------------------------------


def urls(text):
    found = []
    for one in text.split():
        match = _URL.fullmatch(one)
        if not match or (match[3] and not 0 < int(match[3]) <= 65535):
            raise ValueError(
                f"{one[:80]!r} is not a URL that can stand here; write it like https://[2001:db8::1]:2379, blanks between two"
            )
        if one not in found:
            found.append(one)
    return tuple(found)


def prefix(text):
    if not _PREFIX.fullmatch(text) or len(text) > 100:
        raise ValueError(f"{text[:80]!r} is not a prefix of keys; write it like /vtep.fabric")
    return text


def username(text):
    if not _USERNAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a user name; write up to 64 ASCII characters without blanks and colons")
    return text


# --- the keys ------------------------------------------------------------------------------------------------------


def _key(section, parse, default, live=True, empty=False):
    made = key(parse, default, live, empty)
    return field(default=default, metadata={**made.metadata, "section": section})  # pylint: disable=invalid-field-call


@dataclass(frozen=True)
class Settings:
    limit: int = _key("agent", number(16, 1 << 22), 65536)  # FDB rows, and as many neighbours, of all devices together
    unanswered: int = _key("agent", number(16, 1 << 20), 8192)  # misses that wait, of a device
    unanswered_ttl: float = _key("agent", seconds(0.1, 3600), 10.0)
    source_limit: int = _key("agent", number(0, 1_000_000), 200)  # requests of one MAC a second; 0 is no limit
    learn: bool = _key("agent", truth, False)  # publish what is behind the access ports
    groups: bool = _key("agent", truth, False)  # rows for the multicast MACs of endpoints' addresses
    grace: float = _key("agent", seconds(0, 86400), 60.0)
    sweep: float = _key("agent", seconds(0.1, 3600), 30.0)
    loglevel: str = _key("agent", level, "INFO")
    logdest: str = _key("agent", logdest, "syslog", live=False)
    pidfile: str = _key("agent", path, "/run/vtep-agent/vtep-agent.pid", live=False)
    udsfile: str = _key("agent", path, "/run/vtep-agent/vtep-agent.sock", live=False)
    statedir: str = _key("agent", path, "/run/vtep-agent", live=False)
    textfile: str | None = _key("agent", path, None)

    kind: str = _key("registry", word(*KINDS), "file")
    file: str = _key("registry", path, "/var/lib/vtep.fabric/endpoints.json")
    urls: tuple = _key("registry", urls, (), empty=True)
    prefix: str = _key("registry", prefix, "/vtep.fabric")
    username: str | None = _key("registry", username, None)
    password_file: str | None = _key("registry", path, None)
    ca_file: str | None = _key("registry", path, None)
    cert_file: str | None = _key("registry", path, None)
    key_file: str | None = _key("registry", path, None)
    interval: float = _key("registry", seconds(1, 86400), 5.0)  # http: from one look to the next
    lease: int = _key("registry", number(5, 3600), 30)  # etcd: seconds that what is published outlives its host

    endpoints_file: str | None = _key("given", path, None)

    password: str | None = field(default=None, repr=False)  # what password_file holds


_SECTIONS = {name: one.metadata["section"] for name, one in reading.keys(Settings).items()}


def section(name):
    return _SECTIONS[name]


# --- reading -------------------------------------------------------------------------------------------------------


def load(file, overrides=None):
    """(settings, warnings) of a file, FILE.override on top, and texts from the command line on top of that.

    Raises InputError with every fault.
    """
    made, places, faults, warnings = reading.read(Settings, file, overrides, section)

    def fault(name, message):
        faults.append(f"{places.get(name) or f'[{section(name)}] {name}'}: {message}")

    _check(made, fault)
    if made.password_file:
        made = _with_password(made, fault)
    if faults:
        raise InputError(faults)
    if made.password and any(url.startswith("http:") for url in made.urls):
        warnings.append("[registry] urls: the password goes unencrypted to a URL that begins with http:")
    return made, warnings


def _check(settings, fault):
    """What does not go together."""
    if settings.kind != "file" and not settings.urls:
        fault("urls", f"is missing; kind {settings.kind} needs one")
    if settings.kind == "http" and len(settings.urls) > 1:
        fault("urls", "is more than one; kind http asks exactly one")
    if settings.kind == "etcd" and any(_URL.fullmatch(url)[4] not in (None, "/") for url in settings.urls):
        fault("urls", "has a path; for kind etcd write https://HOST:PORT")
    if settings.username and not settings.password_file:
        fault("username", "is without a password; write password_file")
    if settings.password_file and not settings.username:
        fault("password_file", "is without a user; write username")
    if bool(settings.cert_file) != bool(settings.key_file):
        here, other = ("cert_file", "key_file") if settings.cert_file else ("key_file", "cert_file")
        fault(here, f"is without its {other}; write both")
    elif settings.cert_file:
        _pem(
            "cert_file",
            settings.cert_file,
            fault,
            lambda context: context.load_cert_chain(settings.cert_file, settings.key_file),
        )
    if settings.ca_file:
        _pem("ca_file", settings.ca_file, fault, lambda context: context.load_verify_locations(settings.ca_file))


def _pem(name, file, fault, load_it):
    import ssl  # few need it, and it is much to import

    try:
        load_it(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        fault(name, f"{file!r} is not understood ({error.reason or error}); write the name of a PEM file")
    except OSError as error:
        fault(name, f"{file!r} is not readable ({error.strerror}); write the name of a PEM file")


def _with_password(settings, fault):
    try:
        found = reading.secret(settings.password_file, "password").decode().rstrip("\r\n")
        if not found.isprintable() or not found:
            raise ValueError(f"{settings.password_file!r} holds no password; write one line of text into it")
        return replace(settings, password=found)
    except UnicodeDecodeError:
        fault("password_file", f"{settings.password_file!r} is not UTF-8; write the password as text")
    except ValueError as error:
        fault("password_file", str(error))
    return settings


def reloaded(settings, new):
    """(settings with what may change while the daemon runs, names of changed keys that need a restart)"""
    live, waiting = reading.differences(settings, new)
    return replace(settings, password=new.password, **live), waiting


def of_registry(settings):
    """What a source is made of."""
    names = [name for name, one in _SECTIONS.items() if one == "registry"]
    return [getattr(settings, name) for name in (*names, "grace", "password")]


def shown(settings):
    """{key: value} as JSON has them. The password is not among them."""
    told = {name: getattr(settings, name) for name in _SECTIONS}
    return {**told, "urls": " ".join(settings.urls)}

# SPDX-License-Identifier: GPL-3.0-or-later
"""FRR on this host: its daemons, its files, and vtysh.

A daemon is added to a running FRR the way frrinit.sh's own `reload` does it: watchfrr, which only watches, is replaced
by one that watches the new list and starts what is missing. Other daemons go on with their process and sessions. The
second half of that `reload`, frr-reload.py, is left out: it would throw away what others have set and not yet saved.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .._model import frr as text_of
from .._model.errors import DaemonError, KernelError, MissingError
from . import files

ETC = Path("/etc/frr")
RUN = Path("/run/frr")
LIB = Path("/usr/lib/frr")
ANSWER = 10  # seconds in which a daemon has to answer vtysh
APPLY = 30
START = 20  # seconds until a daemon listens
SYSTEMCTL = 90

_NOISE = re.compile(
    r"(\[\d+\|\w+\] )?(sending configuration|done)?"
    r"|Waiting for children to finish applying config\.\.\."
    r"|(\[\d+\|\w+\] )?Configuration file\[.*\] processing failure: \d+"
    r"|For this router-id change to take effect.*"
)
_NUMBERED = re.compile(r"line (\d+): (.*)")


def installed():
    return bool(shutil.which("vtysh", path="/usr/bin:/usr/sbin:/bin:/sbin")) and LIB.is_dir()


def require(*daemons):
    if not installed():
        raise MissingError("FRR is not installed", "apt-get install frr")
    for daemon in daemons:
        if not has(daemon):
            raise MissingError(f"this FRR has no {daemon}", f"install a package of FRR with {LIB / daemon}")


def has(daemon):
    return (LIB / daemon).exists()


def lock():
    """A descriptor that one run has at a time on this host, until it is closed. It is of a directory that is there anyway.

    Two runs at once would each write files without the other's lines, and start and stop daemons beside one another.
    """
    try:
        handle = os.open(ETC, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KernelError(f"read {ETC}", error.errno) from None
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


# vtysh


def _vtysh(arguments, seconds, daemon="FRR", pass_fds=()):
    environment = dict(os.environ, VTYSH_PAGER="cat", LC_ALL="C")
    try:
        return subprocess.run(
            ["vtysh", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            env=environment,
            pass_fds=pass_fds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DaemonError(
            f"{daemon} did not answer vtysh within {seconds} s: it hangs or is very busy;"
            f" see `journalctl -u frr`, then `systemctl restart frr`"
        ) from None
    except FileNotFoundError:
        raise MissingError("FRR is not installed", "apt-get install frr") from None


def running_config(daemon=None):
    """What runs, of one daemon or of all."""
    arguments = ["-d", daemon] if daemon else []
    done = _vtysh([*arguments, "-c", "show running-config"], ANSWER, daemon or "FRR")
    if done.returncode or "\n!\nend" not in done.stdout:
        raise DaemonError(f"{daemon or 'FRR'} told no configuration: {_words(done) or 'vtysh said nothing'}")
    return done.stdout


def configure(daemon, text):
    """Give a daemon configuration lines, in one vtysh. Raises DaemonError with all that FRR refused.

    The lines go through memory that only this process and vtysh have, so that no secret reaches a command line or disk.
    """
    handle = os.memfd_create("frr")
    try:
        os.write(handle, text.encode())
        # Each process of vtysh opens the name anew and so reads from the start.
        done = _vtysh(["-d", daemon, "-f", f"/proc/self/fd/{handle}"], APPLY, daemon, pass_fds=(handle,))
    finally:
        os.close(handle)
    _check(daemon, text, done)


def enter(daemon, text):
    """Give a daemon configuration lines one by one, as somebody types them. Not for secrets: processes' command lines are public.

    Raises DaemonError with all that FRR refused.
    """
    lines = [word for line in ("configure terminal", *text.splitlines()) for word in ("-c", line)]
    _check(daemon, text, _vtysh(["-d", daemon, *lines], APPLY, daemon))


def _check(daemon, text, done):
    said = [line for line in (done.stdout + done.stderr).splitlines() if not _NOISE.fullmatch(line.strip())]
    if said or done.returncode:
        raise DaemonError(_refusal(daemon, text, said, done.returncode))


def _refusal(daemon, text, said, code):
    """What FRR refused, in its own words, with the line in question where it tells it, and without secrets."""
    lines = text.splitlines()
    secrets = {found for line in lines for found in [text_of.secret(line)] if found}
    words = []
    for line in said:
        numbered = _NUMBERED.match(line.strip())
        if numbered and int(numbered[1]) <= len(lines):
            number = int(numbered[1]) - 1
            block = next((one for one in reversed(lines[: number + 1]) if not one.startswith(" ")), "")
            reason = numbered[2].split(":")[0].split("[")[0].strip("% ")
            if reason.startswith("Failure to communicate"):
                reason = "refused"
            words.append(f"'{lines[number].strip()}' in '{block}': {reason}")
        elif line.strip():
            words.append(line.strip())
    told = "; ".join(dict.fromkeys(words)) or f"vtysh ended with {code}"
    for one in secrets:
        told = re.sub(rf"(?<!\S){re.escape(one)}(?!\w)", "********", told)
    message = f"{daemon} of FRR {version()} refused: {told}"
    if "Unknown command" in told:
        message += " (this version does not know it)"
    if "locked" in told:
        message += " (another session holds the configuration by `configure terminal exclusive`; end it and run again)"
    return message


def ask(*commands):
    """The answers of `show ... json` commands, in their order. Raises DaemonError where one is not JSON."""
    arguments = [word for command in commands for word in ("-c", command)]
    done = _vtysh(arguments, ANSWER)
    decoder, found, rest = json.JSONDecoder(), [], done.stdout.lstrip()
    while rest:
        try:
            answer, end = decoder.raw_decode(rest)
        except ValueError:
            raise DaemonError(f"FRR answered `{'`, `'.join(commands)}` with {rest.splitlines()[0]!r}") from None
        found.append(answer)
        rest = rest[end:].lstrip()
    if len(found) != len(commands):
        raise DaemonError(f"FRR answered `{'`, `'.join(commands)}` not at all: {_words(done) or 'vtysh said nothing'}")
    return found


def execute(command, daemon):
    """A command that is no configuration."""
    done = _vtysh(["-d", daemon, "-c", command], ANSWER, daemon)
    if done.returncode or "%" in done.stdout:
        raise DaemonError(f"{daemon} refused `{command}`: {_words(done)}")


def version():
    done = _vtysh(["-h"], ANSWER)
    found = re.search(r"\(version ([^)]+)\)", done.stdout)
    return found[1] if found else "of an unknown version"


def _words(done):
    return " ".join((done.stdout + " " + done.stderr).split())[:300]


# Daemons


def alive(daemon):
    """Whether a daemon listens for vtysh."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(ANSWER)
        try:
            one.connect(str(RUN / f"{daemon}.vty"))
        except OSError:
            return False
    return True


def _watchfrr():
    """The process id of watchfrr, or None."""
    try:
        pid = int(files.read(RUN / "watchfrr.pid").strip() or 0)
        return pid if pid and Path(f"/proc/{pid}/comm").read_text().strip() == "watchfrr" else None
    except (OSError, ValueError):
        return None


_SWITCH = re.compile(r"^\s*(?P<daemon>\w+)=(?P<value>[^\s#]*).*$")


def enabled(text, daemon):
    """Whether the text of /etc/frr/daemons switches a daemon on."""
    value = "no"
    for line in text.splitlines():
        found = _SWITCH.match(line)
        if found and found["daemon"] == daemon:
            value = found["value"].strip("'\"")
    return value not in ("", "no", "0")


def switched(text, daemons, on):
    """The text of /etc/frr/daemons with daemons switched on or off."""
    lines = text.splitlines()
    for daemon in daemons:
        line = f"{daemon}={'yes' if on else 'no'}"
        where = [n for n, one in enumerate(lines) if (_SWITCH.match(one) or {"daemon": ""})["daemon"] == daemon]
        if where:
            lines[where[-1]] = line
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def daemons_text():
    path = ETC / "daemons"
    if not path.exists():
        raise MissingError(
            f"{path} is not there", "apt-get install --reinstall -o DPkg::Options::=--force-confmiss frr"
        )
    return files.read(path)


def write_daemons(text):
    files.write(ETC / "daemons", text, 0o640, ETC)


# $1...: daemons to stop, after watchfrr no longer watches them. Nothing is stopped when the list cannot be read.
_REWATCH = """
log_success_msg() { echo "$@"; }
log_warning_msg() { echo "$@" >&2; }
log_failure_msg() { echo "$@" >&2; }
stopped="$*"
set --
. /usr/lib/frr/frrcommon.sh
old=$(cat "$V_PATH/watchfrr.pid")
# systemd gives a reload no watchdog setting, and kills a service whose watchdog falls silent.
watchdog=$(tr '\\0' '\\n' < "/proc/$old/environ" | sed -n 's/^WATCHDOG_USEC=//p')
[ -z "$watchdog" ] || export WATCHDOG_USEC="$watchdog"
daemon_list enabled_daemons disabled_daemons
[ -n "$enabled_daemons" ] || exit 1
watchfrr_options="$watchfrr_options $enabled_daemons"
daemon_stop watchfrr --reload || exit 1
daemon_start watchfrr
for daemon in $stopped; do
  daemon_stop "$daemon" || exit 1
done
# The old watchfrr told systemd that it stops. Unless systemd hears that the new one is ready before this script ends, it takes
# the unit for stopping and kills FRR; the new one's own word can come too late. systemd-notify waits until it is heard.
[ -z "$NOTIFY_SOCKET" ] || systemd-notify --ready
exit 0
"""


def apply_daemons(stop=()):
    """Bring what runs in line with /etc/frr/daemons. Daemons that run go on undisturbed, but for those to stop."""
    watching = _watchfrr()
    systemd = Path("/run/systemd/system").is_dir()
    if watching and not (systemd and _unit("MainPID") == str(watching)):
        _rewatch_directly(stop)
    elif watching:
        _rewatch_by_systemd(stop)
    elif systemd:
        _run(["systemctl", "enable", "--quiet", "frr.service"], "systemctl enable frr")
        start = ["systemctl", "start", "frr.service"]
        try:
            _run(start, "systemctl start frr")
        except DaemonError:
            # Restarts of the last minutes, such as a package's own, count towards the unit's limit of three.
            _run(["systemctl", "reset-failed", "frr.service"], "systemctl reset-failed frr")
            _run(start, "systemctl start frr")
    else:
        _run([str(LIB / "frrinit.sh"), "start"], "frrinit.sh start")


def _rewatch_directly(stop):
    with tempfile.TemporaryDirectory(dir="/run", prefix="vtep.fabric-") as directory:
        script = _script(directory)
        _run(["/bin/bash", script, *stop], "restarting watchfrr")


def _rewatch_by_systemd(stop):
    """By the unit's own reload, so that watchfrr stays the unit's main process, for which the unit is changed meanwhile."""
    overriding = Path("/run/systemd/system/frr.service.d/vtep-fabric-reload.conf")
    with tempfile.TemporaryDirectory(dir="/run", prefix="vtep.fabric-") as directory:
        script = _script(directory)
        command = " ".join(["/bin/bash", script, *stop])
        files.make_directory(overriding.parent, 0o755)
        files.write(overriding, f"[Service]\nExecReload=\nExecReload={command}\n", 0o644)
        try:
            _run(["systemctl", "daemon-reload"], "systemctl daemon-reload")
            _run(["systemctl", "reload", "frr.service"], "systemctl reload frr")
        finally:
            files.remove(overriding)
            if not any(overriding.parent.iterdir()):
                overriding.parent.rmdir()
            _run(["systemctl", "daemon-reload"], "systemctl daemon-reload")


def _script(directory):
    path = str(Path(directory, "rewatch"))
    files.write(path, _REWATCH, 0o700)
    return path


def _unit(name):
    done = subprocess.run(
        ["systemctl", "show", "--property", name, "frr.service"], stdout=subprocess.PIPE, text=True, check=False
    )
    return done.stdout.strip().partition("=")[2]


def _run(command, what):
    """A command whose children may outlive it: they get a file to write to, since waiting for a pipe's end would hang."""
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=SYSTEMCTL,
                start_new_session=True,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise DaemonError(f"{what} did not end within {SYSTEMCTL} s; see `journalctl -u frr`") from None
        except OSError as error:
            raise DaemonError(f"{what}: {error.strerror}") from None
        if code:
            output.seek(0)
            said = " ".join(output.read().decode(errors="replace").split())[-300:]
            raise DaemonError(f"{what} failed: {said or f'it ended with {code}'}; see `journalctl -u frr`")


def wait_alive(daemons):
    """Wait until daemons listen."""
    until = time.monotonic() + START
    while True:
        silent = [daemon for daemon in daemons if not alive(daemon)]
        if not silent:
            return
        if time.monotonic() > until:
            raise DaemonError(f"{', '.join(silent)} did not start within {START} s; see `journalctl -u frr`")
        time.sleep(0.05)


# Files


def boot_file(daemon):
    """The file from which a daemon takes its configuration when FRR starts.

    frr.conf where there is one: then all daemons are told from it, and files of their own are not read. Without one,
    making it would take the configuration from daemons that have files of their own.
    """
    integrated = ETC / "frr.conf"
    if integrated.exists():
        return integrated
    own = [path for path in ETC.glob("*.conf") if path.name not in ("vtysh.conf", "support_bundle_commands.conf")]
    split = any(line.text for path in own for line in text_of.read(files.read(path)))
    wanted = re.search(r"(?m)^\s*service integrated-vtysh-config", files.read(ETC / "vtysh.conf"))
    return integrated if wanted and not split else ETC / f"{daemon}.conf"


def write_boot_file(path, text):
    files.write(path, text, 0o640, ETC)

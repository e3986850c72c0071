"""The tests of tests/ and all else, two at a time, since tests in a lab mostly wait. Each line begins with the seconds since the start and
with the step that it is of. A step that fails does not keep the others from running. A test or two that failed beside other steps are
run once more alone at the end, and are named whatever comes of it: a machine that is too busy is one cause among others.
"""

import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# A test that hangs is named, and ended; none takes half of that.
PYTEST = ["pytest", "--timeout=600", "--durations=15", "--durations-min=5"]


def lab(*names):
    return [*PYTEST, *(f"tests/lab/test_{name}.py" for name in names)]


# What asks for times, while beside it nobody builds labs.
FIRST = [
    [("traffic", lab("vxfld", "dynamic"))],
    [("unit", [*PYTEST, "tests/unit"]), ("kernel", [*PYTEST, "tests/kernel"]), ("sanity", ["tools/sanity"])],
]
# A scenario does what tests/lab does with the same variant, so that a few of different kinds do. No name is all of them.
SCENARIOS = [] if os.environ.get("TEST_ALL") else ["multicast", "unicast-static-flood", "unicast-routing"]
# Whoever is free takes the next; the longest come first.
THEN = [
    ("molecule", ["tools/molecule", *SCENARIOS]),
    ("site", lab("site")),
    ("registry", lab("registry")),
    ("changes", lab("changes")),
    ("lab", lab("lab")),
    ("units", lab("vxfld_units")),
    ("wire", lab("wire")),
    ("faults", lab("faults")),
    ("connection", lab("connection", "ssh")),
    ("tarball", ["tools/build"]),
]
NAMED = " ".join(word for _name, command in (*FIRST[0], *THEN) for word in command)
REST = [path.stem.removeprefix("test_") for path in Path("tests/lab").glob("test_*.py") if str(path) not in NAMED]
THEN += [("rest", lab(*REST))] if REST else []
# More tests than this fail for a cause of their own, not since the machine was busy.
FEW = 2
# Labs on the way at a time need more inotify instances than Debian's 128, about seven a host.
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")

started = time.monotonic()
told = {}
caches = tempfile.mkdtemp(prefix="vtep-fabric-tests-")
waiting = collections.deque(THEN)


def run(first):
    for name, command in first:
        step(name, command)
    while True:
        try:
            name, command = waiting.popleft()
        except IndexError:
            return
        step(name, command)


def step(name, command):
    began = time.monotonic()
    say(name, f"===== {' '.join(command)}")
    if is_pytest(command):  # which remembers what has failed, each step by itself
        command = [*command, "-o", f"cache_dir={caches}/{name}"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:  # fmt: skip
        failures, last = [], collections.deque(maxlen=3)
        for line in process.stdout:
            say(name, line.rstrip("\n"))
            last.append(line.rstrip("\n"))
            if line.startswith(("FAILED ", "ERROR ")):
                failures.append(line.rstrip("\n"))
    told[name] = (process.returncode, time.monotonic() - began, failures or list(last))


def is_pytest(command):
    return command[0] == PYTEST[0]


def again():
    """Run what failed once more, alone. {step: [line of a failure]} of what passes then."""
    failed = {name: lines for name, (code, _seconds, lines) in told.items() if code}
    commands = dict((*sum(FIRST, []), *THEN))
    if sum(map(len, failed.values())) > FEW or not all(is_pytest(commands[name]) for name in failed):
        return {}
    for name in failed:
        step(name, [*commands[name], "--last-failed", "--last-failed-no-failures=none"])
    return {name: lines for name, lines in failed.items() if not told[name][0]}


def say(name, line):
    print(f"{time.monotonic() - started:5.0f} {name:10} {line}", flush=True)


def main():
    os.environ["PYTHONUNBUFFERED"] = "1"
    signal.signal(signal.SIGTERM, lambda *_words: sys.exit(1))
    before = INSTANCES.read_text()
    if int(before) < 1024:
        INSTANCES.write_text("1024")
    try:
        lanes = [threading.Thread(target=run, args=(first,), daemon=True) for first in FIRST]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        unsteady = again()
    finally:
        INSTANCES.write_text(before)
        shutil.rmtree(caches)
    # What failed comes last and in few words, since a reader may have only the end.
    passed = [f"{name} {seconds:.0f}" for name, (code, seconds, _lines) in told.items() if not code]
    failed = [name for name, (code, _seconds, _lines) in told.items() if code]
    lost = [name for name, _command in (*sum(FIRST, []), *THEN) if name not in told]
    print(f"passed, in seconds: {', '.join(passed)}; all {time.monotonic() - started:.0f}")
    for name, lines in unsteady.items():
        print(f"unsteady: {name} failed, and passed alone. That is a fault of the test or of what it tests:")
        for line in lines:
            print(f"    {line[:160]}")
    for name in lost:
        print(f"failed to run: {name}")
    for name in failed:
        print(f"failed: {name}")
        for line in told[name][2][:5]:
            print(f"    {line[:160]}")
    return bool(lost or failed)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of devices and tables: a private network namespace, the modules' run loop in it, and iproute2's answers."""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.link import Devices
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.vxlan import Vxlans

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
MARKS = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: devices need root"),
    pytest.mark.skipif(
        not (shutil.which("ip") and shutil.which("bridge")), reason="NOT TESTED: iproute2 is not installed"
    ),
]


@contextlib.contextmanager
def private():
    """This thread, and what it starts, in a network namespace that ends with the block."""
    with open("/proc/thread-self/ns/net") as home:
        assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


def sh(*lines):
    """Run commands; what the last one printed."""
    for line in lines:
        done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def ip(name):
    """A device as iproute2 sees it."""
    return json.loads(sh(f"ip -d -j link show dev {name}"))[0]


def data(name):
    return ip(name)["linkinfo"]["info_data"]


def port(name):
    return ip(name)["linkinfo"]["info_slave_data"]


def names():
    return {one["ifname"] for one in json.loads(sh("ip -j link show"))}


def _params(resource, options):
    params = {name: argument.get("default") for name, argument in resource.spec().items()}
    return {**params, **options}


def _run(resource, checking, options):
    made = resource()
    try:
        return converge(made, _params(resource, options), checking)
    finally:
        made.close()


def link(checking=False, **options):
    return _run(Devices, checking, options)


def vxlan(checking=False, **options):
    return _run(Vxlans, checking, options)


def twice(run, **options):
    """Check, run and run again: the check predicts the run, and the second run changes nothing."""
    told = run(checking=True, **options)
    done = run(**options)
    assert (told.changed, told.before, told.after) == (done.changed, done.before, done.after)
    again = run(**options)
    assert not again.changed, again.after
    assert (again.before, again.after) == ("", "")
    return done

# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel tests on hosts of each suite: by its own Python, pyroute2, iproute2 and nft. Only pytest is borrowed, and what
Ansible sends to a host.

What runs is the same files as beside this one. Here counts that they pass with other versions too.
"""

import os
import shutil
from importlib import metadata
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from suite_host import INSIDE, SuiteHost, needs_image

# Python, pyroute2 and iproute2 of the suites that are to be supported, so that nobody takes other versions for them.
VERSIONS = {"bookworm": ("3.11", "0.7.2", "6.1.0"), "trixie": ("3.13", "0.7.7", "6.15.0")}
FILES = (
    "test_link_kernel.py",
    "test_vxlan_kernel.py",
    "test_fdb.py",
    "test_neighbor.py",
    "test_isolation.py",
    "test_isolation_routed.py",
    "test_route_kernel.py",
    "test_route_rule.py",
    "test_announce.py",
    "test_host_info_kernel.py",
)
# Of trixie's versions tests/lab makes use all the time.
AT_LENGTH = pytest.mark.skipif(not os.environ.get("TEST_ALL"), reason="make test-all has it")
SUITES = ["bookworm", pytest.param("trixie", marks=AT_LENGTH)]
LOCAL = "import site; print(site.getsitepackages()[0])"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin",
    "LANG": "C.UTF-8",
    "PYTHONPYCACHEPREFIX": "/run/pycache",  # the checkout is read-only, and what it may hold is another Python's
}
TELL = """
from importlib import metadata
import platform, subprocess
iproute2 = subprocess.check_output(["ip", "-V"], text=True).partition("iproute2-")[2].partition(",")[0]
print(platform.python_version().rpartition(".")[0], metadata.version("pyroute2"), iproute2)
"""


def needed_by(package):
    """A package of this Python and, in turn, those that it needs here."""
    yield package
    for line in metadata.requires(package) or []:
        requirement = Requirement(line)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield from needed_by(requirement.name)


def lend(package, directory, only=""):
    for file in metadata.files(package):
        assert file.suffix != ".so", f"{package} is not pure Python, and no other Python could run it"
        if str(file).startswith(only) and ".." not in file.parts and file.suffix != ".pyc":
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


@pytest.fixture(scope="module", params=SUITES)
def host(request):
    needs_image(request.param)
    one = SuiteHost(request.param)
    try:
        local = one.path(one.run("/usr/bin/python3", "-c", LOCAL).strip())
        for package in set(needed_by("pytest")):
            lend(package, local)
        # What Ansible sends to a host with a module, and what importing that from Ansible itself takes.
        for part in ("ansible/module_utils/", "ansible/__init__.py", "ansible/release.py", "ansible/_vendor/"):
            lend("ansible-core", local, part)
        yield one
    finally:
        one.close()


def python(host, *arguments):
    settings = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    return host.done("env", "-i", f"--chdir={INSIDE}", *settings, "/usr/bin/python3", *arguments)


def test_it_is_the_suites_own_versions_that_are_tested(host):
    status, said, wrong = python(host, "-c", TELL)
    assert status == 0, wrong
    assert tuple(said.split()) == VERSIONS[host.suite]


@pytest.mark.parametrize("file", FILES)
def test_file(host, file):
    status, said, wrong = python(
        host, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=/run/result.xml", f"tests/kernel/{file}"
    )
    assert status == 0, said + wrong
    cases = ElementTree.fromstring(host.read("/run/result.xml")).findall(".//testcase")
    skipped = [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None]
    assert len(cases) > len(skipped), f"nothing was tested: {said}"
    # What the kernel lacks is missing in the same tests outside too. Nothing else is to be missing inside.
    assert not [reason for reason in skipped if "kernel" not in reason], said

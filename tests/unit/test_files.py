# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories that modules make on a host."""

import os
import stat

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import files


@pytest.fixture(autouse=True)
def umask():
    """As hardened hosts have it for root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_has_its_mode_whatever_the_umask(tmp_path):
    files.make_directory(tmp_path / "a" / "b" / "c", 0o750)
    assert [mode(tmp_path / one) for one in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o750]


def test_a_directory_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "a").mkdir(mode=0o700)
    files.make_directory(tmp_path / "a", 0o755)
    assert mode(tmp_path / "a") == 0o700

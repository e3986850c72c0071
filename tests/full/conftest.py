"""What is tested here needs a full kernel. Where this one lacks something, nothing is run, not even what it would do for."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from full import lacking


def pytest_configure():
    if os.geteuid():
        pytest.exit("NOT TESTED: tests/full needs root", returncode=4)
    if found := lacking():
        pytest.exit(
            f"NOT TESTED: {'; '.join(found)}. Run 'make test-full', or 'tools/full pytest tests/full'", returncode=4
        )

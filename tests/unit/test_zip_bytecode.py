# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab hosts' kept bytecode: the same modules, compiled once."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROGRAM = Path("roles/lab/files/zip_bytecode.py").absolute()
IMPORT = """
import builtins, sys, zipimport
sys.path.insert(0, sys.argv[1])
import zip_bytecode
zip_bytecode.KEPT = sys.argv[2]
compiled = []
real = zip_bytecode._compile_source
zip_bytecode._compile_source = lambda pathname, source: compiled.append(pathname) or real(pathname, source)
sys.path.insert(0, sys.argv[3])
import kept
print(kept.value(), len(compiled), kept.value.__code__.co_filename)
"""


def told(kept, archive):
    command = [sys.executable, "-c", IMPORT, str(PROGRAM.parent), str(kept), str(archive)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def archive_of(path, value):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kept.py", f"def value():\n    return {value}\n")
    return path


def test_a_module_is_compiled_once(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    one, same, other = (archive_of(tmp_path / f"{name}.zip", value) for name, value in (("a", 1), ("b", 1), ("c", 2)))
    assert told(kept, one) == ["1", "1", f"{one}/kept.py"]
    assert told(kept, same) == ["1", "0", f"{same}/kept.py"]  # a traceback names the file that was imported
    assert told(kept, other) == ["2", "1", f"{other}/kept.py"]
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"\x00", b"junk", b"N"])
def test_a_damaged_file_is_made_anew(tmp_path, content):
    kept = tmp_path / "kept"
    kept.mkdir()
    archive = archive_of(tmp_path / "a.zip", 1)
    told(kept, archive)
    (file,) = kept.iterdir()
    file.write_bytes(content)
    assert told(kept, archive)[:2] == ["1", "1"]
    assert told(kept, archive)[:2] == ["1", "0"]


def test_without_a_directory_it_is_compiled_as_ever(tmp_path):
    assert told(tmp_path / "absent", archive_of(tmp_path / "a.zip", 1))[0] == "1"

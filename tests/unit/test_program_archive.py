# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for hosts: what goes into its archive, and how it is installed, kept and removed."""

import hashlib
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import program as resource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import converge
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import program as adapter
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import InputError
from ansible_collections.vtep.fabric.plugins.plugin_utils import program_archive

ROOT = Path(__file__).parents[2]

SOURCE = {
    "__init__.py": "",
    "_model/__init__.py": "",
    "_model/errors.py": "class Fault(Exception):\n    pass\n",
    "_model/unused.py": "raise SystemError\n",
    "_model/late.py": "WORD = 'late'\n",
    "_kernel/__init__.py": "from .names import NAME\n",
    "_kernel/names.py": "NAME = 'kernel'\n",
    "_tool/__init__.py": "",
    "_tool/hello.py": """
from .. import _kernel
from .._kernel import NAME
from .._model.errors import Fault
from . import shared

def main(arguments):
    from .._model import late
    print("hello", shared.WORD, NAME, late.WORD, *arguments)
    return 3
""",
    "_tool/shared.py": "import sys\nWORD = 'shared'\n",
    "_tool/other.py": "def main(arguments):\n    print('other')\n    return 0\n",
}
COMMANDS = {"hello": "_tool.hello", "other": "_tool.other"}
PACKED = [
    "__main__.py", "vtep_fabric/__init__.py", "vtep_fabric/_kernel/__init__.py", "vtep_fabric/_kernel/names.py",
    "vtep_fabric/_model/__init__.py", "vtep_fabric/_model/errors.py", "vtep_fabric/_model/late.py",
    "vtep_fabric/_tool/__init__.py", "vtep_fabric/_tool/hello.py", "vtep_fabric/_tool/other.py",
    "vtep_fabric/_tool/shared.py",
]  # fmt: skip


@pytest.fixture
def collection(tmp_path):
    """A collection of its own, as a checkout."""
    root = tmp_path / "collection"
    for name, text in SOURCE.items():
        path = root / "plugins" / "module_utils" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "galaxy.yml").write_text("version: 1.2.3\n")
    return root


@pytest.fixture(scope="module")
def vxfld():
    """The commands of role vxfld, and their archive."""
    commands = yaml.safe_load((ROOT / "roles" / "vxfld" / "vars" / "main.yml").read_text())["vxfld_commands"]
    return commands, program_archive.build(commands)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose /usr/local is elsewhere."""
    monkeypatch.setattr(adapter, "ARCHIVES", tmp_path / "lib" / "vtep.fabric")
    monkeypatch.setattr(adapter, "COMMANDS", tmp_path / "sbin")
    (tmp_path / "lib").mkdir()
    return tmp_path


def task(archive, checking=False, commands=None, state="present", send=True):
    """What the module does, and with it the action plugin: the first call tells whether the archive has to be sent."""
    src = adapter.ARCHIVES.parent / "sent"
    src.write_bytes(archive)
    params = {
        "name": "tool", "commands": COMMANDS if commands is None else commands, "state": state,
        "sha256": hashlib.sha256(archive).hexdigest(), "version": "1.2.3", "src": None,
    }  # fmt: skip
    found = converge(resource.Program(), params, checking)
    if found.result["waiting"] and not checking and send:
        found = converge(resource.Program(), {**params, "src": str(src)}, checking)
    return found


def tree(path):
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.name != "sent")


def test_holds_what_the_commands_import_and_nothing_else(collection):
    with zipfile.ZipFile(BytesIO(program_archive.build(COMMANDS, collection))) as archive:
        assert archive.namelist() == PACKED
        assert archive.comment == b"1.2.3"
        assert archive.testzip() is None
    with zipfile.ZipFile(BytesIO(program_archive.build({"other": "_tool.other"}, collection))) as archive:
        assert archive.namelist() == [
            PACKED[0],
            PACKED[1],
            *[name for name in PACKED if "_tool/__init" in name or "other" in name],
        ]


def test_the_same_source_gives_the_same_bytes(collection):
    first = program_archive.build(COMMANDS, collection)
    for path in collection.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    again = program_archive.build(dict(reversed(COMMANDS.items())), collection)
    assert first == again
    (collection / "plugins/module_utils/_tool/shared.py").write_text("WORD = 'else'\n")
    assert program_archive.build(COMMANDS, collection) != first


def test_the_version_of_an_installed_collection(collection):
    (collection / "galaxy.yml").unlink()
    (collection / "MANIFEST.json").write_text('{"collection_info": {"version": "4.5.6"}}')
    assert program_archive.version(collection) == "4.5.6"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from ansible.module_utils.basic import AnsibleModule\n", "other.py:1 imports ansible.module_utils.basic"),
        ("import sys\nimport ansible_collections.x\n", "other.py:2 imports ansible_collections.x"),
        ("from .missing import x\n", "other.py wants the module _tool.missing, which is not below"),
        ("from .._nowhere import x\n", "other.py wants the module _nowhere, which is not below"),
    ],
)
def test_what_a_host_does_not_have_is_named(collection, text, words):
    (collection / "plugins/module_utils/_tool/other.py").write_text(text)
    with pytest.raises(program_archive.ArchiveError) as refused:
        program_archive.build(COMMANDS, collection)
    assert words in str(refused.value)


def test_a_command_that_is_no_module_is_named(collection):
    with pytest.raises(program_archive.ArchiveError, match="a command wants the module _tool.nothing"):
        program_archive.build({"x": "_tool.nothing"}, collection)


def test_commands_run_by_their_names_and_write_nothing(collection, host):
    task(program_archive.build(COMMANDS, collection))
    before = tree(host)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(host), "PYTHONPYCACHEPREFIX": str(host / "cache")}
    (host / "json.py").write_text("raise SystemError('the directory of a caller is not searched')\n")
    for command, code, said in (("hello", 3, "hello shared kernel late -x y\n"), ("other", 0, "other\n")):
        done = subprocess.run(
            [host / "sbin" / command, "-x", "y"], cwd=host, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode) == (said, code), done.stderr
    done = subprocess.run([adapter.path("tool")], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "call this program by one of its commands: hello, other" in done.stderr
    (host / "json.py").unlink()
    assert tree(host) == before


def test_installed_kept_replaced_and_removed(collection, host):
    archive = program_archive.build(COMMANDS, collection)
    digest = hashlib.sha256(archive).hexdigest()
    path = f"{host}/lib/vtep.fabric/tool.pyz"
    predicted = task(archive, checking=True)
    assert tree(host / "lib") == [] and not (host / "sbin").exists()
    done = task(archive)
    assert (predicted.changed, predicted.before, predicted.after) == (True, "", done.after)
    assert done.after.splitlines() == [
        f"{host}/sbin/hello -> {path}", f"{host}/sbin/other -> {path}", f"{path}: version 1.2.3, SHA-256 {digest}"
    ]  # fmt: skip
    assert done.result == {"path": path, "sha256": digest, "version": "1.2.3", "waiting": False}
    assert Path(path).read_bytes() == archive and Path(path).stat().st_mode & 0o7777 == 0o755
    assert tree(host / "sbin") == ["hello", "other"]
    inode = Path(path).stat().st_ino

    again = task(archive)
    assert not again.changed and again.before == again.after and Path(path).stat().st_ino == inode

    (collection / "plugins/module_utils/_tool/shared.py").write_text("WORD = 'else'\n")
    other = program_archive.build(COMMANDS, collection)
    assert task(other, checking=True).before == done.after and Path(path).read_bytes() == archive
    replaced = task(other, commands={"hello": "_tool.hello"})
    assert replaced.changed and Path(path).read_bytes() == other and tree(host / "sbin") == ["hello"]

    gone = task(b"", checking=True, state="absent")
    assert gone.changed and gone.after == "" and Path(path).exists()
    (host / "sbin" / "neighbour").symlink_to("/nowhere")
    assert task(b"", state="absent").before == replaced.after
    assert tree(host / "sbin") == ["neighbour"] and tree(host / "lib") == []
    assert not task(b"", state="absent").changed


def test_another_program_beside_it_stays(collection, host):
    task(program_archive.build(COMMANDS, collection))
    (adapter.ARCHIVES / "agent.pyz").write_text("")
    task(b"", state="absent")
    assert tree(host / "lib") == ["vtep.fabric", "vtep.fabric/agent.pyz"]


def test_nothing_is_done_before_the_archive_is_there(collection, host):
    found = task(program_archive.build(COMMANDS, collection), send=False)
    assert found.result["waiting"] and tree(host / "lib") == [] and not (host / "sbin").exists()


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o777), lambda path: path.write_bytes(b"no archive")])
def test_a_spoilt_archive_is_mended(collection, host, spoil):
    archive = program_archive.build(COMMANDS, collection)
    task(archive)
    spoil(adapter.path("tool"))
    mended = task(archive)
    assert mended.changed and mended.before != mended.after
    assert adapter.path("tool").read_bytes() == archive and adapter.path("tool").stat().st_mode & 0o7777 == 0o755


def test_a_link_in_its_place_is_replaced_and_not_what_it_leads_to(collection, host):
    adapter.ARCHIVES.mkdir()
    (host / "theirs").write_text("theirs")
    adapter.path("tool").symlink_to(host / "theirs")
    task(program_archive.build(COMMANDS, collection))
    assert (host / "theirs").read_text() == "theirs" and not adapter.path("tool").is_symlink()


def test_commands_of_others_stay_and_are_named(collection, host):
    (host / "sbin").mkdir()
    (host / "sbin" / "hello").write_text("theirs")
    (host / "sbin" / "other").symlink_to("/usr/sbin/other")
    with pytest.raises(InputError) as refused:
        task(program_archive.build(COMMANDS, collection))
    assert refused.value.faults == [
        f"{host}/sbin/{name} is there and is not a link to tool; move it away" for name in ("hello", "other")
    ]
    assert tree(host / "lib") == []
    assert not task(b"", state="absent").changed
    assert tree(host / "sbin") == ["hello", "other"]


def test_every_fault_is_told(host):
    params = {"name": "../x", "commands": {"/bin/sh": "_tool.x", "ok": "os.system('x')"}, "state": "present",
              "sha256": None, "version": None, "src": None}  # fmt: skip
    with pytest.raises(InputError) as refused:
        converge(resource.Program(), params, True)
    told = "\n".join(refused.value.faults)
    for words in ("name: '../x'", "commands: '/bin/sh'", "commands: ok: \"os.system('x')\"", "sha256: missing"):
        assert words in told
    with pytest.raises(InputError, match="name: 'X'"):
        converge(resource.Program(), {**params, "name": "X", "state": "absent"}, True)


def test_the_commands_of_vxfld_need_python_only(vxfld, host):
    """They run without site-packages, as on a host that has Python alone, and leave nothing behind."""
    commands, archive = vxfld
    task(archive, commands=commands)
    before = tree(host)
    assert sorted(before)[-4:] == ["sbin/vxrd", "sbin/vxrdctl", "sbin/vxsnd", "sbin/vxsndctl"]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-I", "-S", host / "sbin" / command, "--help"],
            env={"PATH": os.environ["PATH"]}, cwd=host, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {command} ")
    assert tree(host) == before


def test_vxfld_holds_nothing_of_the_controller(vxfld):
    _commands, archive = vxfld
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        layers = {name.split("/")[1] for name in opened.namelist() if name.count("/") > 1}
        sources = {name: opened.read(name).decode() for name in opened.namelist()}
    assert layers == {"_kernel", "_model", "_service", "_vxfld"}
    for name, text in sources.items():
        compile(text, name, "exec", dont_inherit=True)
        assert not any(
            line.split()[:1] in (["import"], ["from"]) and "ansible" in line for line in text.splitlines()
        ), name

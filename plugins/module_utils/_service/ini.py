# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemons' INI files: what Python 2's ConfigParser took, since vxfld's administrators have such, with the line of each value.

Options in any case, `:` or `=`, continuation lines, comments by `#`, `;` and `rem`, and ` ;` within a line. Sections may come
more than once; the last value of a key wins.
"""

from __future__ import annotations

import re
from collections import namedtuple

LONGEST = 1 << 20  # octets of a file; what is longer is no configuration

Value = namedtuple("Value", "section key text line last")  # last: the last line of a value that is continued

_SECTION = re.compile(r"\[([^]]+)\]")
_OPTION = re.compile(r"([^:=\s][^:=]*?)\s*[:=]\s*(.*)")
_REMARK = re.compile(r"\s+;.*")


def read(path):
    """(list of Value in the file's order, faults). A file that is not there is an empty one."""
    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path}: {error.strerror}; make it a file that this program may read"]
    if len(data) > LONGEST:
        return [], [f"{path}: is longer than {LONGEST} octets; a configuration file is short"]
    return parse(path, data.decode("utf-8-sig", "replace"))


def parse(path, text):
    found, faults = [], []
    section, open_value = None, False
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split(None, 1)
        if not words or words[0][0] in "#;" or (words[0].lower() == "rem" and not line[0].isspace()):
            continue
        if line[0].isspace() and open_value:
            before = found.pop()
            found.append(before._replace(text=f"{before.text}\n{_bare(line)}".strip(), last=number))
            continue
        header = _SECTION.match(line.strip())
        if header:
            section, open_value = header.group(1), False
            continue
        option = _OPTION.match(line.strip())
        open_value = bool(option and section)
        if open_value:
            found.append(Value(section, option.group(1).lower(), _bare(option.group(2)), number, number))
        elif option:
            faults.append(f"{path}:{number}: {line.strip()!r} is in no section; write a line such as [common] above it")
        else:
            faults.append(f"{path}:{number}: {line.strip()!r} is not understood; write it as `key = value`")
    return found, faults


def _bare(text):
    """A value without the remark behind it; two quotes stand for nothing."""
    found = _REMARK.sub("", " " + text).strip()
    return "" if found == '""' else found

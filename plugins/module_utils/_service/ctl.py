# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands that ask a daemon share: options, the daemon's socket, and how faults and wrong usage are told."""

from __future__ import annotations

import argparse
import json
import sys
from collections import namedtuple

from .._model.errors import FabricError
from . import ini
from .ask import ask

# Where a daemon is found: its configuration, the sections of it that may name the socket, and the socket if they do not.
Place = namedtuple("Place", "config sections socket")


class Usage(Exception):
    """Wrong usage: told on standard error with the synopsis, exit code 2."""


class Asking:
    """One run of a command: its options, and its daemon."""

    def __init__(self, place, options):
        self.options = options
        self.json = options.json
        self._place = place

    @property
    def path(self):
        return self.options.uds_file or udsfile(self.options.config, self._place)

    def ask(self, command, **arguments):
        return ask(self.path, command, arguments)

    def print(self, result, text):
        """The result as JSON with -j, else what `text` makes of it."""
        say(compact(result) if self.json else text(result).rstrip("\n"))


def compact(result):
    return json.dumps(result, sort_keys=True)


def pretty(result):
    """As `get config` prints it, with and without -j."""
    return json.dumps(result, indent=4, sort_keys=True)


def udsfile(config, place):
    """The socket that a daemon's configuration names. Faults of the file are the daemon's to tell."""
    found = place.socket
    for name in (config, f"{config}.override"):
        for value in ini.read(name)[0]:
            if value.key == "udsfile" and value.section in (*place.sections, "DEFAULT") and value.text:
                found = value.text
    return found


def main(program, place, description, epilog, run, argv, options=None):
    """Run a command: `run(asking, words)` does it, and raises Usage or FabricError. Returns the exit code, which `run` may name.

    options: {flag: its help}, for asking.options.
    """
    parser = argparse.ArgumentParser(
        program,
        usage=f"{program} [-j] [-u UDS_FILE | -c FILE] COMMAND ...",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="see below; without one, this help is printed")
    parser.add_argument("-j", "--json", action="store_true", help="print JSON")
    parser.add_argument("-u", "--uds-file", metavar="UDS_FILE", help="the daemon's socket; wins over -c")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=place.config,
        help="the daemon's configuration, which names its socket (%(default)s)",
    )
    for flag, words in (options or {}).items():
        parser.add_argument(flag, action="store_true", help=words)
    given = parser.parse_intermixed_args(argv)
    if not given.words:
        parser.print_help()
        return 0
    code = None
    try:
        code = run(Asking(place, given), given.words)
        sys.stdout.flush()
    except Usage as error:
        complain(f"{parser.format_usage()}{program}: {error}\nMore with: {program} -h")
        return 2
    except FabricError as error:
        for fault in getattr(error, "faults", [error]):
            complain(f"{program}: {fault}")
        return 1
    except BrokenPipeError:  # whoever reads has seen enough, such as head(1)
        sys.stderr.close()
        return 0
    return code or 0


def most(words, number, synopsis):
    """Refuse more words than a command takes."""
    if len(words) > number:
        raise Usage(f"{' '.join(words[number:])!r} is too much; write {synopsis}")


def vni(text):
    """A VNI as a whole number."""
    if not (text.isascii() and text.isdigit()) or int(text) > 0xFFFFFF:
        raise Usage(f"{text!r} is not a VNI; write 0 to 16777215")
    return int(text)


def say(words):
    sys.stdout.write(f"{words}\n")


def complain(words):
    sys.stderr.write(f"{words}\n")

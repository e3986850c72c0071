# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs commands inside a guest of tools/full.py: one connection is one command.

The connection begins with a line of JSON: argv, cwd, environment, and the terminal's size or null. Frames follow in both
directions, see read_frame(). To the command go `i`, its input, empty at the end; `s`, a signal's number; `w`, the terminal's new
size. Back come `o` and `e`, its two outputs, and at last `x`, its exit status.
"""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socketserver
import struct
import subprocess
import termios
import threading

PORT = 7
HEADER = struct.Struct("!cI")
READY = "the guest is ready"


def read_frame(stream):
    """(kind, payload) of the next frame, or (b"", b"") where the connection ended."""
    head = read_whole(stream, HEADER.size)
    if len(head) < HEADER.size:
        return b"", b""
    kind, size = HEADER.unpack(head)
    return kind, read_whole(stream, size)


def read_whole(stream, size):
    """So many bytes, or fewer at the end; a stream without a buffer gives what there is."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def frame(kind, payload):
    return HEADER.pack(kind, len(payload)) + payload


class Command(socketserver.StreamRequestHandler):
    def handle(self):
        asked = json.loads(self.rfile.readline())
        self.sending = threading.Lock()
        # Commands run in the guest's own network namespace; this program is in another.
        argv = ["nsenter", "--net=/proc/1/ns/net", "--", *asked["argv"]]
        common = {"cwd": asked["cwd"], "env": asked["environment"]}
        if asked["terminal"]:
            self.terminal, theirs = pty.openpty()
            self.resize(asked["terminal"])
            # setsid makes the terminal the command's own.
            self.process = subprocess.Popen(
                ["setsid", "--ctty", *argv], stdin=theirs, stdout=theirs, stderr=theirs, **common
            )
            os.close(theirs)
            outputs = {b"o": self.terminal}
            self.input = os.fdopen(os.dup(self.terminal), "wb", buffering=0)
        else:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                            bufsize=0, start_new_session=True, **common)  # fmt: skip
            outputs = {b"o": self.process.stdout.fileno(), b"e": self.process.stderr.fileno()}
            self.input = self.process.stdin
        pumps = [threading.Thread(target=self.pump, args=pair, daemon=True) for pair in outputs.items()]
        threading.Thread(target=self.obey, daemon=True).start()
        for pump in pumps:
            pump.start()
        self.process.wait()
        for pump in pumps:
            pump.join(1)  # what the command left in the background may keep its output open
        self.send(b"x", struct.pack("!i", self.process.returncode))

    def pump(self, kind, descriptor):
        with contextlib.suppress(OSError):  # a terminal ends with an error
            while data := os.read(descriptor, 65536):
                self.send(kind, data)

    def send(self, kind, payload):
        with self.sending, contextlib.suppress(OSError):
            self.request.sendall(frame(kind, payload))

    def obey(self):
        while True:
            kind, payload = read_frame(self.rfile)
            if kind == b"i" and payload:
                with contextlib.suppress(OSError):
                    self.input.write(payload)
            elif kind == b"i":
                with contextlib.suppress(OSError):
                    self.input.close()
            elif kind == b"s":
                self.kill(int(payload))
            elif kind == b"w":
                self.resize(json.loads(payload))
            else:
                # Who asked for the command is gone.
                self.kill(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(10)
                self.kill(signal.SIGKILL)
                return

    def kill(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def resize(self, size):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    with Server(("169.254.0.2", PORT), Command) as server:
        print(READY, flush=True)
        server.serve_forever()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole Ethernet frames out of a device, by a packet socket (packet(7))."""

from __future__ import annotations

import errno as errnos
import fcntl
import socket
import struct
import time

from .._model.errors import InputError, KernelError, MissingError

SIOCGIFFLAGS, IFF_UP = 0x8913, 1  # linux/sockios.h, linux/if.h
ETHERNET = 1  # ARPHRD_ETHER in linux/if_arp.h
STUCK = 10  # seconds that a port may take no frame at all
# A full queue refuses a frame (ENOBUFS) and is to be asked again later: so many times, and seconds in between.
TRIES, PAUSE = 1000, 0.01


class Ports:
    """Sockets that send out of the named devices and receive nothing. Raises InputError with each that cannot."""

    def __init__(self, names):
        self.sockets = {}
        faults = []
        try:
            for name in names:
                self.sockets[name] = one = _socket()
                faults += [f"ports: {name} {fault}" for fault in _bind(one, name)]
            if faults:
                raise InputError(faults)
        except BaseException:
            self.close()
            raise

    def close(self):
        for one in self.sockets.values():
            one.close()

    def mac(self, name):
        """A port's own MAC address, packed."""
        return self.sockets[name].getsockname()[4]

    def send(self, name, frames):
        send = self.sockets[name].send
        for frame in frames:
            try:
                send(frame)
            except OSError as error:
                _again(send, frame, name, error)


def _again(send, frame, name, error):
    for _attempt in range(TRIES):
        if error.errno != errnos.ENOBUFS:
            break
        time.sleep(PAUSE)
        try:
            send(frame)
            return
        except OSError as later:
            error = later
    raise KernelError(f"send out of {name}", error.errno) from None


def _socket():
    try:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: nothing is received
    except OSError as error:
        if error.errno == errnos.EAFNOSUPPORT:
            raise MissingError("the kernel has no packet sockets", "CONFIG_PACKET") from None
        raise KernelError("open a packet socket", error.errno) from None
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", STUCK, 0))
    return one


def _bind(one, name):
    """Why a device cannot send, if so."""
    try:
        one.bind((name, 0))
    except OSError as error:
        if error.errno != errnos.ENODEV:
            raise KernelError(f"send out of {name}", error.errno) from None
        return ["does not exist"]
    if one.getsockname()[3] != ETHERNET:
        return ["is no Ethernet device"]
    request = struct.pack("16sH14x", name.encode(), 0)
    flags = struct.unpack_from("16xH", fcntl.ioctl(one, SIOCGIFFLAGS, request))[0]
    return [] if flags & IFF_UP else ["is down; set it up first"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write IPsec states and policies by netlink, in bulk, and ask the kernel what it has for them."""

from __future__ import annotations

import contextlib
import errno as errnos
import os
from itertools import chain

from .._model.errors import FabricError, KernelError, MissingError
from .._model.xfrm import ALGORITHMS, CREATE, DELETE, POLICY, REPLACE, SPI_MIN, STATE, Seen, Shape, State
from . import codec, rtnl
from .probe import NOBODY
from .table import NUMBERS, Tables, steady
from .xfrm_messages import (
    CODES,
    DELPOLICY,
    DELSA,
    GETPOLICY,
    GETSA,
    HEAD,
    NEWPOLICY,
    NEWSA,
    P_SIZE,
    SA_SIZE,
    UPDPOLICY,
    UPDSA,
    free_index,
    key_digest,
    key_hidden,
    policy_body,
    policy_index,
    policy_told,
    state_body,
    state_key,
    state_key_in,
    state_meets,
    state_told,
)

NETLINK_XFRM = 6


class Xfrm(Tables):
    """The IPsec states and policies of this network namespace."""

    @property
    def socket(self):
        if not self._socket:
            self._socket = _socket()
        return self._socket

    def look(self, wanted, purge, compare=True):
        """What there is of the wanted rows. purge: tell own rows that nobody wants. compare: tell those that differ by how."""
        seen = Seen()
        rows = wanted.rows()
        self._look(STATE, wanted.states, 0, purge, compare, seen)
        self._look(POLICY, wanted.policies, len(wanted.states), purge, compare, seen)
        there = {i for i, _found, _how in seen.different}.union(seen.same)
        seen.missing = [i for i in range(len(rows)) if i not in there]
        return seen

    def _look(self, kind, wanted, base, purge, compare, seen):
        if not wanted and not purge:
            return
        codes = CODES[kind]
        at = {}
        for i, row in enumerate(wanted, base):
            at.setdefault(codes.key(row), []).append((i, row))
        for data, start, end in self.dump(kind):
            key = codes.key_in(data, start)
            if key not in at:
                if purge and codes.owned(data, start):
                    seen.strangers.append(codes.found(data, start, end))
                continue
            met = [(i, row) for i, row in at[key] if codes.meets(row, data, start, end)]
            for i, row in met:
                how = codes.difference(row, data, start, end) if compare and codes.owned(data, start) else ""
                if how is None:
                    seen.same.append(i)
                else:
                    seen.different.append((i, codes.found(data, start, end), how))
            if not met and purge and codes.owned(data, start):
                seen.strangers.append(codes.found(data, start, end))

    def dump(self, kind):
        """(data, start, end) of each state's or policy's message."""
        what = {STATE: "states", POLICY: "policies"}[kind]
        return steady(what, lambda: self._dump(kind, what))

    def _dump(self, kind, what):
        request, reply, least = {STATE: (GETSA, NEWSA, SA_SIZE), POLICY: (GETPOLICY, NEWPOLICY, P_SIZE)}[kind]
        found = []
        with _rights(what):
            for data, _stride in self.socket.dump(request, b"", f"{what} of IPsec"):
                for got, _flags, _seq, start, end in codec.messages(data):
                    if got == reply and end - start >= HEAD + least:
                        found.append((data, start, end))
        return found

    def digests(self):
        """Of the keys of all states whose ciphers are of a counter mode. None where the kernel hides keys."""
        rows = list(self.dump(STATE))
        return None if any(key_hidden(*row) for row in rows) else {key_digest(*row) for row in rows}

    def indices(self):
        """The indices of all policies."""
        return {policy_index(data, start) for data, start, _end in self.dump(POLICY)}

    def check(self, states):
        """Raises MissingError for what the kernel lacks that these states need: it makes a state whole before it looks for the one that is
        to be replaced (xfrm_add_sa), and of those that it is asked for there is none."""
        kinds = {}
        for state in states:
            shape = state.shape
            kinds.setdefault(
                (len(state.dst), shape.mode, shape.algorithm, len(state.key), shape.encap is not None, shape.esn), state
            )
        for (size, _mode, algorithm, _length, encap, _esn), state in kinds.items():
            nobody = NOBODY[size]
            errno, text = self._tried(state._replace(src=nobody, dst=nobody))
            if errno:
                raise _missing(6 if size == 16 else 4, ALGORITHMS[algorithm], encap, errno, text)

    def _tried(self, state):
        """(errno, the kernel's words) of making a state, (0, None) where the kernel can."""
        errno, text = self._replaced(state)
        if errno in (errnos.ENOSYS, errnos.ENOENT):
            # An algorithm is missed before ESP is. With one that nearly all kernels have, ESP itself is.
            plain = Shape("transport", "aes-cbc-sha256", None)
            without = self._replaced(State(state.src, state.dst, SPI_MIN, plain, None, bytes(16), bytes(32)))
            if without[0] == errnos.EPROTONOSUPPORT:
                return without
        return errno, text

    def _replaced(self, state):
        try:
            with _rights("states of IPsec"):
                self.socket.request(UPDSA, state_body(state), "a state of IPsec")
        except KernelError as error:
            if error.errno == errnos.EPERM:
                raise
            return (0 if error.errno == errnos.ESRCH else error.errno), error.text
        raise FabricError(f"there was a {state!r}, with an address that no host can have, and it was replaced")

    def write(self, operation):
        """Carry an operation out."""
        with _rights(f"{operation.kind} states and policies"):
            self._write(operation)

    def _write(self, operation):
        rows, kind = operation.rows, operation.kind
        taken = self.indices() if kind == CREATE and any(row.kind == POLICY for row in rows) else None
        for at in range(0, len(rows), rtnl.BATCH):
            some = rows[at : at + rtnl.BATCH]
            framed = [_framed(number, *_request(kind, row, taken)) for number, row in zip(NUMBERS, some)]
            payload = b"".join(chain.from_iterable(framed))
            spared = self.send(f"xfrm {kind}", payload, lambda i, some=some: some[i].text(), _tolerated(kind, some))
            if kind == CREATE and spared:
                self._fill([some[i] for i in spared])

    def _fill(self, states):
        """Make states whose places larval ones have: what XFRM_MSG_UPDSA brings goes in the place of such a one (xfrm_state_update)."""
        at = {}
        for data, start, end in self.dump(STATE):
            at.setdefault(state_key_in(data, start), []).append((data, start, end))
        for state in states:
            what = f"xfrm {CREATE} {state.text()}"
            if any(state_meets(state, *found) for found in at.get(state_key(state), ())):
                raise KernelError(what, errnos.EEXIST)
            try:
                self.socket.request(UPDSA, state_body(state), what)
            except KernelError as error:
                if error.errno != errnos.ESRCH:
                    raise
                self.socket.request(NEWSA, state_body(state), what)  # the larval one has expired

    def told(self, kind):
        """What there is, as data without keys."""
        tell = {STATE: state_told, POLICY: policy_told}[kind]
        return [tell(data, start, end) for data, start, end in self.dump(kind)]


def _socket():
    try:
        return rtnl.Rtnl(protocol=NETLINK_XFRM)
    except OSError as error:
        if error.errno in (errnos.EPROTONOSUPPORT, errnos.ESOCKTNOSUPPORT, errnos.EAFNOSUPPORT):
            raise MissingError("kernel has no netlink for IPsec", "CONFIG_XFRM_USER") from None
        raise


@contextlib.contextmanager
def _rights(what):
    """Says what rights a refused request wants."""
    try:
        yield
    except KernelError as error:
        if error.errno != errnos.EPERM:
            raise
        text = f"{os.strerror(errnos.EPERM)}: it takes CAP_NET_ADMIN (become: true)"
        raise KernelError(what, errnos.EPERM, text) from None


def _request(kind, row, taken):
    """(message type, body). taken: the indices that policies have; that of a new one is added."""
    if kind == DELETE:
        return (DELSA if row.kind == STATE else DELPOLICY), row.message
    if row.kind == STATE:
        return NEWSA, state_body(row)
    if kind == REPLACE:  # the kernel keeps the index of a policy that it replaces
        return UPDPOLICY, policy_body(row)
    index = free_index(row.dir, taken)
    taken.add(index)
    return NEWPOLICY, policy_body(row, index)


def _tolerated(kind, rows):
    """Errors that are not the end."""
    if kind == DELETE:
        return errnos.ESRCH, errnos.ENOENT  # what is to go and is gone already is as it should be
    return (errnos.EEXIST,) if kind == CREATE and rows[0].kind == STATE else ()  # it may be a larval state's


def _framed(number, kind, body):
    """The pieces of a message with that number, in bytes."""
    head = codec.HEADER.pack(HEAD + len(body), kind, codec.NLM_F_REQUEST, 0, 0)
    return head[:8], number, head[12:], body


def _missing(family, algorithm, encap, errno, text):
    esp = {4: "CONFIG_INET_ESP", 6: "CONFIG_INET6_ESP"}[family]
    cbc = "CONFIG_CRYPTO_CBC, CONFIG_CRYPTO_AES, CONFIG_CRYPTO_HMAC and CONFIG_CRYPTO_SHA"
    crypto = {
        "aes-gcm": "CONFIG_CRYPTO_GCM and CONFIG_CRYPTO_AES",
        "chacha20-poly1305": "CONFIG_CRYPTO_CHACHA20POLY1305",
        "aes-cbc-sha256": f"{cbc}256",
        "aes-cbc-sha384": f"{cbc}512",
        "aes-cbc-sha512": f"{cbc}512",
    }[algorithm.name]
    if errno == errnos.EPROTONOSUPPORT:
        return MissingError(f"kernel has no ESP for IPv{family}", esp)
    if errno in (errnos.ENOSYS, errnos.ENOENT):
        return MissingError(f"kernel has no {algorithm.kernel} for ESP, or no ESP", f"{crypto}, {esp}")
    if encap and family == 6 and errno == errnos.EINVAL:
        return MissingError("kernel has no ESP in UDP over IPv6", "Linux 5.8 with CONFIG_INET6_ESP")
    return KernelError(f"a state with {algorithm.kernel} over IPv{family}, as a try", errno, text)

# SPDX-License-Identifier: GPL-3.0-or-later
"""How states are written, with a kernel of words."""

import errno

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, xfrm
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import xfrm_messages as messages
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import KernelError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_lines import from_table

STATES = from_table(
    "".join(
        f"state src ::1 dst ::2 proto esp spi {256 + i} mode transport dir in aead rfc4106(gcm(aes)) 0x{i + 1:040x} 128\n"
        for i in range(2)
    )
).states


class Kernel:
    """Has larval states, or others, in the places of STATES: {SPI: attributes}."""

    def __init__(self, there):
        self.there, self.asked = there, []

    def batch(self, payload):
        for kind, _flags, seq, start, _end in codec.messages(payload):
            spi = int.from_bytes(payload[start + 72 + 16 : start + 72 + 20], "big")
            self.asked.append((kind, spi))
            if spi in self.there:
                number = (-errno.EEXIST).to_bytes(4, "little", signed=True)
                yield codec.message(codec.NLMSG_ERROR, 0, seq, number + payload[start : start + 16])

    def dump(self, kind, body, what):
        for spi, attributes in self.there.items():
            told = bytearray(messages.state_body(STATES[0]._replace(spi=spi))[: messages.SA_SIZE])
            told[messages.SEQ_AT + 3] = 0  # nobody's mark
            yield codec.message(messages.NEWSA, 2, 1, bytes(told) + attributes), 0

    def request(self, kind, body, what, flags=0):
        spi = int.from_bytes(body[72:76], "big")
        self.asked.append((kind, spi))
        if kind == messages.UPDSA and self.there.pop(spi) == EXPIRED:
            raise KernelError(what, errno.ESRCH)


LARVAL = codec.attribute(messages.REPLAY_VAL, bytes(12))
EXPIRED = codec.attribute(messages.REPLAY_VAL, b"1" * 12)
THEIRS = codec.attribute(messages.AEAD, bytes(92))


def written(there):
    made = xfrm.Xfrm()
    made._socket = Kernel(there)
    made.write(model.Operation(model.CREATE, STATES))
    return made._socket.asked


def test_a_state_takes_the_place_of_a_larval_one():
    new = [(messages.NEWSA, 256), (messages.NEWSA, 257)]
    assert written({}) == new
    assert written({257: LARVAL}) == [*new, (messages.UPDSA, 257)]
    assert written({256: EXPIRED}) == [*new, (messages.UPDSA, 256), (messages.NEWSA, 256)]


def test_a_state_takes_no_place_of_anothers():
    with pytest.raises(KernelError, match="xfrm create state .* spi 0x101 .*File exists"):
        written({257: THEIRS})


def test_a_larval_state_is_seen_as_nothing():
    made = xfrm.Xfrm()
    made._socket = Kernel({256: LARVAL, 257: THEIRS})
    seen = made.look(model.Wanted(STATES), True)
    assert (seen.missing, [i for i, _found, _how in seen.different]) == ([0], [1])

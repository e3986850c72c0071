# SPDX-License-Identifier: GPL-3.0-or-later
"""How states are written, with a kernel of words."""

import errno
import socket

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm as resource
from ansible_collections.vtep.fabric.plugins.module_utils._ansible import xfrm_keys
from ansible_collections.vtep.fabric.plugins.module_utils._daemons import files
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec, rtnl, xfrm
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import xfrm_messages as messages
from ansible_collections.vtep.fabric.plugins.module_utils._model import xfrm as model
from ansible_collections.vtep.fabric.plugins.module_utils._model.errors import FabricError, KernelError
from ansible_collections.vtep.fabric.plugins.module_utils._model.xfrm_lines import from_table
from ansible_collections.vtep.fabric.plugins.module_utils._plan.xfrm import plan

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


def test_a_batch_that_is_too_long_is_an_error_by_name():
    made = rtnl.Rtnl()
    made.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with pytest.raises(KernelError, match="a batch by netlink: Message too long"):
        list(made.batch(bytes(1 << 16)))
    with pytest.raises(KernelError, match="a dump: Message too long"):
        list(made.dump(0, bytes(1 << 16), "a dump"))
    made.close()


def test_a_socket_has_room_for_a_batch_whatever_the_host_gives_it():
    """net.core.wmem_default may be small."""
    made = rtnl.Rtnl()
    assert made.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 1 << 17
    made.close()
    asked = []
    rtnl.grow(Asked(asked), 7, rtnl.SEND)
    assert asked == [(rtnl.SO_SNDBUFFORCE, 7), (socket.SO_SNDBUF, 7)]


class Asked:
    def __init__(self, asked):
        self.asked = asked

    def setsockopt(self, level, option, value):
        self.asked.append((option, value))
        if option == rtnl.SO_SNDBUFFORCE:
            raise PermissionError


@pytest.mark.parametrize("error", [FabricError("the table keeps changing"), KernelError("a batch", errno.EMSGSIZE)])
def test_whatever_ends_a_run_uses_up_no_key_that_is_not_there(tmp_path, monkeypatch, error):
    monkeypatch.setattr(xfrm_keys, "RECORD", tmp_path / "used-keys")
    out = [state._replace(shape=state.shape._replace(dir="out")) for state in STATES]
    made = resource.XfrmResource()
    made.kernel = Failing(error, {out[0].digest()})
    with pytest.raises(FabricError):
        made.apply(plan(model.Wanted(out), model.Seen(missing=[0, 1])))
    assert xfrm_keys.used() == {out[0].digest()}


class Failing:
    """Its first batch went."""

    def __init__(self, error, there):
        self.error, self.there = error, there

    def write(self, operation):
        raise self.error

    def digests(self):
        return self.there


def test_one_run_at_a_time_has_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(xfrm_keys, "RECORD", tmp_path / "vtep.fabric" / "used-keys")
    monkeypatch.setattr(files, "lock", lambda path, lock=files.lock: lock(path, seconds=0))
    desired = resource.Desired(model.Wanted(), "present", "none", False)
    first, second = resource.XfrmResource(), resource.XfrmResource()
    first.read(desired)
    with pytest.raises(FabricError, match="locked"):
        second.read(desired)
    xfrm_keys.add(["aa"])  # which the first may
    first.close()
    assert second.read(desired)[1] == {"aa"}
    second.close()

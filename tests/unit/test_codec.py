"""The netlink wire format: golden bytes, and bad replies that must end a walk instead of a program."""

import struct
import sys

import pytest
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import codec
from ansible_collections.vtep.fabric.plugins.module_utils._kernel import fdb as kernel
from ansible_collections.vtep.fabric.plugins.module_utils._model import fdb as model
from hypothesis import given
from hypothesis import strategies as st

little = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are of a little-endian machine")
VXLAN = model.Device("vxlan100", 7, "vxlan", vni=100, port=4789, family=6)

# Worked out by hand from linux/netlink.h, rtnetlink.h and neighbour.h: the header with NLM_F_REQUEST and NLM_F_REPLACE,
# ndmsg with AF_BRIDGE, ifindex 7, the marked permanent state, NTF_SELF and NTF_ROUTER, and five attributes.
GOLDEN = bytes.fromhex(
    "54000000 1c000101 00000000 00000000"
    "07000000 07000000 d000 82 00"
    "0a000200 505433000001 0000"
    "14000100 20010db8000200000000000000000001"
    "06000600 12b60000"
    "08000700 c8000000"
    "08000b00 07000000"
)


class Wire:
    """A socket that keeps what is sent and answers nothing."""

    def __init__(self):
        self.sent = []

    def batch(self, payload):
        self.sent.append(payload)
        return []

    def close(self):
        pass


def write(kind, way, macs, keep=None):
    wanted = model.Wanted("vxlan100", "self", [way], macs, [0] * len(macs))
    fdb = kernel.Fdb()
    fdb._socket = Wire()
    fdb.write(model.Operation(kind, wanted, list(range(len(macs))), keep), VXLAN)
    return fdb._socket.sent


@little
def test_a_new_row_in_bytes():
    way = model.Way("vxlan100", dst="2001:db8:2::1", port=4790, vni=200, src_vni=7, router=True)
    (sent,) = write(model.REPLACE, way, [bytes.fromhex("505433000001")])
    assert sent.hex(" ") == GOLDEN.hex(" ")


@little
def test_what_the_device_does_by_itself_is_left_out():
    way = model.Way("vxlan100", dst="192.0.2.1", port=4789, vni=100)
    (sent,) = write(model.CREATE, way, [bytes(6)])
    assert sent.hex() == (
        "30000000 1c000106 00000000 00000000 07000000 07000000 d0000200 0a000200 000000000000 0000 08000100 c0000201"
    ).replace(" ", "")


def test_batches_are_numbered_and_bounded():
    macs = [struct.pack(">Q", i)[2:] for i in range(300)]
    sent = write(model.CREATE, model.Way("vxlan100", dst="192.0.2.1"), macs)
    assert [len(payload) // 48 for payload in sent] == [128, 128, 44]
    for payload in sent:
        numbers = [seq for _kind, _flags, seq, _start, _end in codec.messages(payload)]
        assert numbers == list(range(len(numbers)))
    assert b"".join(sent)[32:38] == macs[0]
    assert sent[-1][-16:-10] == macs[-1]


def test_an_error_carries_the_kernels_words():
    request = codec.message(28, 5, 9, bytes(12))
    text = codec.attribute(codec.NLMSGERR_ATTR_MSG, b"Invalid vni\0")
    for capped in (0, codec.NLM_F_CAPPED):
        copy = request[:16] if capped else request
        flags = codec.NLM_F_ACK_TLVS | capped
        data = codec.message(codec.NLMSG_ERROR, flags, 9, struct.pack("=i", -22) + copy + text)
        ((kind, got, seq, start, end),) = codec.messages(data)
        assert (kind, seq) == (codec.NLMSG_ERROR, 9)
        assert codec.error(data, start, end, got) == (22, "Invalid vni")
    bare = codec.message(codec.NLMSG_ERROR, 0, 9, struct.pack("=i", 0) + request)
    assert codec.error(bare, 0, len(bare), 0) == (0, None)


def test_stride_is_told_only_of_messages_of_one_length_and_type():
    row = codec.message(28, 2, 1, bytes(64))
    assert codec.stride(row * 3) == 80
    assert codec.stride(row + codec.message(28, 2, 1, bytes(60))) == 0
    assert codec.stride(row + codec.message(3, 2, 1, bytes(64))) == 0
    assert codec.stride(row[:-1]) == codec.stride(b"") == codec.stride(bytes(80)) == 0


@given(st.binary(max_size=200))
def test_garbage_does_not_crash(data):
    for kind, flags, _seq, start, end in codec.messages(data):
        assert end <= len(data)
        codec.error(data, start, end, flags)
        codec.attributes(data, start + 16, end)
        assert kind >= 0
    codec.stride(data)


ROW = (
    struct.pack("=BBHiHBB", 7, 0, 0, 7, 0xD0, 2, 1)
    + codec.attribute(2, bytes.fromhex("505433000001"))
    + codec.attribute(1, bytes.fromhex("20010db8000200000000000000000001"))
    + codec.attribute(3, bytes(16))
)


@given(st.data())
def test_a_row_with_broken_bytes_does_not_crash(data):
    body = bytearray(ROW)
    for at in data.draw(st.lists(st.integers(12, len(body) - 1), max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    body = bytes(body[: data.draw(st.integers(0, len(body)))])
    message = codec.message(28, 2, 1, body)
    fdb = kernel.Fdb()
    found = fdb._found(message, 0, len(message), VXLAN)
    told = fdb._told(message, 0, len(message), VXLAN)
    assert (found is None) == (told is None)


def test_unknown_attributes_are_passed_on():
    message = codec.message(28, 2, 1, ROW + codec.attribute(99, b"\1\2\3"))
    told = kernel.Fdb()._told(message, 0, len(message), VXLAN)
    assert told["other"] == {"99": "010203"}
    assert (told["dst"], told["owned"], told["state"]) == ("2001:db8:2::1", True, "permanent")


def test_pyroute2_is_never_imported():
    import subprocess

    code = (
        "import sys\n"
        "from ansible_collections.vtep.fabric.plugins.module_utils._ansible import fdb\n"
        "print([name for name in sys.modules if name.startswith(('pyroute2', 'ansible.'))])"
    )
    path = next(p for p in sys.path if p.endswith("collections"))
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr

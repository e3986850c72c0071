# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel can do: asked for what it refuses anyway, but in other words where it lacks the feature, and where there is no such thing
tried in a network namespace that only a short-lived child process has.

A kernel with modules loads them for that, as it would for the real thing. Nothing of the host's own network is touched.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from pathlib import Path

from .._model.errors import FabricError, KernelError
from . import codec
from .rtnl import Rtnl

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
REFUSED = ("macsec", "vlan", "vrf", "vxlan")  # kinds of devices that take more than a name
ASKED = (*REFUSED, "esp4", "esp6", "lwtunnel", "xfrm")  # takes CAP_NET_ADMIN
MADE = ("bridge", "dummy", "veth")  # kinds that take a name alone
TRIED = (*MADE, "bridge_vlan_filtering", "macsec_xpn", "nftables")  # takes CAP_SYS_ADMIN as well
# Addresses that no host can have, of 4 and 16 bytes: the dummy address of RFC 7600, and one of RFC 6666's discard prefix.
NOBODY = {
    len(packed): packed for packed in (socket.inet_aton("192.0.0.8"), socket.inet_pton(socket.AF_INET6, "100::8"))
}

RTM_NEWLINK, RTM_GETLINK, RTM_NEWROUTE = 16, 18, 24  # <linux/rtnetlink.h>
IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA = 3, 5, 18, 1, 2  # <linux/if_link.h>
IFLA_BR_VLAN_DEFAULT_PVID, IFLA_MACSEC_CIPHER_SUITE = 39, 4
MACSEC_CIPHER_ID_GCM_AES_XPN_128 = 0x0080C20001000003  # <linux/if_macsec.h>
RTA_DST, RTA_ENCAP_TYPE, RTA_ENCAP, LWTUNNEL_ENCAP_IP = 1, 21, 22, 2  # <linux/rtnetlink.h>, <linux/lwtunnel.h>
NFNL_BATCH_BEGIN, NFNL_BATCH_END, NFT_NEWTABLE = 0x10, 0x11, 10 << 8  # <linux/netfilter/nfnetlink.h>, nf_tables.h
NETLINK_NETFILTER, NFPROTO_INET, NFPROTO_ARP, NFTA_TABLE_NAME = 12, 1, 3, 1
NETLINK_XFRM, XFRM_MSG_UPDSA, XFRMA_ALG_AEAD = 6, 0x1A, 18  # <linux/netlink.h>, <linux/xfrm.h>


def features():
    """{feature: True, False, or None where it takes more rights than this process has}."""
    return {**_asked(), **_in_child(), **_of_files()}


def _of_files():
    net = Path("/proc/net")
    disabled = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    return {
        "force_forwarding": Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists(),  # Linux 6.17
        "ipv6": (net / "if_inet6").exists() and disabled.exists() and disabled.read_text().strip() == "0",
        "ip_mroute": (net / "ip_mr_vif").exists(),
        "ip6_mroute": (net / "ip6_mr_vif").exists(),
    }


def _asked():
    rtnl = Rtnl(words=False)
    try:
        found = {kind: _has_kind(rtnl, kind) for kind in REFUSED}
        found["lwtunnel"] = has_lwtunnel(rtnl)
        found["xfrm"] = _has_xfrm()
        found["esp4"], found["esp6"] = (found["xfrm"] and _has_esp(size) for size in (4, 16))
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return dict.fromkeys(ASKED)
    finally:
        rtnl.close()
    return found


def _in_child():
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            answer = {"found": _try_all()}
        except Exception as error:
            answer = {"errno": getattr(error, "errno", None), "text": f"{type(error).__name__}: {error}"}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)  # never back into the caller's code: it runs twice now
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if "found" in answer:
        return answer["found"]
    if answer["errno"] == errno.EPERM:
        return dict.fromkeys(TRIED)
    raise FabricError(f"asking the kernel for its features: {answer['text']}")


def _try_all():
    _unshare()
    rtnl = Rtnl(words=False)
    found = {kind: _unloaded(kind) or _has_kind(rtnl, kind) for kind in MADE}
    found["bridge_vlan_filtering"] = found["bridge"] and _has_vlan_filtering(rtnl)
    found["macsec_xpn"] = _has_xpn(rtnl) if found["bridge"] else None
    found["nftables"] = all(map(_has_nftables, (NFPROTO_INET, NFPROTO_ARP)))
    return found


def _unshare():
    if hasattr(os, "unshare"):  # Python 3.12
        os.unshare(CLONE_NEWNET)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _unloaded(kind):
    """Whether this is the dummy module, there to be loaded. Loading it makes a dummy0 on the host, so it is not tried."""
    if kind != "dummy" or Path("/sys/module/dummy").exists():
        return False
    listing = Path("/lib/modules", os.uname().release, "modules.dep")
    return listing.exists() and "/dummy.ko" in listing.read_text()


def _has_kind(rtnl, kind):
    """The kernel knows the kind before it misses the attributes that some kinds need."""
    info = codec.attribute(IFLA_LINKINFO, codec.attribute(IFLA_INFO_KIND, kind.encode()))
    return _known(rtnl, RTM_NEWLINK, bytes(16) + codec.attribute(IFLA_IFNAME, f"a-{kind}\0".encode()) + info)


def _has_vlan_filtering(rtnl):
    """The kernel tells a bridge's default PVID only with it. Setting it on would take 40 ms where it is refused."""
    _index, link = _bridge(rtnl)
    for kind in (IFLA_LINKINFO, IFLA_INFO_DATA):
        link = codec.attributes(link[kind], 0, len(link[kind]))
    return IFLA_BR_VLAN_DEFAULT_PVID in link


def _bridge(rtnl):
    """The number of the bridge that was made as a try, and its attributes."""
    name = bytes(16) + codec.attribute(IFLA_IFNAME, b"a-bridge\0")
    data, start, end = rtnl.request(RTM_GETLINK, name, "the bridge")
    return data[start + 20 : start + 24], codec.attributes(data, start + 32, end)


def _has_xpn(rtnl):
    """A MACsec device with a cipher of extended packet numbers can be made, on a device that is there anyhow."""
    index, _link = _bridge(rtnl)
    suite = codec.attribute(IFLA_MACSEC_CIPHER_SUITE, struct.pack("=Q", MACSEC_CIPHER_ID_GCM_AES_XPN_128))
    kind = codec.attribute(IFLA_INFO_KIND, b"macsec") + codec.attribute(IFLA_INFO_DATA, suite)
    link = codec.attribute(IFLA_IFNAME, b"a-xpn\0") + codec.attribute(IFLA_LINK, index)
    try:
        body = bytes(16) + link + codec.attribute(IFLA_LINKINFO, kind)
        rtnl.request(RTM_NEWLINK, body, "probe", codec.NLM_F_CREATE | codec.NLM_F_EXCL)
    except KernelError:
        return False
    return True


def has_lwtunnel(rtnl):
    """A route through no device with an empty encapsulation: refused, but for the encapsulation only where unknown."""
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 0, 1, 0)
    route += codec.attribute(RTA_DST, socket.inet_aton("192.0.2.1"))
    route += codec.attribute(RTA_ENCAP_TYPE, codec.U16.pack(LWTUNNEL_ENCAP_IP)) + codec.attribute(RTA_ENCAP, b"")
    return _known(rtnl, RTM_NEWROUTE, route)


def _known(rtnl, kind, body):
    try:
        rtnl.request(kind, body, "probe", codec.NLM_F_CREATE | codec.NLM_F_EXCL)
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        return error.errno != errno.EOPNOTSUPP
    return True


def _has_nftables(family):
    """A table of that family can be made: one batch, of which only the table is acknowledged."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    except OSError:
        return False
    subsystem = struct.pack("!BBH", 0, 0, 10)  # struct nfgenmsg; 10 is NFNL_SUBSYS_NFTABLES
    table = struct.pack("!BBH", family, 0, 0) + codec.attribute(NFTA_TABLE_NAME, b"probe\0")
    asking = codec.NLM_F_REQUEST
    with sock:
        sock.send(
            codec.message(NFNL_BATCH_BEGIN, asking, 1, subsystem)
            + codec.message(NFT_NEWTABLE, asking | codec.NLM_F_ACK | codec.NLM_F_CREATE, 2, table)
            + codec.message(NFNL_BATCH_END, asking, 3, subsystem)
        )
        data = sock.recv(1 << 16)
    return not any(codec.error(data, start, end, flags)[0] for _kind, flags, _seq, start, end in codec.messages(data))


def _has_xfrm():
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM).close()
    except OSError:
        return False
    return True


def _has_esp(size):
    """A state of ESP in transport mode with AES-GCM can be made, over addresses of so many bytes. The kernel is asked for one in the place
    of another, makes it, and then finds that there is none to replace (xfrm_add_sa)."""
    packed = NOBODY[size].ljust(16, b"\0")
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    # struct xfrm_usersa_info: a selector of 56 bytes for all; xfrm_id; the source; limits, counters and numbers, all 0; the
    # family; transport mode and no flags, 0.
    state = struct.pack("=56x16s3sBB3x 16s 116x H10x", packed, b"\0\1\0", 1, socket.IPPROTO_ESP, packed, family)
    # struct xfrm_algo_aead: the name, the lengths of key and checksum in bits, the key, 16 bytes and 4 of salt (RFC 4106)
    algorithm = struct.pack("=64sII20x", b"rfc4106(gcm(aes))", 160, 128)
    xfrm = Rtnl(words=False, protocol=NETLINK_XFRM)
    try:
        xfrm.request(XFRM_MSG_UPDSA, state + codec.attribute(XFRMA_ALG_AEAD, algorithm), "probe")
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        return error.errno == errno.ESRCH
    finally:
        xfrm.close()
    return True

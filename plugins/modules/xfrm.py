#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xfrm
version_added: "0.1.0"
short_description: Manage static IPsec states and policies
description:
  - Writes and removes IPsec states (security associations) and policies (C(ip xfrm)), all of a host in one call.
  - All rows are checked before the first change, and read back after the last.
  - States that the module writes have V(118) in the highest byte of their C(seq), policies in that of their C(index). It tells the
    module's own rows from those of others, which are never replaced or removed. Where one of them stands in the place of a
    given row, the module fails before the first change and names it.
  - A state that is as given is left alone, with its sequence numbers. One that is not, but has the same destination and SPI, is deleted
    and made anew, and packets in between are lost. To rotate keys without loss give new states new SPIs, see O(policies[].tmpl[].spi).
  - A key of C(aes-gcm) or C(chacha20-poly1305) is used for output once. When its state is gone, by a reboot or by hand, the
    key would begin again at sequence number 0, which breaks these ciphers (RFC 4106, section 2). So the module keeps digests of
    keys that go out in C(/var/lib/vtep.fabric/xfrm-used-keys), and refuses them from then on. P(vtep.fabric.xfrm_mesh#filter)
    makes keys that differ with every boot.
  - Keys are in no result, diff or log.
  - Needs nothing on the host but Python, and a kernel with C(CONFIG_XFRM_USER), C(CONFIG_INET_ESP) or C(CONFIG_INET6_ESP), and
    the algorithms. What the kernel lacks is told before the first change.
options:
  states:
    description:
      - The states. A state is named by its destination, SPI and mark.
    type: list
    elements: dict
    suboptions:
      src:
        description: The source address of the packets. Required.
        type: str
      dst:
        description: The destination address of the packets. Required.
        type: str
      spi:
        description: The security parameter index, 256 to 4294967295, decimal or hexadecimal with V(0x). Required.
        type: str
      dir:
        description:
          - V(out) for packets of this host, V(in) for packets to it. Required with O(state=present).
          - The kernel is not told; it decides in which order states are written, and which keys are refused a second time.
        type: str
      mode:
        description: V(transport) or V(tunnel). Required with O(state=present).
        type: str
      reqid:
        description: A number by which policies know the state, 0 to 4294967295. 0 when left out.
        type: str
      algorithm:
        description:
          - V(aes-gcm), V(chacha20-poly1305), V(aes-cbc-sha256), V(aes-cbc-sha384) or V(aes-cbc-sha512), or the cipher's name in the
            kernel. Required with O(state=present).
          - C(aes-gcm) is C(rfc4106(gcm(aes))) with an integrity check value of 128 bits, C(chacha20-poly1305) is
            C(rfc7539esp(chacha20,poly1305)), C(aes-cbc-sha256) is C(cbc(aes)) with C(hmac(sha256)) cut to 128 bits, and the two
            others have C(hmac(sha384)) cut to 192 and C(hmac(sha512)) cut to 256 (RFC 4868).
        type: str
      key:
        description:
          - The cipher's key in hexadecimal, with or without V(0x). Quote it, since YAML may take it for a number.
          - C(aes-gcm) takes 20 or 36 bytes (AES-128 or AES-256, and 4 bytes of salt, RFC 4106), C(chacha20-poly1305) 36 (RFC 7634),
            those of AES-CBC 16 or 32.
        type: str
      auth_key:
        description: The key of the HMAC in hexadecimal, 32, 48 or 64 bytes, as long as the hash. Only with AES-CBC.
        type: str
      key_file:
        description:
          - A file on the host that holds O(states[].key), and after it O(states[].auth_key) where there is one, instead of these options.
          - It has to belong to root, or to the user whom the module runs as, and is refused if others may read it (mode 0600).
        type: path
      encap:
        description: Puts ESP into UDP (RFC 3948). Over IPv6 it takes Linux 5.8.
        type: dict
        suboptions:
          type:
            description: The kind of encapsulation.
            type: str
            choices: [espinudp]
            default: espinudp
          sport:
            description: The source port, 1 to 65535.
            type: int
            default: 4500
          dport:
            description:
              - The destination port, 1 to 65535. The kernel hands packets to ESP only if a program has bound a socket to the port and
                set C(UDP_ENCAP).
            type: int
            default: 4500
      mark:
        description: Only packets with this mark, as C(MARK) or C(MARK/MASK), decimal or hexadecimal with V(0x).
        type: str
      if_id:
        description: The number of the XFRM device that the state belongs to, 0 to 4294967295.
        type: str
      sel:
        description:
          - Only packets like this, as they are before ESP. Without it, all of the family of the addresses.
          - With a pair of VTEPs here a host that has a key cannot send in the name of another host.
        type: dict
        suboptions: &selector
          src:
            description: From this prefix, or address.
            type: str
          dst:
            description: To this prefix, or address.
            type: str
          proto:
            description: V(udp), V(tcp), V(icmp), V(ipv6-icmp) or a number, 0 to 255.
            type: str
          sport:
            description: From this port, 1 to 65535. Needs a protocol that has ports.
            type: int
          dport:
            description: To this port, 1 to 65535; VXLAN's is V(4789). Needs a protocol that has ports.
            type: int
      replay_window:
        description:
          - How many packets may come late, 0 to 4096. V(0) accepts replayed packets. 64 when left out (RFC 4303, section 3.4.3).
        type: int
      esn:
        description: Sequence numbers of 64 bits (RFC 4303, section 2.2.1). Both ends have to agree. V(false) when left out.
        type: bool
      flags:
        description: Some of V(noecn), V(decap-dscp), V(nopmtudisc) and V(af-unspec), as in C(ip xfrm).
        type: list
        elements: str
  policies:
    description:
      - The policies. A policy is named by direction, selector, mark and C(if_id), of which the kernel keeps one.
      - A policy changes in one step. New states are written before policies, and old states removed after them.
    type: list
    elements: dict
    suboptions:
      dir:
        description: V(out), V(in) or V(fwd). Required.
        type: str
      src:
        description: From this prefix, or address. This or O(policies[].dst) is required, and tells the family.
        type: str
      dst:
        description: To this prefix, or address.
        type: str
      proto:
        description: V(udp), V(tcp), V(icmp), V(ipv6-icmp) or a number, 0 to 255.
        type: str
      sport:
        description: From this port, 1 to 65535. Needs a protocol that has ports.
        type: int
      dport:
        description: To this port, 1 to 65535; VXLAN's is V(4789). Needs a protocol that has ports.
        type: int
      priority:
        description: Of the policies that take a packet the one with the least priority counts, 0 to 4294967295. 0 when left out.
        type: str
      action:
        description: V(allow) demands what O(policies[].tmpl) says, or nothing without it; V(block) drops. V(allow) when left out.
        type: str
      mark:
        description: Only packets with this mark, as C(MARK) or C(MARK/MASK).
        type: str
      if_id:
        description: The number of the XFRM device that the policy belongs to, 0 to 4294967295.
        type: str
      tmpl:
        description: What packets must have been put into (V(in), V(fwd)), or are to be put into (V(out)), at most 6.
        type: list
        elements: dict
        suboptions:
          mode:
            description: V(transport) or V(tunnel). Required.
            type: str
          src:
            description: The source address of the outer packet. Required in mode V(tunnel).
            type: str
          dst:
            description: The destination address of the outer packet. Required in mode V(tunnel).
            type: str
          spi:
            description:
              - Only the state with this SPI. Where keys rotate, this says which state is used for output; without it, the kernel
                takes the newest of those that fit, with ages in whole seconds.
            type: str
          reqid:
            description:
              - Only states with this reqid, 0 when left out. In policies V(out) 0 is that of states without one, in others it takes
                all.
            type: str
          level:
            description: >-
              V(required), or V(use), which lets packets pass in clear where there is no state, and which newer kernels refuse with
              O(policies[].dir=out) and mode V(tunnel). V(required) when left out.
            type: str
  src:
    description:
      - A file on the host with a state or a policy a line, in the words of C(ip xfrm state add) and C(ip xfrm policy add),
        instead of O(states) and O(policies).
      - A line begins with C(state) or C(policy). Besides the words of C(ip) a state has C(dir), and may have C(algorithm) and
        C(key-file) in place of a key. C(sel) comes last. Blank lines and lines that begin with C(#) are skipped.
      - It holds keys, so it is refused if others than its owner may read it.
    type: path
  state:
    description: >-
      With V(absent) the module's own rows in the places of the given ones are removed, whatever they say. It does not go with
      O(purge=owned), and reads no O(states[].key_file).
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: >-
      V(owned) removes all states and policies that are the module's own and not given. It is refused with O(state=absent), which names
      what is to go.
    type: str
    choices: [none, owned]
    default: none
  assume_gone:
    description:
      - Whether what others have in the places of these states and policies counts as gone.
      - For check mode, in a play where an earlier task removes it, which check mode leaves out, as in
        C(assume_gone={{ ansible_check_mode }}). In a run what is still there is the kernel's error C(File exists).
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Predicts exactly what a run does.
  diff_mode:
    support: full
    description: Shows the rows that differ without their keys, a line each, up to 1000 on either side and the number of the others.
  idempotent:
    support: full
    description: A second run changes nothing.
seealso:
  - plugin: vtep.fabric.xfrm_mesh
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: VXLAN between two VTEPs goes by ESP
  vtep.fabric.xfrm:
    states:
      - src: 2001:db8:1::1
        dst: 2001:db8:2::1
        spi: "0x1001"
        dir: out
        mode: transport
        reqid: 118
        algorithm: aes-gcm
        key_file: /etc/vtep/keys/s1-s2
        sel: &pair {src: "2001:db8:1::1", dst: "2001:db8:2::1", proto: udp, dport: 4789}
      - src: 2001:db8:2::1
        dst: 2001:db8:1::1
        spi: "0x2001"
        dir: in
        mode: transport
        reqid: 118
        algorithm: aes-gcm
        key_file: /etc/vtep/keys/s2-s1
        sel: &back {src: "2001:db8:2::1", dst: "2001:db8:1::1", proto: udp, dport: 4789}
    policies:
      - {dir: out, <<: *pair, priority: 1000, tmpl: [{mode: transport, spi: "0x1001", reqid: 118}]}
      - {dir: in, <<: *back, priority: 1000, tmpl: [{mode: transport, reqid: 118}]}
      # Whatever else is VXLAN, to any address that the host has: a VXLAN device takes packets to all of them.
      - {dir: out, src: "2001:db8:1::1", dst: "::/0", proto: udp, dport: 4789, priority: 2000, action: block}
      - {dir: in, src: "::/0", dst: "::/0", proto: udp, dport: 4789, priority: 2000, action: block}
    purge: owned

- name: A mesh of all VTEPs, with keys from one secret
  vtep.fabric.xfrm:
    states: "{{ mesh.states }}"
    policies: "{{ mesh.policies }}"
    purge: owned
  vars:
    mesh: "{{ vtep_ends | vtep.fabric.xfrm_mesh(inventory_hostname, ipsec_secret) }}"

- name: A large table that lies on the host
  vtep.fabric.xfrm:
    src: /etc/vtep/xfrm
    purge: owned

- name: No states and policies of ours are left
  vtep.fabric.xfrm:
    states: []
    policies: []
    purge: owned
"""

RETURN = r"""
rows:
  description: How many states and policies were, or in check mode would be, touched.
  returned: success
  type: dict
  contains:
    added:
      description: Rows that were missing.
      type: int
      returned: success
    changed:
      description: Own rows that were otherwise.
      type: int
      returned: success
    removed:
      description: Own rows that were removed.
      type: int
      returned: success
    unchanged:
      description: Given rows that were there.
      type: int
      returned: success
  sample: {added: 4, changed: 0, removed: 0, unchanged: 2}
sample:
  description: Some of the rows that were touched, at most 10, in the words of C(ip xfrm), without keys.
  returned: success
  type: list
  elements: str
  sample: ["added policy dir in src ::/0 dst ::/0 proto udp dport 4789 priority 2000 action block"]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.xfrm import (
    ARGUMENTS,
    EXCLUSIVE,
    NEEDED,
    XfrmResource,
)


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=EXCLUSIVE,
        required_one_of=NEEDED,
        supports_check_mode=True,
    )
    run(module, XfrmResource(module._diff))


if __name__ == "__main__":
    main()

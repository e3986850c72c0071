#!/usr/bin/python
# Copyright (c) 2026, the vtep.fabric maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: macsec
version_added: "0.1.0"
short_description: Manage MACsec devices, their secure channels and associations, and the rotation of static keys
description:
  - Makes, changes and removes MACsec devices (IEEE 802.1AE) on any Ethernet device, such as an underlay port, a VXLAN device or a
    bridge, and what they send and receive with. The options have the words of C(ip link ... type macsec) and C(ip macsec).
  - One device by the options themselves, or many in one call by O(devices).
  - An option that is not given is left as it is. A new device then has the kernel's default, but for O(encrypt).
  - What receives is set first, then what sends, then O(encodingsa) moves, and what is no longer wanted goes last. So a rotation
    that lists the next key beside the present one loses nothing. See the notes.
  - The kernel never tells a key. It keeps an id of 128 bits beside it, which the module derives from the key, and so knows
    whether an association has the key that is wanted.
  - A key that this host has sent with is not installed for sending again, unless the packet numbers that it was used with are known.
    A packet number that comes twice under one key breaks AES-GCM (NIST SP 800-38D, section 8).
  - Everything is read back after it was set.
options:
  name:
    description: The device's name, 1 to 15 characters. Needed unless O(devices) is given.
    type: str
  state: &state
    description: Whether the device exists. With V(absent) all other options are ignored.
    type: str
    choices: [present, absent]
    default: present
  recreate: &recreate
    description:
      - Whether a device is made anew where a change needs that, and whether an association in use is replaced by one with another
        key under the same number. Both lose packets. One to receive with is in use once something came in that its key is right for.
      - A device that is made anew loses the channels and associations that the task does not list, since their keys are not
        known. It goes on with the packet numbers that the old one reached. Its other settings and permanent addresses are kept.
      - Otherwise such a change is refused, with a list of what would be lost.
    type: bool
    default: false
  mtu: &mtu
    description: >-
      MTU in bytes, 68 to 65536. Changes live. It must leave room for 16 bytes and O(icvlen) on O(dev), 32 as a rule; a new
      device without it gets the largest that fits.
    type: int
  address: &address
    description: >-
      MAC address, a unicast one. A new device without it gets that of O(dev). Not live, since older kernels give a
      device with another address another SCI, and newer ones keep that of the former one.
    type: str
  alias: &alias
    description:
      - A text of at most 255 bytes. Empty for none. Changes live.
      - An alias that is C(vtep.fabric), or begins so with a space or colon after it, marks a device as owned by this
        collection. See O(purge).
    type: str
  addrgenmode: &addrgenmode
    description: How the kernel makes the IPv6 link-local address. Counts when the device comes up.
    type: str
    choices: [eui64, none, stable_secret, random]
  master: &master
    description: The bridge that the device belongs to. Empty for none. Changes live.
    type: str
  up: &up
    description: Whether the device is up. A new device is down unless this is V(true).
    type: bool
  dev: &dev
    description: >-
      The device below, an Ethernet one that is not a port of a bridge. Needed for a new device. Not live.
    type: str
  sci: &sci
    description: >-
      The secure channel identifier that the device sends with, 16 hexadecimal digits in quotes. A new device without it gets
      one of its MAC address and O(port). Needs O(send_sci). Excludes O(port). Not live.
    type: str
  port: &port
    description: >-
      The port in the SCI, 1 to 65535. A new device without it and O(sci) gets 1. Devices on one O(dev) need different ones.
      Not live.
    type: int
  cipher: &cipher
    description: >-
      The cipher suite. V(gcm-aes-xpn-128) and V(gcm-aes-xpn-256) have packet numbers of 64 bits instead of 32, and need C(ssci)
      and C(salt) with each association (IEEE 802.1AEbw; Linux 5.7). A new device without it has V(gcm-aes-128). Not live.
    type: str
    choices: [gcm-aes-128, gcm-aes-256, gcm-aes-xpn-128, gcm-aes-xpn-256]
  icvlen: &icvlen
    description: >-
      Bytes of the integrity check value at the end of each frame, one of 8, 12, 13, 14, 15 and 16. A new device without it has 16,
      the only length that IEEE 802.1AE has. Both ends must agree. Not live.
    type: int
  encrypt: &encrypt
    description: >-
      Whether frames are encrypted or only authenticated. A new device encrypts unless this is V(false), other than the
      kernel's default. Changes live.
    type: bool
  protect: &protect
    description: Whether frames that are sent are protected at all. On by default. Changes live.
    type: bool
  send_sci: &send_sci
    description: >-
      Whether each frame has the SCI, 8 bytes. On by default. Only one of O(send_sci), O(end_station) and O(scb) can be V(true).
      Changes live, but that V(false) takes a new device where the SCI is not that of the MAC address and port 1, which receivers
      then go by.
    type: bool
  end_station: &end_station
    description: Whether frames have the end station bit. Off by default. Changes live.
    type: bool
  scb: &scb
    description: Whether frames have the single copy broadcast bit. Off by default. Changes live.
    type: bool
  replay: &replay
    description: Whether frames that come again or too late are dropped. Off by default. Needs O(window). Changes live.
    type: bool
  window: &window
    description: >-
      How many packet numbers a frame may come late, 0 to 4294967295, with XPN to 1073741823. 0 asks for strict order, which
      networks with several paths do not keep. Needs O(replay). Changes live.
    type: int
  validate: &validate
    description: >-
      What happens to frames that are not protected, or wrongly. V(strict), the default, drops them, V(check) counts and passes
      those that are not encrypted, V(disabled) does not look. Changes live.
    type: str
    choices: [disabled, check, strict]
  encodingsa: &encodingsa
    description: The association that frames are sent with, 0 to 3. 0 by default. Changes live, and without loss where it is active.
    type: int
  offload: &offload
    description: >-
      Whether the network card does the work, in its PHY or MAC. The kernel refuses what O(dev) cannot do. Needs Linux 5.7,
      and a kernel that tells it back, which that of Debian 12 does not; there the new device is removed again. Not live.
    type: str
    choices: ["off", "phy", "mac"]
  tx: &tx
    description:
      - The associations to send with, at most four. See O(purge_associations).
      - One of them must be active under the number in O(encodingsa).
    type: list
    elements: dict
    suboptions:
      an:
        description: The association's number, 0 to 3.
        type: int
        required: true
      key:
        description: >-
          The key, 32 hexadecimal digits for AES-128 or 64 for AES-256, in quotes. It is in no result, diff or log. Excludes
          C(key_file).
        type: str
      key_file:
        description: >-
          A file on the host that holds the key in such digits. Refused if anybody but its owner may read or change it, or if it is
          neither root's nor the connecting user's.
        type: path
      key_id:
        description:
          - The id that the kernel keeps beside the key, 32 hexadecimal digits. Every user of the host can read it.
          - Without it, it is the first 16 bytes of HMAC-SHA256 of C(vtep.fabric macsec key id) under the key, with XPN of that text
            and the salt. One of your own must change with the key.
        type: str
      active:
        description: Whether the association is switched on.
        type: bool
        default: true
      pn:
        description: >-
          The packet number that a new association begins with, from 1 to 4294967295, with XPN to 18446744073709551615. One that is
          there keeps its own. Without it, it is the lowest that the key was certainly not used with, be it under another key id by
          another hand.
        type: int
      ssci:
        description: With XPN only, the short SCI, 1 to 4294967295. Senders with the same key need different ones.
        type: int
      salt:
        description: With XPN only, 24 hexadecimal digits that go with the key. They need not be secret.
        type: str
      epoch:
        description: >-
          The epoch that the key was derived for, 32 hexadecimal digits. It is kept in the host's record, and M(vtep.fabric.macsec_info)
          tells it as long as the association is there.
        type: str
  rx: &rx
    description: The channels to receive from, one for each sender. See O(purge_associations).
    type: list
    elements: dict
    suboptions:
      sci:
        description: The sender's SCI, 16 hexadecimal digits in quotes. Excludes C(address).
        type: str
      address:
        description: The sender's MAC address, which makes its SCI together with C(port).
        type: str
      port:
        description: The port in the sender's SCI, 1 to 65535. 1 if not given. Goes with C(address).
        type: int
      active:
        description: Whether the channel is switched on. A new one is unless this is V(false).
        type: bool
      sa:
        description: The associations to receive with. See O(purge_associations).
        type: list
        elements: dict
        suboptions:
          an:
            description: The association's number, 0 to 3.
            type: int
            required: true
          key:
            description: The key, as in O(tx[].key).
            type: str
          key_file:
            description: A file on the host with the key, as in O(tx[].key_file).
            type: path
          key_id:
            description: The id that the kernel keeps beside the key, as in O(tx[].key_id).
            type: str
          active:
            description: Whether the association is switched on.
            type: bool
            default: true
          pn:
            description: >-
              The lowest packet number that a new association takes. 1 if not given. What the sender's M(vtep.fabric.macsec_info)
              tells keeps old frames from being replayed to a receiver that was restarted, with O(replay). With XPN it is needed
              whenever the sender may have passed 2^32, since a frame has the lower half of its number only, and the receiver
              takes the upper one from here.
            type: int
          ssci:
            description: With XPN only, the sender's.
            type: int
          salt:
            description: With XPN only, the sender's.
            type: str
  devices:
    description: Several devices, each with the options above. Excludes those.
    type: list
    elements: dict
    suboptions:
      name:
        description: The device's name.
        type: str
        required: true
      state: *state
      recreate: *recreate
      mtu: *mtu
      address: *address
      alias: *alias
      addrgenmode: *addrgenmode
      master: *master
      up: *up
      dev: *dev
      sci: *sci
      port: *port
      cipher: *cipher
      icvlen: *icvlen
      encrypt: *encrypt
      protect: *protect
      send_sci: *send_sci
      end_station: *end_station
      scb: *scb
      replay: *replay
      window: *window
      validate: *validate
      encodingsa: *encodingsa
      offload: *offload
      tx: *tx
      rx: *rx
  purge:
    description: >-
      With V(owned), MACsec devices of this network namespace that are owned by the collection and not named in this task
      are removed.
    type: str
    choices: [none, owned]
    default: none
  purge_associations:
    description: >-
      With V(listed), associations and channels that are not in a list that is given (O(tx), O(rx), and C(sa) of a channel) are
      removed, after everything else. An empty list removes all.
    type: str
    choices: [none, listed]
    default: none
  assume_gone:
    description: >-
      Names of devices that an earlier task of a dry run would have removed, such as VXLAN devices on top of these. Write
      C(assume_gone={{ names if ansible_check_mode else [] }}). What is there in a run is there.
    type: list
    elements: str
    default: []
requirements:
  - pyroute2 0.7.2 or newer
  - a kernel with CONFIG_MACSEC
attributes:
  check_mode:
    support: full
    description: >-
      Predicts what a run does. A master or lower device that does not exist yet is taken as about to be made; a run
      fails for it before its first change.
  diff_mode:
    support: full
    description: Shows attributes, channels and associations that change, one a line, with ids of keys.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Rotation without loss takes three runs, each on all hosts before the next one. The first lists the next key of every sender beside
    the present one in C(sa) of its channel. The second lists it in O(tx) under the same number and moves O(encodingsa) there. The
    third lists the new ones alone, with O(purge_associations=listed). P(vtep.fabric.macsec_associations#filter) makes these lists.
  - Keys that were used for sending are recorded by their ids in C(/var/lib/vtep.fabric/macsec.json) before they are installed, with the
    SCI. The record stays when devices go. A host whose packet numbers were lost, by a reboot for instance, needs a key that was never
    used; P(vtep.fabric.macsec_sak#filter) makes one.
  - A device of that name but of another kind is never touched.
  - C(docs/macsec.md) tells more about keys, packet numbers and what the kernel does.
seealso:
  - module: vtep.fabric.macsec_info
  - plugin: vtep.fabric.macsec_sak
    plugin_type: filter
  - plugin: vtep.fabric.macsec_associations
    plugin_type: filter
author: The vtep.fabric maintainers (@vtep-fabric)
"""

EXAMPLES = r"""
- name: A device between two hosts, with a key for each direction
  vtep.fabric.macsec:
    name: macsec0
    dev: eth1
    cipher: gcm-aes-256
    replay: true
    window: 64
    tx:
      - {an: 0, key_file: /etc/vtep.fabric/macsec/own.key}
    rx:
      - {address: "52:54:00:00:00:02", sa: [{an: 0, key_file: /etc/vtep.fabric/macsec/peer.key}]}
    up: true

- name: The next key, to receive with
  vtep.fabric.macsec:
    name: macsec0
    rx:
      - {address: "52:54:00:00:00:02", sa: [{an: 1, key: "{{ next_key_of_peer }}"}]}

- name: The next key, to send with (when all peers receive with it)
  vtep.fabric.macsec:
    name: macsec0
    encodingsa: 1
    tx:
      - {an: 1, key: "{{ next_key }}"}

- name: The former keys go (when all peers send with the next one)
  vtep.fabric.macsec:
    name: macsec0
    tx:
      - {an: 1, key: "{{ next_key }}"}
    rx:
      - {address: "52:54:00:00:00:02", sa: [{an: 1, key: "{{ next_key_of_peer }}"}]}
    purge_associations: listed

- name: Another cipher, which needs a new device
  vtep.fabric.macsec:
    name: macsec0
    cipher: gcm-aes-xpn-256
    recreate: true
    encodingsa: 0
    tx:
      - {an: 0, key: "{{ next_key }}", ssci: 1, salt: 5f2e0b4c7a9d13e864c1f0a2}
"""

RETURN = r"""
devices:
  description: The devices of the task, and those that were purged.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The device's name.
      returned: success
      type: str
      sample: macsec0
    action:
      description: What was done, one of V(none), V(created), V(changed), V(recreated) and V(removed).
      returned: success
      type: str
      sample: changed
    changes:
      description: >-
        For each attribute, channel and association that changed, its value before and after. Keys are told by their ids.
      returned: success
      type: dict
      sample: {"tx an 1": {"before": null, "after": "on key 0bd4a5ed3c74e05a8a3a1f2f1e5e2d6c"}}
    lost:
      description: What a device that was made anew has lost.
      returned: when the device was made anew
      type: list
      elements: str
      sample: ["its neighbours and routes"]
unlisted:
  description: >-
    The collection's MACsec devices that the task does not name. O(purge=owned) removes them, without it they stay.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "macsec1", "type": "macsec"}]
faults:
  description: Every fault of the input, up to a bounded number.
  returned: when the input is refused
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.macsec import Macsecs
from ansible_collections.vtep.fabric.plugins.module_utils._ansible.run import run


def main():
    run(AnsibleModule(argument_spec=Macsecs.spec(), supports_check_mode=True), Macsecs())


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""MACsec devices, channels and associations: from what is wanted and what there is to ordered operations.

The order that loses nothing, within one device: what receives comes first, then what sends, then `encodingsa` moves, and
only then goes what sent and what received before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .._model import macsec as model
from .._model.errors import InputError, RefusedError
from . import link

# Bytes of a channel and of an association to receive with in the kernel's answer (macsec_dump_txsc), and how many of its 32 KiB are left
# for them.
CHANNEL_SIZE, ASSOCIATION_SIZE, XPN_ASSOCIATION_SIZE = 152, 92, 104
ANSWER_SIZE = 31_700

# Operations beside those of _plan/link.py. sci None: of the transmit channel.


@dataclass(frozen=True)
class AddChannel:
    name: str
    sci: str
    active: bool


@dataclass(frozen=True)
class SetChannel:
    name: str
    sci: str
    active: bool


@dataclass(frozen=True)
class RemoveChannel:
    name: str
    sci: str


@dataclass(frozen=True)
class AddAssociation:
    name: str
    sci: str | None
    sa: model.Association


@dataclass(frozen=True)
class SetAssociation:
    name: str
    sci: str | None
    an: int
    active: bool


@dataclass(frozen=True)
class RemoveAssociation:
    name: str
    sci: str | None
    an: int


@dataclass(frozen=True)
class Seal:
    """Stop sending before a device goes, and record the packet numbers that were reached."""

    name: str
    fingerprints: tuple = ()  # (key id, fingerprint) of the keys that are known


@dataclass(frozen=True)
class Record:
    """Record a key that is in use and that the record does not know."""

    name: str
    sa: model.Association


@dataclass
class Lines:
    """What differs of one device's channels and associations, for the diff."""

    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


class Kind(link.Kind):
    tables = model.KINDS
    made_with = ("address",)  # a new device's MTU is the kernel's choice, whatever is asked for (macsec_newlink)
    marks_members = False

    def __init__(self, state, secys, record=(), purge="none"):
        """secys: {device: Secy}. record: of Used. purge: none, or listed for what is not in a list that is given."""
        self.state, self.secys, self.record, self.purge = state, secys, list(record), purge
        self.lines, self.refused, self.coming = {}, [], []

    def defaults(self, device):
        return {"encrypt": True}  # the kernel's own default only authenticates

    def kernel_defaults(self, device):
        return model.DEFAULTS

    def kept(self, device, found):
        kept = super().kept(device, found)
        if (
            "port" in device.wanted
            or "address" in device.wanted
            or found.has.get("send_sci") is False
            or device.wanted.get("send_sci") is False
        ):
            kept.pop("sci", None)  # the kernel makes it of address and port, and takes none without send_sci
        if "sci" in kept or "sci" in device.wanted:
            kept.pop("port", None)
        if not device.wanted.get("replay", kept.get("replay")):
            kept.pop("window", None)
        lower = self.state.devices.get(found.has.get("dev") or "")
        if lower and found.has["mtu"] == lower.has["mtu"] - model.overhead(found.has):
            del kept["mtu"]  # nobody asked for another than the largest
        return {option: value for option, value in kept.items() if not option.startswith("port.")}

    def needs_new(self, device, found, changes):
        options = super().needs_new(device, found, changes)
        # A new MAC address gives the device another SCI (macsec_set_mac_address), which its peers do not know.
        options = options + [option for option in ("address",) if option in changes]
        # Without it receivers take the SCI from MAC address and port.
        silent = device.wanted.get("send_sci") is False and found.has.get("send_sci")
        if silent and found.has.get("sci") != model.sci_of(found.has["address"], model.DEFAULTS["port"]):
            options.append("send_sci")
        return options

    def check_final(self, device, final, exists):
        faults = model.conflicts({**final, "window": device.wanted.get("window")})
        secy = self.secys.get(device.name) if exists else None
        had = exists and self.state.devices[device.name].has.get("replay")
        if device.wanted.get("replay") and "window" not in device.wanted and not had:
            faults.append("replay: it needs window, the number of packets that may come late (0 for none)")
        if not exists and not final.get("dev"):
            faults.append("dev: a new MACsec device needs it")
        if not exists and device.wanted.get("sci") and final.get("send_sci") is False:
            faults.append(
                "sci: it needs send_sci: true; without, receivers take it from MAC address and port: give port"
            )
        cipher = final.get("cipher", model.DEFAULT_CIPHER)
        if "cipher" not in device.wanted:
            faults += model.key_faults(cipher, device.tx, device.rx)
        own = self.own_sci(device)
        faults += [
            f"rx {channel.sci}: that is the device's own SCI; a receive channel is for what another host sends"
            for channel in device.rx or ()
            if channel.sci == own
        ]
        faults += self._check_encoding(device, final, secy)
        return [f"{device.name}: {fault}" for fault in faults]

    def _check_encoding(self, device, final, secy):
        """A list of associations to send with, none of which would be used, is a slip."""
        if not device.tx:
            return
        after = {} if secy is None or self.purge == "listed" else {an: one.active for an, one in secy.tx.items()}
        after.update((one.an, one.active) for one in device.tx)
        an = final.get("encodingsa", 0)
        if not after.get(an):
            there = ", ".join(str(number) for number, active in sorted(after.items()) if active) or "none"
            yield (
                f"encodingsa: {an} has no active association in tx, and the device would send nothing; active are: {there}"
            )

    def own_sci(self, device):
        """The SCI that a device has or will have; None where that cannot be said yet."""
        found = self.state.devices.get(device.name)
        wanted = device.wanted
        if wanted.get("sci"):
            return wanted["sci"]
        if found and all(wanted.get(option) in (None, found.has.get(option)) for option in ("port", "address")):
            return found.has.get("sci")
        lower = self.state.devices.get(wanted.get("dev") or (found.has.get("dev") if found else None) or "")
        address = wanted.get("address") or (found and found.has["address"]) or (lower and lower.has.get("address"))
        port = wanted.get("port") or (found.has.get("port") if found else None) or model.DEFAULTS["port"]
        return model.sci_of(address, port) if address else None

    def lost(self, found):
        secy = self.secys.get(found.name)
        if secy is None or not (secy.tx or secy.rx):
            return []
        return [
            f"its {len(secy.tx)} transmit associations and {len(secy.rx)} receive channels, as far as they are not listed"
        ]

    def live(self, device, found, changes):
        """Replay protection and its window go together. encodingsa waits for its association; see filters."""
        changes = {option: value for option, value in changes.items() if option != "encodingsa"}
        if changes.get("replay") and "window" not in changes:
            changes["window"] = device.wanted.get("window", found.has.get("window"))
        return ([link.Set(device.name, found.kind, changes)] if changes else []), []

    def filters(self, device, found, wanted):
        """Channels and associations. found: None for a device that is new or made anew."""
        secy = self.secys.get(device.name) if found else None
        lines = self.lines.setdefault(device.name, Lines())
        come, go = [], []
        self._plan_channels(device, secy, lines, come, go)
        if device.tx is not None:
            self._plan_transmit(device, secy, lines, come, go)
        if found and "encodingsa" in wanted:
            come.append(link.Set(device.name, "macsec", {"encodingsa": wanted["encodingsa"]}))
        return [], come + go

    def _plan_channels(self, device, secy, lines, come, go):
        there = secy.rx if secy else {}
        for channel in device.rx or ():
            had = there.get(channel.sci)
            where = f"rx {channel.sci}"
            active = channel.active is not False
            if had is None:
                come.append(AddChannel(device.name, channel.sci, active))
                lines.after[where] = state(active)
            elif channel.active is not None and had.active != active:
                come.append(SetChannel(device.name, channel.sci, active))
                lines.before[where], lines.after[where] = state(had.active), state(active)
            if channel.sa is not None:
                self._plan_associations(
                    device, channel.sci, where, channel.sa, had.sa if had else {}, lines, come, go, had and had.active
                )
        if device.rx is not None and self.purge == "listed":
            for sci, had in there.items():
                if sci not in {channel.sci for channel in device.rx}:
                    go.append(RemoveChannel(device.name, sci))
                    lines.before[f"rx {sci}"] = state(had.active)
                    for one in had.sa.values():
                        lines.before[f"rx {sci} an {one.an}"] = text(one)

    def _plan_transmit(self, device, secy, lines, come, go):
        there = secy.tx if secy else {}
        found = self.state.devices.get(device.name)
        cipher = device.wanted.get("cipher") or (found.has["cipher"] if found else model.DEFAULT_CIPHER)
        own = self.own_sci(device)
        before = self.secys.get(device.name)
        least = model.beyond(before, self.record, [one.key_id for one in device.tx]) if before else 1
        listed = list(self.coming)
        for one in device.tx:
            self.coming.append((device.name, model.Used(own or "", one.fingerprint, one.an, one.key_id, one.ssci)))
            had = there.get(one.an)
            if had and had.key_id == one.key_id:
                self._judge_kept(device, secy, had, one, come)
                continue
            other = [number for number, sa in there.items() if number != one.an and sa.key_id == one.key_id]
            if other:
                self.refused.append(
                    f"{device.name}: tx an {one.an}: key {one.key_id} is in use as an {other[0]}, and would be used with the same "
                    "packet numbers again; give it a key that was never used"
                )
                continue
            other = [name for name, row in listed if model.uses([row], cipher, own, one)]
            if other:
                self.refused.append(
                    f"{device.name}: tx an {one.an}: {other[0]} has key {one.key_id} too, and would use it with the same packet "
                    "numbers; give each device its own"
                )
                continue
            try:
                model.first_pn(self._record_then(device, secy, had), cipher, own, one, least)
            except ValueError as error:
                self.refused.append(f"{device.name}: tx an {one.an}: {error}")
        used = secy.encodingsa if secy else None
        self._plan_associations(device, None, "tx", device.tx, there, lines, come, go, used)

    def _record_then(self, device, secy, had):
        """The record as it will be when an association is made: what goes before, which is all of a device that is made anew, has its
        packet numbers read."""
        before = secy or self.secys.get(device.name)
        ending = [had] if had else list(before.tx.values()) if before and not secy else []
        rows = self.record
        for one in ending:
            row = model.Used(before.sci, one.key_id, one.an, one.key_id, one.ssci)
            row = next((known for known in rows if (known.sci, known.key_id) == (row.sci, row.key_id)), row)
            rows = [known for known in rows if known is not row] + [replace(row, pn=before.free_pn(one))]
        return rows

    def _judge_kept(self, device, secy, had, one, come):
        """An association that is there. A key id that was given by hand may have come to stand for another key."""
        if one.active and not had.active and (not had.pn or secy.offloaded):
            # The kernel switched it off (__macsec_pn_wrapped); switched on, it would begin at 1 again (tx_sa_update_pn). A card is told
            # to begin where the kernel, which counts nothing, believes to be.
            why = (
                "was counted by a card (offload), and goes on at no known packet number"
                if secy.offloaded
                else "has no packet numbers left"
            )
            self.refused.append(
                f"{device.name}: tx an {one.an}: key {one.key_id} {why}; give another key under another an"
            )
            return
        rows = [row for row in self.record if (row.sci, row.key_id) == (secy.sci, one.key_id) and row.pn is None]
        if not rows:
            come.append(Record(device.name, one))
            note = f"tx an {one.an}: its key is in use and was not in the record of keys; it is recorded now"
            self.lines[device.name].notes.append(note)
            self.lines[device.name].after[f"tx an {one.an} recorded"] = "true"
        elif all(row.fingerprint != one.fingerprint for row in rows):
            self.refused.append(
                f"{device.name}: tx an {one.an}: key_id: {one.key_id} stands for another key; give the new key another id, or "
                "leave key_id out"
            )

    def _plan_associations(self, device, sci, where, wanted, there, lines, come, go, used):
        """used: of a receive channel whether it is active, of the transmit channel the association in use."""
        # Then the card counts what comes in.
        offloaded = device.name in self.secys and self.secys[device.name].offloaded
        retire = []
        for one in wanted:
            had, at = there.get(one.an), f"{where} an {one.an}"
            if had is not None and had.key_id == one.key_id and (had.ssci is None or had.ssci == one.ssci):
                if had.active != one.active:
                    change = SetAssociation(device.name, sci, one.an, one.active)
                    (come if one.active else retire).append(change)
                    lines.before[at], lines.after[at] = text(had), text(one)
                continue
            if had is not None:
                in_use = had.active and (used == one.an if sci is None else used and (had.received or offloaded))
                self._judge_replaced(device, at, had, one, in_use, lines)
                come.append(RemoveAssociation(device.name, sci, one.an))
                lines.before[at] = text(had)
            come.append(AddAssociation(device.name, sci, one))
            lines.after[at] = text(one)
        if self.purge == "listed":
            for an, had in there.items():
                if an not in {one.an for one in wanted}:
                    retire.append(RemoveAssociation(device.name, sci, an))
                    lines.before[f"{where} an {an}"] = text(had)
        go[:] = [*retire, *go] if sci is None else [*go, *retire]  # what sends stops before what receives

    def _judge_replaced(self, device, at, had, one, in_use, lines):
        if not in_use:
            return
        if device.recreate:
            lines.notes.append(
                f"{at}: key {had.key_id} gives way to {one.key_id} while it is in use, which loses packets"
            )
        else:
            self.refused.append(
                f"{device.name}: {at}: it is in use with key {had.key_id}, and the kernel cannot change a key; replacing it "
                "loses packets. List the new key under another an beside it (see docs/macsec.md), or set recreate: true"
            )

    def judge(self, outlook, plan):
        """Two devices on one that send or receive as the same SCI, ports of bridges, and an MTU that does not fit."""
        faults, taken, heard = [], {}, {}
        desired = {device.name: device for device in plan.desired}
        for name, has in outlook.items():
            if "icvlen" not in has:
                continue
            lower = has.get("dev") or ""
            place = (lower, self.own_sci(desired[name]) if name in desired else has.get("sci"))
            if place[1] and place in taken and {name, taken[place]} & set(desired):
                faults.append(
                    f"{name}: sci: {place[1]} is that of {taken[place]} on {lower} already; give it another port"
                )
            taken[place] = name
            for sci in self._heard(name, desired):
                other = heard.setdefault((lower, sci), name)
                if other != name and {name, other} & set(desired):
                    # The kernel hands what a sender sends to one device (create_rx_sc).
                    faults.append(
                        f"{name}: rx {sci}: {other} on {lower} receives from it; take it from there first, in a task of its own"
                    )
            if name in desired:
                faults += self._too_many(desired[name], has)
                plan.checks += self._checks(name, has, outlook, lower)
        return faults

    def _too_many(self, device, has):
        """More channels than the kernel can tell, after which no task could touch any of this host's (unreadable)."""
        channels = {sci: set(found.sa) for sci, found in self._channels(device.name).items()}
        for channel in device.rx or ():
            channels.setdefault(channel.sci, set()).update(one.an for one in channel.sa or ())
        each = (
            XPN_ASSOCIATION_SIZE if model.CIPHERS[has.get("cipher") or model.DEFAULT_CIPHER].xpn else ASSOCIATION_SIZE
        )
        associations = sum(map(len, channels.values()))
        if device.rx and CHANNEL_SIZE * len(channels) + each * associations > ANSWER_SIZE:
            yield (
                f"{device.name}: rx: {len(channels)} channels with {associations} associations, there and listed, are more than the "
                f"kernel can tell in an answer of 32 KiB; it tells some {ANSWER_SIZE // (CHANNEL_SIZE + 2 * each)} with two each"
            )

    def _channels(self, name):
        return self.secys[name].rx if name in self.secys else {}

    def _heard(self, name, desired):
        """The SCIs that a device has receive channels of now or afterwards."""
        listed = desired[name].rx if name in desired else None
        return {*self._channels(name), *(channel.sci for channel in listed or ())}

    def _checks(self, name, has, outlook, lower):
        below = outlook.get(lower, {})
        master = self.state.devices.get(below.get("master") or "")
        if master is not None and master.kind == "bridge" and name not in self.state.devices:
            yield f"{name}: dev: {lower} is a port of {master.name}, and the kernel hands what it receives to one of the two only"
        if below.get("mtu") and has.get("mtu") and has["mtu"] + model.overhead(has) > below["mtu"]:
            yield (
                f"{name}: mtu: {has['mtu']} does not fit {lower} of mtu {below['mtu']}; "
                f"at most {below['mtu'] - model.overhead(has)} does"
            )


def plan(desired, kind, purge="none"):
    """A plan of _plan/link.py with the operations on channels and associations in it."""
    made = link.plan(desired, kind.state, kind, purge=purge)
    if kind.refused:
        raise RefusedError("; ".join(kind.refused))
    made.operations = list(_with_seals(made.operations, kind.secys, {device.name: device for device in desired}))
    for change in made.changes:
        lines = kind.lines.get(change.name)
        if change.action == "removed" or lines is None:
            continue
        change.before.update(lines.before)
        change.after.update(lines.after)
        change.notes += lines.notes
        if change.action == "none" and (lines.before or lines.after):
            change.action = "changed"
    return made


def _with_seals(operations, secys, desired):
    for operation in operations:
        secy = secys.get(operation.name) if isinstance(operation, link.Remove) else None
        if secy and secy.tx:
            tx = desired[operation.name].tx if operation.name in desired else None
            yield Seal(operation.name, tuple((one.key_id, one.fingerprint) for one in tx or ()))
        yield operation


def differences(desired, state_, secys, plan_, purge):
    """In words, what a host has after a run that is not what is wanted."""
    kind = Kind(state_, secys, (), purge)
    words = link.differences(plan_.desired, state_, plan_, kind)
    for device in desired:
        found = state_.devices.get(device.name)
        if not device.present or found is None:
            continue
        come, go, lines = [], [], Lines()
        secy = secys.get(device.name)
        kind._plan_channels(device, secy, lines, come, go)
        if device.tx is not None:
            kind._plan_associations(device, None, "tx", device.tx, secy.tx if secy else {}, lines, come, go, None)
        words += [
            f"{device.name} {where} is {lines.before.get(where, 'missing')}, not {what}"
            for where, what in lines.after.items()
        ]
        words += [f"{device.name} {where} is still there" for where in lines.before if where not in lines.after]
    return words


def state(active):
    return "on" if active else "off"


def text(one):
    """An association in a diff: wanted or found, without its key and its packet number."""
    words = f"{state(one.active)} key {one.key_id}"
    return words if one.ssci is None else f"{words} ssci {one.ssci:08x}"


def unreadable(state_, secys):
    """Devices whose associations the kernel does not tell, in words. One answer to a dump holds all of a device's channels,
    and has 32 KiB at most (netlink_dump); a device with more ends the dump (macsec_dump_txsc)."""
    return [name for name, found in state_.devices.items() if found.kind == "macsec" and name not in secys]


def refuse_unreadable(desired, state_, secys):
    lacking = unreadable(state_, secys)
    if lacking and any(device.present and (device.tx or device.rx) for device in desired):
        raise InputError(
            [
                f"{name}: the kernel does not tell its channels: it or another device has more of them (some 100) than fit "
                "an answer of 32 KiB"
                for name in lacking
            ]
        )

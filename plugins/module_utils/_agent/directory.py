# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory: what the registry says, all of it, in memory.

Several VTEPs may claim one endpoint, and several endpoints one address: the newest claim wins, and the others stay known, so that they
take its place when it goes. Built for 100,000 endpoints: what has one claim has no list of them.
"""

from __future__ import annotations

import bisect
import math

from .claims import Claim, address_text

PATIENCE = 5.0  # seconds; an endpoint that moves has two claims for a moment
MOST_ALARMS = 100  # not yet taken; further ones wait
_MOST_NAMED = 8  # in an alarm


class _Vni:
    """claims: mac -> its claim, or a list of several, newest first. addresses: packed -> the mac of the winner that has it, or _Shared."""

    __slots__ = ("addresses", "claims")

    def __init__(self):
        self.claims = {}
        self.addresses = {}


class _Shared:
    """The endpoints that have one address, by rank. Somebody may give one address to all, so none of it looks at each."""

    __slots__ = ("order", "ranks")

    def __init__(self, mac, rank):
        self.ranks = {mac: rank}
        self.order = [(rank, mac)]

    def put(self, mac, rank):
        if self.ranks.get(mac) != rank:
            self.remove(mac)
            self.ranks[mac] = rank
            bisect.insort(self.order, (rank, mac))

    def remove(self, mac):
        rank = self.ranks.pop(mac, None)
        if rank is not None:
            del self.order[bisect.bisect_left(self.order, (rank, mac))]

    @property
    def owner(self):
        return self.order[-1][1]

    @property
    def is_doubtful(self):
        """Whether two have it that are still claimed."""
        return len(self.order) > 1 and self.order[-2][0][0]


class _Conflict:
    __slots__ = ("due", "told")

    def __init__(self, due):
        self.due = due  # when it has lasted long enough to be told
        self.told = None  # whom the alarm named


class Directory:
    """`alarms` gathers (key, text) until the caller empties it; a key is (vni, mac) or (vni, packed address)."""

    def __init__(self):
        self.alarms = []
        self._count = 0
        self._vnis = {}
        self._changed = {}  # (vni, mac), in the order of the changes
        self._leaving = {}  # (vni, mac, vtep) -> when it goes
        self._conflicts = {}  # (vni, mac or address) -> _Conflict
        self._due = math.inf  # when tick is to look, at the latest

    def __len__(self):
        """Endpoints, however many claim them."""
        return self._count

    # -- What it says

    def mac(self, vni, mac):
        """The claim that counts, or None."""
        one = self._vnis.get(vni)
        found = one.claims.get(mac) if one else None
        return found[0] if isinstance(found, list) else found

    def address(self, vni, packed):
        """The MAC address of the endpoint that has the address, or None."""
        one = self._vnis.get(vni)
        found = one.addresses.get(packed) if one else None
        return found.owner if isinstance(found, _Shared) else found

    def claims(self, vni, mac):
        """All claims of an endpoint, newest first."""
        one = self._vnis.get(vni)
        return list(_listed(one.claims.get(mac))) if one else []

    def of_vni(self, vni):
        """The claim that counts, of each endpoint."""
        one = self._vnis.get(vni)
        for found in list(one.claims.values()) if one else ():
            yield found[0] if isinstance(found, list) else found

    def vnis(self):
        """The VNIs that have endpoints."""
        return list(self._vnis)

    @property
    def conflicts(self):
        """{(vni, mac) or (vni, packed address): [claim], newest first}"""
        return {key: self._claimants(key) for key in self._conflicts}

    def changes(self):
        """[(vni, mac)] of which the claim that counts is of another VTEP or has other addresses, or which came or went, or which
        has won or lost an address, since the last call."""
        found = list(self._changed)
        self._changed = {}
        return found

    # -- What the registry says

    def snapshot(self, claims, now, grace=0.0):
        """All there is. Claims that are not in it go; with grace they stay that many seconds, older than any other."""
        fresh = {}
        for claim in claims:
            macs = fresh.get(claim.vni)
            if macs is None:
                macs = fresh[claim.vni] = {}
            former = macs.setdefault(claim.mac, claim)
            if isinstance(former, list):
                former.append(claim)
            elif former is not claim:
                macs[claim.mac] = [former, claim]
        leaving, self._leaving = self._leaving, {}
        for vni, one in list(self._vnis.items()):
            macs = fresh.get(vni, {})
            for mac in [mac for mac in one.claims if mac not in macs]:
                self._replace(vni, one, mac, [], leaving, now, grace)
        for vni, macs in fresh.items():
            one = self._vnis.get(vni)
            if one is None:
                one = self._vnis[vni] = _Vni()
            known = one.claims
            for mac, found in macs.items():
                old = known.get(mac)
                if isinstance(found, list) or isinstance(old, list) or old is None or old[2:4] != found[2:4]:
                    self._replace(vni, one, mac, _newest_of_each(found), leaving, now, grace)
                elif leaving and (vni, mac, old.vtep) in leaving:
                    self._replace(vni, one, mac, [found], leaving, now, grace)
                elif old.order != found.order:  # all rows of a document behind one that is new
                    self._reorder(vni, one, old, found.order, now)

    def put(self, claim, now):
        """A claim, in the place of what its VTEP had claimed of the endpoint before."""
        vni, mac, vtep = claim.vni, claim.mac, claim.vtep
        one = self._vnis.get(vni)
        if one is None:
            one = self._vnis[vni] = _Vni()
        self._leaving.pop((vni, mac, vtep), None)
        others = [other for other in _listed(one.claims.get(mac)) if other.vtep != vtep]
        self._set(vni, one, mac, [claim, *others], now)

    def drop(self, vni, mac, vtep, now):
        """The VTEP claims the endpoint no longer."""
        one = self._vnis.get(vni)
        if one is None or mac not in one.claims:
            return
        self._leaving.pop((vni, mac, vtep), None)
        self._set(vni, one, mac, [other for other in _listed(one.claims[mac]) if other.vtep != vtep], now)

    def tick(self, now):
        """Ends claims whose grace is over and raises alarms of conflicts that last. When it wants to be called again, or None.

        To be asked after each change as well; it costs nothing when nothing is due.
        """
        if now < self._due:
            return None if self._due == math.inf else self._due
        for key in [key for key, when in self._leaving.items() if when <= now]:
            self.drop(*key, now)
        due = min(self._leaving.values(), default=math.inf)
        for key, conflict in self._conflicts.items():
            due = min(due, self._look_at(key, conflict, now))
        self._due = due
        return None if due == math.inf else due

    # -- How it is kept

    def _replace(self, vni, one, mac, found, leaving, now, grace):
        """What a snapshot says of an endpoint; with grace the claims that it leaves out stay."""
        if grace:
            vteps = {claim.vtep for claim in found}
            for old in _listed(one.claims.get(mac)):
                if old.vtep not in vteps:
                    key = vni, mac, old.vtep
                    self._leaving[key] = when = min(now + grace, leaving.get(key, math.inf))
                    self._due = min(self._due, when)
                    found.append(old)
        self._set(vni, one, mac, found, now)

    def _reorder(self, vni, one, old, order, now):
        """A single claim is newer or older than it was. The octets stay those that are the keys here: two copies of all cost 10 MB."""
        claim = one.claims[old.mac] = Claim(old.vni, old.mac, old.vtep, old.addresses, order)
        for packed in old.addresses:
            if isinstance(one.addresses[packed], _Shared):
                self._gain(one, packed, claim, now)

    def _set(self, vni, one, mac, claims, now):
        before = self.mac(vni, mac)
        if len(claims) > 1:
            claims.sort(key=self._rank, reverse=True)
        if claims:
            after = claims[0]
            one.claims[mac] = claims if len(claims) > 1 else after
            self._count += before is None
        else:
            after = None
            self._count -= one.claims.pop(mac, None) is not None
        if before is None or after is None or before[2:4] != after[2:4]:
            self._changed[vni, mac] = None
        if before and (after is None or before.addresses != after.addresses):
            for packed in set(before.addresses).difference(after.addresses if after else ()):
                self._lose(vni, one, packed, mac, now)
        for packed in after.addresses if after else ():
            if one.addresses.get(packed) != mac:
                self._gain(one, packed, after, now)
        if len(claims) > 1 or self._conflicts:
            self._judge((vni, mac), len(claims) > 1 and self._rank(claims[1])[0], now)
        if not one.claims:
            del self._vnis[vni]

    def _gain(self, one, packed, claim, now):
        """The claim counts and has the address, or has it still and is of another rank."""
        found = one.addresses.get(packed)
        if found is None:
            one.addresses[packed] = claim.mac
            return
        if not isinstance(found, _Shared):
            found = one.addresses[packed] = _Shared(found, self._rank(self.mac(claim.vni, found)))
        before = found.owner
        found.put(claim.mac, self._rank(claim))
        self._settle(claim.vni, packed, found, before, now)

    def _lose(self, vni, one, packed, mac, now):
        found = one.addresses[packed]
        if not isinstance(found, _Shared):
            del one.addresses[packed]
            return
        before = found.owner
        found.remove(mac)
        self._settle(vni, packed, found, before, now)
        if len(found.order) == 1:
            one.addresses[packed] = found.owner

    def _settle(self, vni, packed, found, before, now):
        """An address that several have, or had, may have another owner."""
        if found.owner != before:
            self._changed[vni, before] = self._changed[vni, found.owner] = None
        self._judge((vni, packed), found.is_doubtful, now)

    def _rank(self, claim):
        """Whose rank is greater is newer. The last part only has all hosts decide alike."""
        return (claim.vni, claim.mac, claim.vtep) not in self._leaving, claim.order, claim.vtep

    def _judge(self, key, is_conflict, now):
        conflict = self._conflicts.get(key)
        if not is_conflict:
            if conflict:
                del self._conflicts[key]
            return
        if conflict is None:
            conflict = self._conflicts[key] = _Conflict(now + PATIENCE)
        elif conflict.due == math.inf:
            conflict.due = now + PATIENCE
        self._due = min(self._due, conflict.due)

    def _look_at(self, key, conflict, now):
        """When to look again. The same claimants are told once, whichever of them is the newest."""
        if conflict.due > now:
            return conflict.due
        if len(self.alarms) >= MOST_ALARMS:
            return now + 1
        conflict.due = math.inf
        claimants = self._claimants(key)
        names = frozenset((claim.mac, claim.vtep) for claim in claimants[:_MOST_NAMED])
        if names != conflict.told:
            conflict.told = names
            self.alarms.append((key, _alarm(key, claimants)))
        return math.inf

    def _claimants(self, key):
        vni, name = key
        one = self._vnis[vni]
        shared = one.addresses.get(name)
        found = [self.mac(vni, mac) for _rank, mac in reversed(shared.order)] if shared else one.claims[name]
        return [claim for claim in found if self._rank(claim)[0]]


def _alarm(key, claimants):
    vni, name = key
    if len(name) == 6:
        subject, named = f"MAC address {name.hex(':')}", [_vtep(claim) for claim in claimants]
    else:
        subject = f"address {address_text(name)}"
        named = [f"{claim.mac.hex(':')} at {_vtep(claim)}" for claim in claimants]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return (
        f"VNI {vni}: {subject} is claimed by {', '.join(named[:_MOST_NAMED])}{more}; "
        f"the newest counts, {named[0]}; withdraw what is wrong"
    )


def _vtep(claim):
    return f"VTEP {address_text(claim.vtep)}"


def _listed(found):
    return found if isinstance(found, list) else [] if found is None else [found]


def _newest_of_each(found):
    """Of the claims of one endpoint in a snapshot, one of each VTEP."""
    if not isinstance(found, list):
        return [found]
    return list({claim.vtep: claim for claim in sorted(found, key=lambda claim: claim.order)}.values())

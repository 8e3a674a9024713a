"""What may happen next to a member: the steps of intake, dispatchers, workers, time and operators (see `states`)."""

from collections.abc import Iterator

from tests.protocol.states import (
    BAD,
    CT,
    DEAD,
    DONE,
    DUE,
    FAIL,
    GONE,
    OK,
    OWN,
    QUEUED,
    READ_BACK,
    REJECTED,
    REPORT,
    RUNNING,
    SAME,
    SET,
    SIEBEL,
    TELL_AGAIN,
    UNSET,
    WORKERS,
    Bound,
    Errand,
    Hand,
    Instance,
    Rules,
    State,
)

Step = tuple[str, bool, State]
"""What happens, whether it is progress (or else a fault, or somebody's wish), and what comes of it."""


class Protocol:
    """The steps that may follow a state, by *rules*, within *bound*."""

    def __init__(self, rules: Rules, bound: Bound) -> None:
        self.rules = rules
        self.bound = bound

    def steps(self, at: State) -> Iterator[Step]:
        """Give all that may come next."""
        for version in range(1, len(self.bound.contents) + 1):
            if version not in at.arrived:
                yield f"event {version} arrives", False, self.accept(at, version)
        yield from self.claims(at)
        if len(at.hands) < WORKERS:
            yield from self.begins(at)
        for place, hand in enumerate(at.hands):
            rest = [*at.hands[:place], *at.hands[place + 1 :]]
            yield from self.worked(at, hand, rest)
        yield from self.settled(at)
        for place, (system, of, status) in enumerate(at.late):
            landed = at._replace(late=at.late[:place] + at.late[place + 1 :])
            yield f"what was given up lands: {of} at {system}", True, self.landed(landed, system, of, status)
        if at.faults < self.bound.faults and self.rules.gives_leases_back:
            yield from self.leases(at)
        elif self.rules.gives_leases_back:
            yield from (step for step in self.leases(at) if step[1])
        for number, one in enumerate(at.instances, 1):
            if one.state == DEAD and at.requeues < self.bound.requeues:
                yield f"{number} is requeued", False, self.requeued(at, number)

    # Intake

    def accept(self, at: State, version: int) -> State:
        at, m = at._replace(arrived=at.arrived | {version}), at.member
        if self.rules.orders_events and m.newest and at.of(m.newest).version > version:
            return at
        applied = self.bound.content(at.of(m.applied).version) if m.applied else 0
        is_idle = not at.out and m.out is None
        is_same = m.synced and applied == self.bound.content(version) and (is_idle or not self.rules.judges_idle)
        at = at._replace(instances=(*at.instances, Instance(version, SAME if is_same else QUEUED)))
        number = len(at.instances)
        for older in at.queued:
            if older == number:
                continue
            if not is_same and at.of(older).failing and self.rules.hands_failure_on:
                at = at.put(number, at.of(number)._replace(failing=True, status=at.of(older).status))
                if older in m.reports and m.out != Errand(REPORT, older, begun=bool(m.out and m.out.begun)):
                    at = at.know(at.member._replace(reports=at.member.reports - {older} | {number}))
            at = at.put(older, at.of(older)._replace(state=GONE))
        return at.know(at.member._replace(newest=number))

    # Dispatchers

    def claims(self, at: State) -> Iterator[Step]:
        is_idle = at.member.out is None and not at.out
        if self.rules.looks_again:
            if is_idle or not self.rules.waits_its_turn:
                yield from ((f"{kind} of {of} is claimed", True, self.taken(at, kind, of)) for kind, of in self.due(at))
            return
        if is_idle and len(at.picked) < 2:
            for one in self.due(at):
                yield f"a dispatcher picks the {one[0]} of {one[1]}", True, at._replace(picked=(*at.picked, one))
        for one in at.picked:
            rest = list(at.picked)
            rest.remove(one)
            left = at._replace(picked=tuple(rest))
            is_there = one[0] != OWN or at.of(one[1]).state == QUEUED
            yield f"a dispatcher claims the {one[0]} of {one[1]}", True, self.taken(left, *one) if is_there else left

    def due(self, at: State) -> list[tuple[str, int]]:
        """Return what may be claimed."""
        m = at.member
        found = [(OWN, number) for number in at.queued]
        found += [(REPORT, number) for number in m.reports]
        if m.read_back == DUE and (m.applied >= m.lost_write or not self.rules.checks_newest_only):
            found.append((READ_BACK, m.applied))
        if m.tell_again == DUE and m.told_id >= m.lost_tell:
            found.append((TELL_AGAIN, m.told_id))
        return found

    def taken(self, at: State, kind: str, of: int) -> State:
        one, m = at.of(of), at.member
        if kind == OWN:
            return at.put(of, at.of(of)._replace(state=RUNNING, begun=False))
        if kind == REPORT:
            at = at.know(at.member._replace(reports=m.reports - {of}))
            is_told = one.state == QUEUED and m.told is not None and m.told[0] == one.status and m.told_in_time
            is_over = not one.failing or one.state == GONE or m.told_id > of or m.lost_tell > of
            if (is_over or is_told) and self.rules.drops_pointless_reports:
                return at
        return at.know(at.member._replace(out=Errand(kind, of)))

    def leases(self, at: State) -> Iterator[Step]:
        """A lease is over: for want of a message, since its worker is dead, or since it stands still."""
        for of in at.out:
            one = at.of(of)
            is_held = any(hand.mine and (hand.kind, hand.of) == (OWN, of) for hand in at.hands)
            over = self.disowned(at, OWN, of)
            parked = self.parked(over, of, unsure=one.begun, tells=False)
            is_free = one.begun and not is_held
            yield f"the lease of {of} is over", is_free, parked if is_free else _fault(parked)
        if (out := at.member.out) is not None:
            is_held = any(hand.mine and (hand.kind, hand.of) == out[:2] for hand in at.hands)
            over = self.disowned(at, out.kind, out.of)
            ended = self.errand_over(over, out, unsure=out.begun, failed=True)
            is_free = out.begun and not is_held
            yield f"the lease of the {out.kind} of {out.of} is over", is_free, ended if is_free else _fault(ended)

    @staticmethod
    def disowned(at: State, kind: str, of: int) -> State:
        hands = [hand._replace(mine=False) if (hand.kind, hand.of) == (kind, of) else hand for hand in at.hands]
        return at.holding(hands)

    def settled(self, at: State) -> Iterator[Step]:
        m, out = at.member, {one[0] for one in at.late if self.rules.settles}
        if m.read_back == SET and CT not in out:
            yield f"what was lost at {CT} has settled", True, at.know(m._replace(read_back=DUE))
        if m.tell_again == SET and SIEBEL not in out:
            yield f"what was lost at {SIEBEL} has settled", True, at.know(m._replace(tell_again=DUE))

    # Workers

    def begins(self, at: State) -> Iterator[Step]:
        for of in at.out:
            one = at.of(of)
            if not one.begun or not self.rules.begins_once:
                begun = at.put(of, at.of(of)._replace(begun=True))
                yield f"a worker begins {of} at {one.stage}", True, self.in_hand(begun, OWN, of, one.stage)
        out = at.member.out
        if out is not None and not out.begun:
            stage = CT if out.kind == READ_BACK else SIEBEL
            begun = at.know(at.member._replace(out=out._replace(begun=True)))
            yield f"a worker begins the {out.kind} of {out.of}", True, self.in_hand(begun, out.kind, out.of, stage)

    def in_hand(self, at: State, kind: str, of: int, stage: str) -> State:
        m = at.member
        wanted = self.says(at, kind, of)
        known = stage == SIEBEL and kind != TELL_AGAIN and m.told == wanted and not m.lost_tell
        return at.holding([*at.hands, Hand(kind, of, stage, status=wanted[0], known=known)])

    @staticmethod
    def says(at: State, kind: str, of: int) -> tuple[str, int]:
        """Return what Siebel is to show of an instance: its status, and the instance where that is no success."""
        status = at.of(of).status or (FAIL if kind == REPORT else OK)
        return status, 0 if status == OK else of

    def worked(self, at: State, hand: Hand, rest: list[Hand]) -> Iterator[Step]:
        """Give what may become of what a worker has in hand."""
        who, may_fail = f"{hand.kind} of {hand.of}", at.faults < self.bound.faults
        system, status = hand.stage, hand.status
        if may_fail and (hand.mine or not hand.wrote):
            dead = _fault(at.holding(rest))
            yield f"the worker with {who} dies", False, dead
            if hand.phase == "sent" and hand.mine:
                yield f"it dies, and its call of {who} is still out", False, _later(dead, system, hand.of, status)
        if hand.phase == "begun":
            yield self.called(at, hand, rest)
            if may_fail and hand.mine:
                yield f"{system} is away for {who}", False, _fault(at.holding([*rest, hand._replace(phase="away")]))
        elif hand.phase == "sent":
            landed = self.landed(at, system, hand.of, status, hand)
            is_refused = system == CT and at.of(hand.of).version in self.bound.bad
            answer = hand._replace(phase="refused" if is_refused else "ok")
            yield f"{system} answers {who}: {answer.phase}", True, landed.holding([*rest, answer])
            if may_fail:
                unknown = [*rest, hand._replace(phase="unknown")]
                yield f"{system} takes {who}, and the answer is lost", False, _fault(landed.holding(unknown))
                given_up = _fault(at.holding(unknown))
                yield f"{who} is given up, and its call is still out", False, _later(given_up, system, hand.of, status)
        else:
            yield f"{who} is finished at {system}: {hand.phase}", True, self.finished(at.holding(rest), hand)
            if may_fail and hand.phase in {"away", "unknown"} and hand.kind == OWN:
                last = self.finished(at.holding(rest), hand, last=True)
                yield f"{who} is finished at {system}: {hand.phase}, and was the last attempt", False, _fault(last)

    def called(self, at: State, hand: Hand, rest: list[Hand]) -> Step:
        who = f"{hand.kind} of {hand.of}"
        if not hand.mine and self.rules.keeps_to_lease:
            return f"the lease of {who} is over, and nothing is sent", True, at.holding(rest)
        shows = hand.kind == READ_BACK and self.bound.content(at.shown) == self.bound.content(at.of(hand.of).version)
        if shows or hand.known:
            return f"{hand.stage} shows {who} already", True, at.holding([*rest, hand._replace(phase="ok")])
        sent = at.holding([*rest, hand._replace(phase="sent", wrote=True)])
        if any(other.phase == "sent" and other.mine for other in rest):
            sent = sent._replace(wrong="two calls of the member at once")
        return f"{who} is sent to {hand.stage}", True, sent

    def landed(self, at: State, system: str, of: int, status: str, hand: Hand | None = None) -> State:
        """Have a call applied; under a lease nothing older may follow what is newer."""
        under_lease = hand is not None and hand.mine
        if system == SIEBEL:
            if under_lease and of < at.told_newest:
                at = at._replace(wrong="an older outcome was told after a newer one")
            newest = max(at.told_newest, of) if under_lease else at.told_newest
            return at._replace(told=(status, 0 if status == OK else of), told_newest=newest)
        version = at.of(of).version
        if version in self.bound.bad:
            return at
        if under_lease and version < at.sent:
            at = at._replace(wrong="an older event was applied after a newer one")
        return at._replace(shown=version, sent=max(at.sent, version) if under_lease else at.sent)

    def finished(self, at: State, hand: Hand, *, last: bool = False) -> State:
        """Write what came of a call, if the lease is not over; else only that it may land late."""
        one, out = at.of(hand.of), at.member.out
        is_errand = out is not None and (hand.kind, hand.of) == out[:2]
        is_there = is_errand if hand.kind != OWN else one.state == RUNNING and one.stage == hand.stage
        if not hand.mine and (self.rules.fences or not is_there):
            return self.landed_late(at, hand) if hand.wrote and self.rules.marks_landed_late else at
        if hand.kind != OWN:
            assert out is not None
            return self.errand_over(at, out, unsure=hand.phase == "unknown", failed=hand.phase != "ok")
        if hand.phase in {"away", "unknown"}:
            is_unsure, state = hand.phase == "unknown", DEAD if last else QUEUED
            return self.parked(at, hand.of, unsure=is_unsure, tells=hand.stage == CT, state=state)
        return self.advanced(at, hand)

    def advanced(self, at: State, hand: Hand) -> State:
        of, m = hand.of, at.member
        if hand.stage == CT:
            status = BAD if hand.phase == "refused" else OK
            at = at.put(of, at.of(of)._replace(stage=SIEBEL, begun=False, status=status, failing=False))
            if hand.phase == "ok":
                return at.know(at.member._replace(applied=of, read_back=SET if m.lost_write else UNSET))
            if m.lost_write == of and m.read_back and m.applied != of:
                return at.know(at.member._replace(lost_write=m.applied, read_back=SET))
            return at
        state = DONE if hand.status == OK else REJECTED
        at = self.disowned(at.put(of, at.of(of)._replace(state=state, begun=False)), OWN, of)
        m = m._replace(told=self.says(at, OWN, of), told_id=of, told_in_time=True, synced=state == DONE)
        return at.know(m._replace(tell_again=SET if m.lost_tell else UNSET))

    def parked(self, at: State, of: int, *, unsure: bool, tells: bool, state: str = QUEUED) -> State:
        """Send an instance back, or bury it; *tells*: Siebel is to be told if it goes on failing."""
        one, newer = at.of(of), at.queued
        if state == QUEUED and newer and self.rules.one_queued:
            state = GONE
        m = at.member._replace(synced=False, told_in_time=at.member.told_in_time and (one.failing or not tells))
        is_told = m.told is not None and m.told[0] == FAIL and m.told_in_time
        if tells:
            one = one._replace(failing=True, status=FAIL)
        at = self.disowned(at, OWN, of).know(m).put(of, one._replace(state=state, begun=False))
        if tells and state != GONE:
            is_due = state == DEAD or not is_told
            at = at.know(m._replace(reports=m.reports | {of} if is_due else m.reports - {of}))
        elif state == GONE and one.failing and self.rules.hands_failure_on:
            for heir in newer:
                if not at.of(heir).failing:
                    at = at.put(heir, at.of(heir)._replace(failing=True, status=FAIL))
                    at = at if is_told else at.know(at.member._replace(reports=at.member.reports | {heir}))
        return self.lost(at, one.stage, of) if unsure else at

    def errand_over(self, at: State, out: Errand, *, unsure: bool, failed: bool) -> State:
        at, of, m = self.disowned(at, out.kind, out.of), out.of, at.member._replace(out=None)
        if out.kind == REPORT:
            if not failed:
                m = m._replace(told=(FAIL, of), told_id=of, told_in_time=True, synced=False)
                m = m._replace(tell_again=SET if m.lost_tell else UNSET)
            elif at.of(of).state == GONE:
                m = m._replace(reports=m.reports - {of} | {one for one in at.queued if at.of(one).failing})
            else:
                m = m._replace(reports=m.reports | {of})
        elif out.kind == READ_BACK:
            if self.is_about(out, m.read_back, failed=failed):
                m = m._replace(read_back=SET) if failed else m._replace(read_back=UNSET, lost_write=0)
        else:
            if not failed:
                m = m._replace(told=self.says(at, TELL_AGAIN, of), told_in_time=True)
            if self.is_about(out, m.tell_again, failed=failed):
                m = m._replace(tell_again=SET) if failed else m._replace(tell_again=UNSET, lost_tell=0)
        at = at.know(m)
        return self.lost(at, CT if out.kind == READ_BACK else SIEBEL, of) if unsure else at

    def is_about(self, out: Errand, due: int, *, failed: bool) -> bool:
        """Return whether a check that ends was about what is set now."""
        return due == DUE and (failed or not (out.anew and self.rules.clears_its_own))

    def lost(self, at: State, stage: str, of: int) -> State:
        """Mark that what was called for got no answer, and may land yet."""
        if not self.rules.marks_lost:
            return at
        m = at.member
        if stage == SIEBEL:
            return at.know(at.member._replace(lost_tell=max(m.lost_tell, of), told=None, synced=False))
        is_between = m.lost_write > m.applied and m.lost_write != of
        mark = max(m.lost_write, m.applied if self.is_refused(at, of) else of)
        return at.know(at.member._replace(lost_write=mark, read_back=UNSET if is_between else m.read_back))

    def landed_late(self, at: State, hand: Hand) -> State:
        """Remember what a worker sent that has lost its lease; have it checked, unless what is newer is to come."""
        at, of = self.lost(at, hand.stage, hand.of), hand.of
        m = at.member
        if m.out is not None and m.out.kind == (TELL_AGAIN if hand.stage == SIEBEL else READ_BACK):
            m = m._replace(out=m.out._replace(anew=True))
        if hand.stage == SIEBEL:
            return at.know(m._replace(tell_again=SET)) if m.told_id >= of else at
        is_to_check = m.applied >= of or (self.is_refused(at, of) and m.applied)
        return at.know(m._replace(read_back=SET)) if is_to_check else at

    @staticmethod
    def is_refused(at: State, of: int) -> bool:
        return (at.of(of).stage, at.of(of).status) == (SIEBEL, BAD)

    # Operators

    def requeued(self, at: State, of: int) -> State:
        at = at._replace(requeues=at.requeues + 1)
        states = {one.state for one in at.instances[of:]}
        is_overtaken = bool(states & {DONE, SAME, QUEUED, RUNNING}) or at.member.applied > of
        is_refused = bool(states & {DEAD, REJECTED}) or any(one < of for one in at.queued)
        if self.rules.requeue_looks and is_refused and not is_overtaken:
            return at
        state = GONE if self.rules.requeue_looks and is_overtaken else QUEUED
        m = at.member._replace(reports=at.member.reports - {of})
        return at.know(m).put(of, at.of(of)._replace(state=state, failing=False))


def _fault(at: State) -> State:
    return at._replace(faults=at.faults + 1)


def _later(at: State, system: str, of: int, status: str) -> State:
    return at._replace(late=tuple(sorted((*at.late, (system, of, status)))))

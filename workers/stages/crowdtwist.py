"""Stage 2 of 3: create or update the member in CrowdTwist, by `third_party_id` = member number.

```
unknown outcome of an earlier create:  GET   as sent -> done | different -> PUT | absent -> POST
known in CrowdTwist:                   PUT   404 page_not_found -> POST
not known:                             POST  refused -> GET: ours is there -> PUT, else the refusal stands
deleted in Siebel:                     PUT is_active 0   404 page_not_found, or inactive already -> done
read back:                             GET   as sent -> done | otherwise as if known
probe:                                 PUT   again what was acknowledged last; any answer of its own -> done
resend, recreate:                      PUT   the same; 404 page_not_found -> fact `gone`, or of a recreate POST
resend of a deletion:                  PUT   is_active 0 with what was acknowledged before it; that alone if refused
park:                                  PUT   the same with the address that stands for none; 404 -> fact `gone`
```
A POST or PUT that CrowdTwist itself did not answer may be out: fact `unknown_outcome`; a POST is looked for at once.

Source: domain.md 2.2 (calls, id_type), 2.3 (fields, real answers E5), 2.4 (errors).  (A): nulls empty a field on an
update; a create may ignore `is_active`, so an inactive member is made so by a PUT if it did.
"""

from collections.abc import Awaitable, Callable, Sequence

from shared.errors import DataError, StageError, ThrottledError, UnavailableError
from shared.instances import Done, Errand, Result, Work
from shared.masking import mask
from shared.personal import values_of
from shared.systems.answers import Answer
from shared.systems.crowdtwist import (
    SYSTEM,
    CrowdTwist,
    Sent,
    User,
    echoed,
    is_absent,
    is_as_sent,
    is_inactive,
    may_be_out,
    refusal,
)
from shared.systems.transport import Exchange

Write = Callable[[Exchange, str, User, User], Sent]
"""`CrowdTwist.create` or `CrowdTwist.update`."""


class CrowdTwistStage:
    """The stage."""

    group = 1

    def __init__(self, client: CrowdTwist, default_email: Callable[[str], str]) -> None:
        self.client = client
        self._default_email = default_email

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Bring each member to CrowdTwist, one after the other: facts `ct_user_id`, `echoed`."""
        results: list[Result] = []
        for work in works:
            talk = Talk(self.client, work)
            try:
                results.append(await self._written(talk, work))
            except StageError as error:
                # A write may still land: whoever comes next looks first, and the next success is read back.
                facts = {"unknown_outcome": True} if talk.write_is_out else {}
                results.append(talk.exchange.failed(error, **facts))
        return results

    def _written(self, talk: "Talk", work: Work) -> Awaitable[Done]:
        is_deletion = work.operation == "delete"
        match work.errand:
            case Errand.READ_BACK:
                return talk.read_back(deleted=is_deletion)
            case Errand.PROBE:
                return talk.repeat()
            case Errand.PARK:
                return talk.park(self._default_email(work.member_number))
            case Errand.RESEND | Errand.RECREATE:
                creates = work.errand is Errand.RECREATE
                return talk.deactivate_again() if is_deletion else talk.resend(creates=creates)
        return talk.deactivate() if is_deletion else self._brought(talk, work)

    @staticmethod
    def _brought(talk: "Talk", work: Work) -> Awaitable[Done]:
        if work.unknown_outcome:
            return talk.look_and_settle()
        is_known = work.known_in_crowdtwist or work.ct_user_id is not None
        return talk.update_or_create() if is_known else talk.create()


class Talk:
    """What is said to CrowdTwist about one member in one attempt."""

    __slots__ = ("_client", "_number", "_shown", "_user", "exchange", "write_is_out")

    def __init__(self, client: CrowdTwist, work: Work) -> None:
        if work.user is None:
            raise ValueError(f"instance {work.instance_id} came to crowdtwist without a user object")
        self._client = client
        self.exchange = client.exchange(personal=lambda: values_of(work.user, work.event.get("member")))
        self.write_is_out = work.unknown_outcome
        self._number = work.member_number
        self._user = dict(work.user)
        self._shown = mask(self._user)

    async def create(self) -> Done:
        """POST; a refusal may be of one who is there already."""
        user = {field: value for field, value in self._user.items() if value is not None}
        try:
            answer, stored = await self._write(self._client.create, user, self._shown)
        except StageError as error:
            if not self.write_is_out or isinstance(error, ThrottledError):
                raise
            return await self._probe(error)
        if stored is not None:
            if not self._user.get("is_active", 1) and stored.get("is_active"):
                return await self.update()
            return self._done("created in CrowdTwist", stored)
        refused = refusal(answer)
        if not isinstance(refused, DataError) or await self.find() is None:
            raise refused
        return await self.update()

    async def _probe(self, unanswered: StageError) -> Done:
        try:
            found = await self.find()
        except StageError:
            raise unanswered from None
        if found is None:  # it may still land, so the next attempt looks again
            raise unanswered
        return await self.settle(found)

    async def look_and_settle(self) -> Done:
        """GET; be content, PUT or POST, as what is found wants it."""
        found = await self.find()
        return await (self.create() if found is None else self.settle(found))

    async def settle(self, found: User) -> Done:
        """Be content with *found* if it is what we sent, else PUT."""
        self.write_is_out = False
        if is_as_sent(self._user, found):
            return self._done("created in CrowdTwist by an earlier call", found)
        return await self.update()

    async def update_or_create(self) -> Done:
        """PUT, on 404 `page_not_found` POST."""
        answer, stored = await self._put(self._user)
        return await self.create() if is_absent(answer) else self._updated(answer, stored)

    async def update(self) -> Done:
        """PUT of one who was there a moment ago."""
        answer, stored = await self._put(self._user)
        if is_absent(answer):
            raise UnavailableError(SYSTEM, "the user was there and is gone", answer.status)
        return self._updated(answer, stored)

    async def deactivate(self) -> Done:
        """PUT `is_active` 0 and nothing else; one who is not there, or inactive already, is as wanted."""
        return self._deactivated(*await self._put({"is_active": 0}))

    def _deactivated(self, answer: Answer, stored: User | None) -> Done:
        if is_absent(answer):
            return self.exchange.done("not in CrowdTwist: nothing to make inactive", echoed={})
        if is_inactive(answer):
            return self.exchange.done("inactive in CrowdTwist already")
        if stored is None:
            raise refusal(answer)
        return self._done("made inactive in CrowdTwist", stored)

    async def deactivate_again(self) -> Done:
        """PUT `is_active` 0 with the content before it, which may be lost too; if that is refused, without it."""
        answer, stored = await self._put(self._user)
        is_settled = stored is not None or is_absent(answer) or is_inactive(answer)
        if not is_settled and isinstance(refusal(answer), DataError):
            return await self.deactivate()
        return self._deactivated(answer, stored)

    def find(self) -> Awaitable[User | None]:
        """GET by member number, None if CrowdTwist has no such user."""
        return self._client.find(self.exchange, self._number)

    async def repeat(self) -> Done:
        """PUT what was acknowledged last; one who is not there any more is not created again."""
        answer, stored = await self._put(self._user)
        if is_absent(answer):
            return self.exchange.done("probe: it answers, and does not have this user any more")
        if stored is None:
            raise refusal(answer)
        return self._done("probe: took again what it has already", stored)

    async def resend(self, *, creates: bool) -> Done:
        """PUT what was acknowledged last; who is not there is created only if that is wanted: fact `gone` otherwise."""
        answer, stored = await self._put(self._user)
        if is_absent(answer):
            return (
                await self.create() if creates else self.exchange.done("resend: CrowdTwist has no such user", gone=True)
            )
        if stored is None:
            raise refusal(answer)
        return self._done("resend: taken by CrowdTwist", stored)

    async def park(self, address: str) -> Done:
        """PUT what was acknowledged last with another address; who is not there is not created: fact `gone`."""
        user = self._user | {"email_address": address}
        answer, stored = await self._write(self._client.update, user, mask(user))
        if is_absent(answer):
            return self.exchange.done("park: CrowdTwist has no such user", gone=True)
        if stored is None:
            raise refusal(answer)
        return self._done("park: CrowdTwist has the member at another address", stored)

    async def read_back(self, *, deleted: bool) -> Done:
        """GET; repeat the write if something else, such as a late older write, is there."""
        found = await self.find()
        if found is None and deleted:
            return self.exchange.done("read back: not in CrowdTwist, as wanted")
        wanted = {"is_active": 0} if deleted else self._user
        if found is not None and is_as_sent(wanted, found):
            return self._done("read back: CrowdTwist has what was sent last", found)
        again = await (self.deactivate() if deleted else self.update_or_create())
        return self.exchange.done("read back: it was overwritten, so it was sent again", **again.facts)

    def _put(self, user: User) -> Sent:
        shown = self._shown if user is self._user else user
        return self._write(self._client.update, user, shown)

    async def _write(self, send: Write, user: User, shown: User) -> tuple[Answer, User | None]:
        """Send *user*; return the answer, and with a good one the user object in it, which is this member's."""
        try:
            return await send(self.exchange, self._number, user, shown)
        except StageError as error:
            self.write_is_out = self.write_is_out or may_be_out(error, self.exchange.answer)
            raise

    def _updated(self, answer: Answer, stored: User | None) -> Done:
        if stored is None:
            raise refusal(answer)
        return self._done("updated in CrowdTwist", stored)

    def _done(self, what: str, stored: User) -> Done:
        return self.exchange.done(what, ct_user_id=stored["id"], echoed=echoed(stored))

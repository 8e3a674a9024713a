"""Who waits for an address is due when the member that gives it up has been called for."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from shared.ledger.addresses import PENDING


def wake_who_waits(tx: Connection, members: Sequence[str]) -> bool:
    """Make due at once who waits for an address of these members, whose calls have ended; say whether anybody did.

    Call it before what they ended with is learned: it goes by the addresses that they had.
    """
    return tx.execute(WAKE, {"numbers": list(members)}).first() is not None


WAKE = text(f"""
    update instance set due_at = now() where id = any(array(
        select b.id from instance b join member m on m.member_number = b.member_number
        where b.state = 'waiting' and b.code = '{PENDING}' and b.due_at > now()
          and m.email_key in (select held_email_key from member where member_number = any(cast(:numbers as text[])))
        for update of b skip locked))
    returning id
""")

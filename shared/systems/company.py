"""Who is called for together: words of the other side about one of them may name any other.

An array is answered with one text for all its rows, and a refusal names who is in the way.  So what is kept of such
words leaves out the values of everybody in the batch; where there is trouble, also of those who were lately in it: the
same words are said again to who is tried alone later.
"""

from collections.abc import Iterable
from contextvars import ContextVar

from shared.instances import Work
from shared.personal import NOBODY, Company, Persons

in_calls: ContextVar[Company] = ContextVar("in_calls", default=NOBODY)
"""The members of the batch whose calls are made in this context."""


def company_of(works: Iterable[Work], others: Iterable[Persons] = ()) -> Company:
    """Give the members of *works*, and *others*."""
    return Company((*((work.user, work.event.get("member")) for work in works), *others))

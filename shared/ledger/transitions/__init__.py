"""Every change of an instance's state: no other module changes an instance, and this is all that can become of one.

| from                   | to                                       | who                | statement               |
|------------------------|------------------------------------------|--------------------|-------------------------|
| (nothing)              | pending, superseded, unchanged, skipped  | intake             | acceptance.insert       |
| pending, waiting, held | superseded                               | intake             | superseding.SUPERSEDE   |
| pending, waiting       | running, not begun                       | dispatcher         | claims.CLAIM            |
| running, not begun     | running, begun                           | worker             | attempt_sql.BEGIN       |
| running, not begun     | running, its lease over                  | dispatcher         | claims.LET_GO           |
| running                | running, pending, completed, rejected    | worker             | attempt_sql.ADVANCE     |
| running                | pending, waiting, held, dead, superseded | worker, dispatcher | attempt_sql.PARK        |
| pending, waiting       | held                                     | dispatcher         | holding.HOLD_DUE        |
| waiting, dead          | held, its attempt given back             | worker             | holding.HOLD_ALL_FAILED |
| held                   | running, as the probe                    | dispatcher         | holding.CLAIM_HELD      |
| held                   | pending                                  | dispatcher         | holding.RELEASE         |
| waiting                | waiting, named a suspect                 | worker             | probing.SUSPECT         |
| waiting                | waiting, due now: an address is free     | worker             | address_waits.WAKE      |
| completed              | running, on the errand probe             | dispatcher         | probing.CLAIM_GOOD      |
| any but running        | running, on another errand               | dispatcher         | claims.CLAIM_ERRANDS    |
| running, on an errand  | where it was before                      | worker, dispatcher | attempt_sql.END_ERRANDS |
| dead, rejected         | pending, superseded                      | requeue            | requeue_sql.SEND        |
| pending, held          | where it was before                      | requeue that stops | requeue_sql.PUT_BACK    |
| dead, rejected, queued | discarded                                | discard            | requeue_sql.DISCARD     |

Some change an instance and not its state: `superseding.INHERIT` and `attempt_sql.HAND_ON` hand a failure
that lasts on to a newer instance, `claims.DROP_POINTLESS` forgets a report that a newer status has made pointless, and
`holding.GIVE_BACK_UNBEGUN` gives an attempt back.  What has ended is deleted by `claims.prune`, except dead letters.

Whoever is on its way has a token: every write names it, so who has lost the lease writes nothing.  Where members are
locked, they are locked first and in key order.  Each statement is pasted into psql with its parameters bound.
"""

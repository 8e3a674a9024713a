"""Every change of an instance's state: no other module changes an instance, and this is all that can become of one.

| from                   | to                                       | who                | statement              |
|------------------------|------------------------------------------|--------------------|------------------------|
| (nothing)              | pending, superseded, unchanged, skipped  | intake             | acceptance.insert      |
| pending, waiting, held | superseded                               | intake             | member_queue.SUPERSEDE |
| pending, waiting       | running, not begun                       | dispatcher         | claims.CLAIM           |
| running, not begun     | running, begun                           | worker             | attempts.BEGIN         |
| running, not begun     | running, its lease over                  | dispatcher         | claims.LET_GO          |
| running                | running, pending, completed, rejected    | worker             | attempts.ADVANCE       |
| running                | pending, waiting, held, dead, superseded | worker, dispatcher | attempts.PARK          |
| pending, waiting       | held                                     | dispatcher         | outages.HOLD_DUE       |
| waiting, dead          | held, its attempt given back             | worker, dispatcher | outages.HOLD_FAILED    |
| held                   | running, as the probe                    | dispatcher         | outages.CLAIM_HELD     |
| held                   | pending                                  | dispatcher         | outages.RELEASE        |
| waiting                | waiting, named a suspect                 | worker             | outages.SUSPECT        |
| waiting                | waiting, due now: an address is free     | worker             | member_queue.WAKE      |
| rejected               | pending: an address is free              | worker, dispatcher | member_queue.SEND_...  |
| running                | held, with the id of a guard's hold      | worker             | attempts.PARK          |
| queued                 | held, with the id of a guard's hold      | intake             | mass_changes.HOLD      |
| held by a guard        | pending, to be told: a Data Error        | dispatcher         | holds.TELL             |
| held by a guard        | discarded: part of a mass change         | dispatcher         | holds.DROP             |
| dead, rejected, held   | pending, superseded                      | requeue            | requeue_sql.SEND       |
| pending, held          | where it was before                      | requeue that stops | requeue_sql.PUT_BACK   |
| completed              | rejected                                 | resend, worker     | resends.CONDEMN        |
| dead, rejected, queued | discarded                                | discard            | requeue_sql.DISCARD    |
| discarded              | dead, rejected, held, pending            | undo               | undos.RESTORE          |

Some change an instance and not its state: `member_queue.INHERIT` and `HAND_ON` hand a failure that lasts on to a newer
instance, `outages.GIVE_BACK_UNBEGUN` and `outages.GIVE_BACK_HELD` give attempts back, `resends.CONDEMN` changes what is
to be told of one that waits for Siebel.  What has ended is deleted by `claims.PRUNE`, except dead letters; of
who is forgotten everything, whatever its state, that is not out (`forgetting`).

An *errand* is a call for an instance beside its own way: to tell Siebel of a failure, to check what a lost answer left
behind, to see whether a system serves.  The instance stays as it is meanwhile.

| an errand is             | who                                | statement                      |
|--------------------------|------------------------------------|--------------------------------|
| scheduled                | whoever parks or holds an instance | member_queue.schedule_reports  |
| scheduled                | resend                             | resends.SEND                   |
| scheduled                | dispatcher's desk                  | cycles._SEND                   |
| scheduled and out        | dispatcher                         | errands.TAKE_DUE, TAKE_GOOD    |
| out, begun               | worker                             | attempts.BEGIN_ERRAND          |
| out, its lease over      | dispatcher                         | claims.LET_GO                  |
| done, or due again       | worker, dispatcher                 | errands.END                    |
| handed on to a newer one | intake, worker, dispatcher         | member_queue.INHERIT, END      |
| dropped                  | dispatcher, requeue, discard, stop | errands.DROP_POINTLESS, ...    |

Whoever is on its way has a token: every write names it, so who has lost the lease writes nothing.  A member never has
two calls out, be they of instances or errands (`errands` says how that is kept).  Where members are locked, they are
locked first and in key order.  Each statement is pasted into psql with its parameters bound.
"""

"""`membersync doctor`: what is wrong, why it matters, and what to type; `examination` lists the checks and runs them.

| module          | looks at                                                                           |
|-----------------|------------------------------------------------------------------------------------|
| `configuration` | settings: missing, open, misspelt; connections: switch and breaker, their own test |
| `ledger`        | the server, its version and speed; the schema; who holds an old snapshot           |
| `broker`        | the server, whether it drops messages, what waits in its queues, who consumes them |
| `work`          | who is at work, leases that ran out, what is due, jobs; what piles up unseen       |
| `clocks`        | this machine's against the others'                                                 |

A check has its own time-outs; what keeps it from looking becomes a finding too (`check`).
"""

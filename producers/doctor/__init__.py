"""`membersync doctor`: what is wrong, why it matters, and what to type; `examination` lists the checks and runs them.

| module          | looks at                                                                           |
|-----------------|------------------------------------------------------------------------------------|
| `configuration` | settings: missing, open, misspelt; connections: switch and breaker, their own test |
| `servers`       | ledger: version, speed, schema, who holds an old snapshot; broker: whether it      |
|                 | drops messages, what waits, who consumes its queues; this machine's clock          |
| `work`          | who is at work, leases that ran out, what is due, jobs; what piles up unseen       |

A check has its own time-outs; what keeps it from looking becomes a finding too (`check`).
"""

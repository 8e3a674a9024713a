"""`membersync doctor`: what is wrong, why it matters, and what to type; `examine` runs the checks.

A check is a function that looks at one thing of a `Subject` and returns `Finding`s.  It changes nothing, knows nothing
of the other checks, and has its own time-outs; what keeps it from looking becomes a finding too.

| module          | looks at                                                          |
|-----------------|-------------------------------------------------------------------|
| `configuration` | settings: missing, open, misspelt                                 |
| `ledger`        | the server, its version and speed; the schema                     |
| `broker`        | the server, whether it drops messages, what waits in its queues   |
| `workers`       | who consumes the queues of each lane                              |
| `connections`   | switch and breaker; the connection's own test                     |
| `clocks`        | this machine's against the others'                                |
| `work`          | the dispatcher, leases that ran out, what is due, jobs            |
| `leftovers`     | stray messages, mail that waits, room on the disk                 |
"""

"""The outside systems as clients with typed calls; `connect` opens the one of a stage.

| module                        | holds                                                                          |
|-------------------------------|--------------------------------------------------------------------------------|
| `crowdtwist`, `siebel`, `oic` | one system each: its calls, its credentials, what its answers mean; OIC's flow |
|                               | as a function too: it runs here where `OIC__MODE` is builtin                   |
| `transport`, over `wire`      | connection, calls and their record; every silence an error                     |
| `answers`                     | which error an answer is, and how it is read                                   |
| `permits`                     | what a call needs before it goes out: time of the lease, and budget            |

Nothing here knows Celery, SQL, or the order in which an attempt makes its calls (`workers.stages`).
"""

"""What api and console share of HTTP.

| module       | subject                                                                                |
|--------------|----------------------------------------------------------------------------------------|
| `protocol`   | connections: slow, too many, half a request                                            |
| `middleware` | around every route: the proxy before us, the envelope of an answer, HEAD               |
| `auth`       | who asks and what they may, and how many wrong tokens they may try                     |
| `request`    | what routes take from a request: settings, ledger, client, query, body; which error    |
|              | becomes which problem, and the codes of those                                          |
| `operating`  | who may operate, and the bodies of requeues, discards and rehearsals                   |

Knows neither of the two.
"""

"""What api and console share of HTTP.

| module       | subject                                                                                |
|--------------|----------------------------------------------------------------------------------------|
| `protocol`   | connections: slow, too many, half a request                                            |
| `middleware` | around every route: the proxy before us, the envelope of an answer, HEAD               |
| `auth`       | who asks and what they may, and how many wrong tokens they may try                     |
| `request`    | what routes take from a request: settings, ledger, client, query, body                 |
| `operating`  | who may operate, and the bodies of requeues, discards and rehearsals                   |
| `problems`   | the codes of errors, and which error becomes which problem                             |

Knows neither of the two.
"""

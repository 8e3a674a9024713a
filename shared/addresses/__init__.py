"""Where ledger, broker and the outside systems are: one reading of each address, for whoever connects.

| module    | forms                                                                                                |
|-----------|------------------------------------------------------------------------------------------------------|
| `ledger`  | libpq's URI and `key=value`, SQLAlchemy's URL, pg_auto_failover's: several hosts, IPv6, unix sockets |
| `broker`  | `redis` `rediss` `amqp` `amqps`; TLS is verified unless told otherwise                               |
| `web`     | `http` `https`, without credentials                                                                  |
| `reading` | a URL taken apart, for the first two                                                                 |

What cannot be read without doubt is refused, with a form that can.  No parser's words are ever shown: they quote what
they could not read, which may be a password.
"""

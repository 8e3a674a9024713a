"""Where ledger, broker and the outside systems are: one reading of each address, for whoever connects.

| module    | forms                                                                                                    |
|-----------|----------------------------------------------------------------------------------------------------------|
| `servers` | the ledger's: libpq's URI and `key=value`, SQLAlchemy's URL, pg_auto_failover's: several hosts, IPv6,    |
|           | unix sockets; the broker's: `redis` `rediss` `amqp` `amqps`, TLS is verified unless told otherwise       |
| `web`     | `http` `https`, without credentials; and the company's proxy                                             |
| `hosts`   | a host, a port, a URL taken apart for the others; and listening                                          |

What cannot be read without doubt is refused, with a form that can.  No parser's words are ever shown: they quote what
they could not read, which may be a password.
"""

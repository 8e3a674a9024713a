"""Mail to operators, as OIC's error notification: what happened, what it means, what to do.  Never one per record.

news (taken from the ledger once) -> a letter (composed) -> the outbox -> the mail server, tried until it takes it.
"""

"""Mail to operators, as OIC's error notification: what happened, what it means, what to do.  Never one per record.

what is new (taken from the ledger once) -> a mail (composed) -> the outbox -> the mail server, tried until it takes it;
                                                                            -> the webhook, tried so many times.
"""

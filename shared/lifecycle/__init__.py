"""What becomes of an instance: retry, breaker and its evidence, verdicts, losses, rollout of a requeue.

Pure: no clock, no SQL, no HTTP.  Who calls these has read the ledger before, and writes what they say after.
"""

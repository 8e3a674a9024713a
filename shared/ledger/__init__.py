"""The ledger: the PostgreSQL record and schedule of everything; the only place that knows SQL."""

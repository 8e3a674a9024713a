"""Reconciliation: Siebel, CrowdTwist and ledger compared, with the cause of each difference and how sure we are.

`causes` and `estimates` are pure; `runs` is what people start, stop and read; `runner` carries a run on;
`repairer` reads and takes in whom repairs are about.
"""

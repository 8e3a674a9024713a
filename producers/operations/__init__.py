"""What operators see and do: api, console, command line and mail share these, and add only their own forms.

`reads` is the one way to what the ledger knows of people, masked unless somebody is named who sees them, by a filter as
it was typed; `job_control` is what is done to instances, `connection_control` to connections;
`verdict` says in a sentence how it goes, and `advice` what to do about it.  No SQL, and nothing of HTTP or terminals.
"""

"""The kit for Siebel's side: how to send, what to import there, samples, and a day's messages as a load.

`README.md` is where an administrator begins; `openapi.json` is made by `membersync openapi --siebel`.
"""

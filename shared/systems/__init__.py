"""The outside systems as clients: typed calls over one transport.

What is between the wire and a system's own words stands here: connections, tokens, permits, calls and their record.
Nothing here knows Celery, SQL, or the order in which an attempt makes its calls (`workers.stages`).
"""

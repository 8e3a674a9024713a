"""The one way in: formats, SiebelMessage, XML, CSV, and `accept`, which every event goes through.

Nothing here knows HTTP or the command line.
"""

"""The console: the pages that operators open in a browser, served by the api's process at `/`.

Pages are rendered on the server and complete without JavaScript; a little of our own keeps them live.  A module is a
subject of pages, named in `app`; `rendering` renders, `session` knows who looks and reads what they send, `live`
streams what changes.

A new page is its module, its template, its router in `app`, its name in the navigation of `templates/base.html`, and
its test.
"""

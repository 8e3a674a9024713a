"""The one way in: bytes become events, and events become instances in the ledger.

| module           | subject                                                                            |
|------------------|------------------------------------------------------------------------------------|
| `formats`        | a request's body, or a file, to events; which reader reads it                      |
| `lenient_json`   | JSON of which one event is broken                                                  |
| `siebel_xml`     | a SiebelMessage in XML; `broken_xml`: one of which some members are broken         |
| `siebel_message` | a SiebelMessage and its members, as either brought it, to events                   |
| `csv_rows`       | a table, row by row                                                                |
| `charsets`       | in which character set any of them is                                              |
| `refused`        | what cannot be taken in: a body, an element, an event, and its masked excerpt      |
| `accept`         | events to instances, judged by the rules of spec section 2.3, in one transaction   |
| `order`          | which of two events of a member is newer                                           |
| `together`       | small requests that come at once, in one transaction                               |

Nothing here knows HTTP or the command line.
"""

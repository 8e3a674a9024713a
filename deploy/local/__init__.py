"""One machine: the embedded servers, the supervisor, the whole stack on top of them, and the demo that it plays.

===================================  =======================================================================
``supervisor`` ``die_with_parent``   programs kept running, none of which outlives us
``ports``                            programs that listen: the port that was asked for, or a free one
``server_folder`` ``postgres``       an embedded server's folder; PostgreSQL's data, and the account it runs as
``servers``                          embedded PostgreSQL and Valkey
``programs`` ``stack`` ``up``        command lines and environments; all of it in order; `membersync up`
``demo`` ``demo_run``                `membersync demo`; what every story of it stands on
``demo_story`` ``demo_sample``       its main story; the members in that, and what must come of them
``scenes`` ``scene_downtime``        the other stories, by name: a new one is a row and an act
===================================  =======================================================================
"""

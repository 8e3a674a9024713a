"""One machine: the embedded servers, the supervisor, the whole stack on top of them, and the demo that it plays.

===================================  =======================================================================
``supervisor`` ``die_with_parent``   programs kept running, none of which outlives us
``programs``                         their ports, asked for or free; folders, command lines and environments
``servers`` ``postgres``             embedded PostgreSQL and Valkey; PostgreSQL's data, and the account it runs as
``stack``                            all of it in order; `membersync up`
``demo`` ``scene_downtime``          `membersync demo`, and its scenes by name: a new one is a row and an act
``demo_run``                         what every story of it stands on
``demo_story`` ``demo_sample``       its main story; the members in that, and what must come of them
===================================  =======================================================================
"""

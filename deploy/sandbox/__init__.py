"""Simulators of OIC, CrowdTwist and Siebel over real HTTP, for demo, tests and benchmarks.

They are written from ``domain.md`` alone and import nothing of ours, so that a misunderstanding in the product cannot
hide in its own mirror.

======================  ==============================================================================
``wire``                HTTP/1.1 in, bytes to requests, answers to bytes; a port, open or refusing connections
``simulator``           one outside system: latency and faults around the system's own answer
``calls``               the record of its calls, and the journal of what they asked it to change
``faults``              the fault plan
``crowdtwist*``         the CrowdTwist loyalty API; the users it holds, and what it accepts as one
``siebel``              the Siebel REST API for members
``oic``                 the OIC token endpoint, the trigger of the member sync flow, its mapping
``server``              all of it in a loop of yours, or in a thread; ``/_sandbox/...``, and its client: steer it
======================  ==============================================================================
"""

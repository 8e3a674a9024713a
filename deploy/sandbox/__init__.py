"""Simulators of OIC, CrowdTwist and Siebel over real HTTP, for demo, tests and benchmarks.

They are written from ``domain.md`` alone and import nothing of ours, so that a misunderstanding in the product cannot
hide in its own mirror.

======================  ==============================================================================
``wire``                HTTP/1.1 in, bytes to requests, answers to bytes; a port, open or refusing connections
``simulator``           one outside system: latency, faults, the record of calls, then the system's answer
``faults`` ``calls``    the fault plan; what was called, how often, how many at once
``crowdtwist*``         the CrowdTwist loyalty API; the users it holds, and what it accepts as one
``siebel``              the Siebel REST API for members
``oic``                 the OIC token endpoint, the trigger of the member sync flow, its mapping
``server``              all of it in a loop of yours; ``/_sandbox/...``: look at and steer the simulators
``client``              all of it in a thread, and the control endpoints as methods
======================  ==============================================================================
"""

"""The api: intake for producers, what people and machines read, what operators do.

| module         | subject                                                                              |
|----------------|--------------------------------------------------------------------------------------|
| `events`       | `POST /v1/member-events`                                                             |
| `reads`        | instances, members, refusals, the audit, suggestions                                 |
| `dead_letters` | dead letters, requeues, discards, rehearsals, and the jobs that come of them         |
| `connections`  | how the connections stand; pause, resume, test                                       |
| `watching`     | status and throughput for people; probes and metrics for machines                    |
| `description`  | what `/openapi.json` says; `event_schema`: what intake takes; `examples` of answers   |

`producers.site` puts them together with the console.
"""

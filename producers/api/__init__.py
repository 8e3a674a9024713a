"""The api: intake for producers, what people and machines read, what operators do.

| module         | subject                                                                              |
|----------------|--------------------------------------------------------------------------------------|
| `events`       | `POST /v1/member-events`                                                             |
| `reads`        | instances, members, refusals, the audit, suggestions                                 |
| `cases`        | Data Errors as cases                                                                 |
| `dead_letters` | dead letters, requeues, discards, rehearsals, and the jobs that come of them         |
| `repairs`      | resends: what CrowdTwist may have lost is sent once more                             |
| `guards`       | what guards hold: a flood of one Data Error; release, discard                        |
| `incidents`    | what went wrong for a while, and what it cost                                        |
| `approvals`    | what waits for a second person; approve, refuse                                      |
| `maintenance`  | planned windows of the connections                                                   |
| `watching`     | status, throughput and connections for people; probes and metrics for machines       |
| `description`  | what `/openapi.json` says, what intake takes with it; `examples` of answers           |

`producers.site` puts them together with the console.
"""

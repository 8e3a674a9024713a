"""Messages on the broker that none of our processes sent: a true one, and what a forger makes of it."""

import base64
import copy
import json
from typing import Any

from shared.pipeline import Lane, Stage

_UUID = "fccd40be-e415-4d8e-802f-2b600b8d537d"
_SHOWN = {"argsrepr": "1 member: M-1", "kwargsrepr": "1 instance: 1"}


def headers(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the headers of a true message."""
    nothing = dict.fromkeys(("shadow", "eta", "expires", "group", "group_index", "parent_id", "stamped_headers"))
    return {
        "lang": "py",
        "task": Stage.OIC.task,
        "id": _UUID,
        "root_id": _UUID,
        "retries": 0,
        "timelimit": [None, None],
        "origin": "gen1@host",
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamps": {},
        **nothing,
        **_SHOWN,
        **changes,
    }


def link(stage: Stage, ids: Any = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a link of a true message's chain."""
    return {
        "task": stage.task,
        "args": [[1] if ids is None else ids],
        "kwargs": {},
        "options": {"queue": stage.queue(Lane.LIVE), "task_id": _UUID, "reply_to": _UUID, **_SHOWN},
        "subtask_type": None,
        "immutable": True,
        **changes,
    }


def body(ids: Any = None, kwargs: Any = None, **changes: Any) -> list[Any]:  # noqa: ANN401
    """Return the body of a true message."""
    ids = [1] if ids is None else ids
    chain = [link(Stage.SIEBEL, ids), link(Stage.CROWDTWIST, ids)]
    embedded = {"callbacks": None, "errbacks": None, "chord": None, "chain": chain}
    return [[ids], {} if kwargs is None else kwargs, embedded | changes]


def envelope(of: Any = None, number: int = 0, **changed_headers: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a true message with another body, or other headers, as it lies in a list of Redis."""
    text = of if isinstance(of, bytes) else json.dumps(body() if of is None else of).encode()
    return {
        "body": base64.b64encode(text).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers(**changed_headers),
        "properties": {
            "correlation_id": _UUID,
            "reply_to": _UUID,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": Stage.OIC.queue(Lane.LIVE)},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": f"{number:08x}{_UUID[8:]}",
        },
    }


def without(part: str, of: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a true envelope that lacks *part*, such as `headers.id`."""
    changed = copy.deepcopy(of or envelope())
    *way, last = part.split(".")
    inner = changed
    for step in way:
        inner = inner[step]
    del inner[last]
    return changed


def having(part: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a true envelope with another *part*, such as `properties.priority`."""
    changed = envelope()
    *way, last = part.split(".")
    inner = changed
    for step in way:
        inner = inner[step]
    inner[last] = value
    return changed


BODIES: dict[str, Any] = {
    "an object": {"a": 1},
    "two parts": [1, 2],
    "no JSON": b"no JSON at all",
    "nested ten thousand deep": b"[" * 10_000,
    "a number too long to read": b"[[[1" + b"0" * 5_000 + b"]],{},{}]",
    "ids that are text": body(["x"]),
    "ids that are objects": body([{"a": 1}]),
    "ids that are fractions": body([1.5]),
    "ids that are truths": body([True]),
    "ids that are nothing": body([None]),
    "ids below one": body([0]),
    "ids beyond the ledger's": body([2**63]),
    "ids far beyond": body([10**400]),
    "no ids": body([]),
    "too many ids": body(list(range(1, 20_000))),
    "ids without a list": body(7),
    "ids of one and the same batch twice": [[[1], [1]], {}, body()[2]],
    "no argument": [[], {}, body()[2]],
    "wrong keyword": body(kwargs={"ids": [1]}),
    "unknown keyword": body(kwargs={"x": 1}),
    "keywords that are a list": [[[1]], [], body()[2]],
    "a callback": body(callbacks=[link(Stage.SIEBEL)]),
    "an errback": body(errbacks=[link(Stage.SIEBEL)]),
    "callbacks that are a number": body(callbacks=7),
    "a chord": body(chord=link(Stage.SIEBEL)),
    "no chain": body(chain=None),
    "a chain of text": body(chain="x"),
    "a chain of another task": body(chain=[link(Stage.SIEBEL, task="celery.backend_cleanup")] * 2),
    "a chain in another order": body(chain=[link(Stage.CROWDTWIST), link(Stage.SIEBEL)]),
    "a chain without end": body(chain=[link(Stage.SIEBEL)] * 50),
    "a chain of other ids": body(chain=[link(Stage.SIEBEL, [2]), link(Stage.CROWDTWIST, [2])]),
    "a chain to another queue": body(
        chain=[link(Stage.SIEBEL), link(Stage.CROWDTWIST, options=link(Stage.OIC)["options"])]
    ),
    "a chain with a time limit": body(
        chain=[
            link(Stage.SIEBEL),
            link(Stage.CROWDTWIST, options=link(Stage.CROWDTWIST)["options"] | {"time_limit": "x"}),
        ]
    ),
    "more beside the chain": body(more=1),
}
HEADERS: dict[str, dict[str, Any]] = {
    "limits that are text and an object": {"timelimit": ["x", {}]},
    "limits that are seconds": {"timelimit": [0.001, 0.001]},
    "limits without an end": {"timelimit": [1e400, None]},
    "one limit": {"timelimit": [None]},
    "limits that are a number": {"timelimit": 7},
    "a time to come": {"eta": "2099-01-01T00:00:00+00:00"},
    "a time that is none": {"eta": {"a": 1}},
    "an end that is past": {"expires": "2001-01-01T00:00:00+00:00"},
    "an end that is a number": {"expires": 1e400},
    "an end that is a list": {"expires": []},
    "retries that are text": {"retries": "x"},
    "many retries": {"retries": 10**30},
    "a group": {"group": "x"},
    "a place in a group": {"group_index": {}},
    "a root that is an object": {"root_id": {}},
    "a parent that is a list": {"parent_id": [1]},
    "an id that is a list": {"id": []},
    "an id that is no UUID": {"id": "x"},
    "no id": {"id": None},
    "another task": {"task": "somebody.elses"},
    "a task of Celery": {"task": "celery.chain"},
    "a task that is a list": {"task": []},
    "no task": {"task": None},
    "another name": {"shadow": "membersync.siebel_result"},
    "a name that is an object": {"shadow": {"a": 1}},
    "shown arguments that are a list": {"argsrepr": [1]},
    "shown arguments without end": {"argsrepr": "x" * 100_000},
    "shown keywords that are a number": {"kwargsrepr": 7},
    "an origin that is an object": {"origin": {}},
    "a result to be kept": {"ignore_result": "no"},
    "a nesting that is text": {"replaced_task_nesting": "x"},
    "stamped headers": {"stamped_headers": ["x"], "x": 1},
    "stamps": {"stamps": {"x": 1}},
    "stamps that are a number": {"stamps": 7},
    "another language": {"lang": "js"},
    "a packed body": {"compression": "application/x-gzip"},
    "a packing that is a list": {"compression": []},
    "a header that Celery's context would take": {"called_directly": True},
    "a callback as a header": {"callbacks": [1]},
    "a chain as a header": {"chain": 7},
    "where it was delivered as a header": {"delivery_info": 7},
    "an answer's address as a header": {"reply_to": {}},
    "a host as a header": {"hostname": 7},
}
ENVELOPES: dict[str, Any] = {
    **{
        f"no {part}": without(part)
        for part in (
            "body", "headers", "properties", "content-type", "content-encoding", "headers.id", "headers.task",
            "properties.delivery_tag", "properties.delivery_info", "properties.delivery_info.routing_key",
            "properties.body_encoding",
        )
    },
    **{
        f"{part} = {value!r}": having(part, value)
        for part, value in (
            ("body", 7), ("body", ["x"]), ("body", "/"), ("headers", []), ("headers", "x"), ("properties", []),
            ("content-type", "application/x-python-serialize"), ("content-type", {}), ("content-encoding", "idna"),
            ("content-encoding", 7), ("properties.delivery_tag", {}), ("properties.delivery_tag", 7),
            ("properties.delivery_info", 7), ("properties.delivery_info.exchange", {}), ("properties.priority", {}),
            ("properties.priority", 10**30), ("properties.body_encoding", "rot13"), ("properties.body_encoding", []),
            ("properties.correlation_id", []), ("properties.reply_to", {}), ("more", 1),
        )
    },
    "a list": [],
    "a number": 7,
    "a text": "x",
    "nothing": None,
}  # fmt: skip
TEXTS: dict[str, bytes] = {
    "no JSON": b"not an envelope",
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "half an envelope": json.dumps(envelope()).encode()[:-1],
    "nested deep": b"[" * 100_000,
    "a number too long to read": b"1" * 10_000,
    "an object that names a type": b'{"__type__": "datetime", "__value__": 7}',
    "not a number": b"NaN",
}
PROPERTIES: dict[str, dict[str, Any]] = {
    **{
        f"{name} that is no UTF-8": {name: b"\xff\xfe"}
        for name in ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type", "app_id")
    },
    "a header's name that is no UTF-8": {"application_headers": headers() | {b"\xff": "x"}},
    "a header that is no UTF-8": {"application_headers": headers(origin=b"\xff")},
    "a header that is half a character": {"application_headers": headers(origin="\ud800")},
    "nothing but a body": {"content_type": None, "content_encoding": None, "application_headers": None},
}
"""Of a message of RabbitMQ, whose body is no JSON."""
COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {},
    "rate_limit": {"task_name": Stage.OIC.task, "rate_limit": "1/h"},
    "time_limit": {"task_name": Stage.OIC.task, "hard": 0.001, "soft": 0.001},
    "revoke": {"task_id": _UUID, "terminate": True, "signal": "KILL"},
    "revoke_by_stamped_headers": {"headers": {"x": "1"}, "terminate": True},
    "terminate": {"task_id": _UUID, "signal": "KILL"},
    "hello": {"from_node": "x", "revoked": {_UUID: 1}},
    "pool_shrink": {"n": 100},
    "pool_grow": {"n": 100},
    "pool_restart": {"modules": ["os"], "reload": True},
    "autoscale": {"max": 0, "min": 0},
    "add_consumer": {"queue": "celery"},
    "cancel_consumer": {"queue": Stage.OIC.queue(Lane.LIVE)},
    "disable_events": {},
    "election": {"id": "x", "topic": "task", "action": {}},
    "memdump": {},
    "memsample": {},
    "objgraph": {"type": "dict"},
    "query_task": {"ids": [_UUID]},
    "nobody_knows": {},
    "ping": {"more": 1},
    "registered": {"taskinfoitems": ["app"]},
}


def command(method: Any, arguments: Any = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the body of a command of Celery's remote control."""
    return {"method": method, "arguments": arguments, "destination": None, "pattern": None, "matcher": None} | changes


def event(of: Any = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a true event of a worker, or one of a task, as Flower is told it."""
    beats = {"freq": 2.0, "active": 0, "processed": 7, "loadavg": [0.1, 0.2, 0.3]}
    software = {"sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"}
    told = {"hostname": "live.1@host", "utcoffset": 5.5, "pid": 7, "clock": 9, "timestamp": 1.8e9}
    return told | (of or {"type": "worker-heartbeat", **beats, **software}) | changes


_TOLD = {"type": "task-succeeded", "uuid": _UUID, "result": "{}", "runtime": 1.0}
EVENTS: dict[str, Any] = {
    "a number": 7,
    "nothing": None,
    "a text": "secret",
    "an object": {"secret": 1},
    "a list": [event()],
    **{
        f"{name} = {value!r}"[:60]: event(**{name: value})
        for name, value in (
            ("type", 7), ("type", "worker"), ("type", "worker-secret"), ("hostname", ["secret"]), ("hostname", ""),
            ("hostname", "<script>secret"), ("hostname", "x\x1b[31m"), ("hostname", "x" * 300), ("utcoffset", "x"),
            ("utcoffset", 10**9), ("pid", {}), ("clock", "x"), ("clock", 10**40), ("timestamp", "x"),
            ("timestamp", float("nan")), ("timestamp", 1e300), ("timestamp", -1), ("freq", "x"), ("freq", 0),
            ("freq", 1e9), ("active", "x"), ("active", -1), ("processed", []), ("loadavg", "x"), ("loadavg", [1.0] * 9),
            ("sw_ident", "x" * 100_000), ("sw_ver", 7), ("secret", 1),
        )
    },
    **{
        f"a task's {name} = {value!r}"[:60]: event(of=_TOLD, **{name: value})
        for name, value in (
            ("uuid", [1]), ("uuid", "x"), ("uuid", None), ("result", [[]]), ("result", "x" * 100_000), ("runtime", "x"),
            ("runtime", float("inf")), ("ready", 1), ("type", "task-secret"), ("type", "task-received"),
            ("type", "task-sent"), ("type", "task-failed"), ("name", "secret"),
        )
    },
    "another task": event(of={"type": "task-started", "uuid": _UUID, "name": "secret"}),
}  # fmt: skip

"""What others put in place of, or into, what kombu keeps on Redis: taken out and filed, and nobody is held up by it."""

import json
from collections import Counter

import redis

from shared.broker import ask_workers
from shared.pipeline import QUEUES, Lane, Stage
from tests import forgeries
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

_LIVE = Stage.OIC.queue(Lane.LIVE)
_BOOKS = ("unacked", "unacked_index")
_BINDINGS = tuple(f"_kombu.binding.{name}" for name in ("celery.pidbox", "reply.celery.pidbox", "celeryev", *QUEUES))
_KEYS = (*QUEUES, *_BOOKS, *_BINDINGS, "_kombu.binding_deadlines", f"_kombu.binding_permanent.{_LIVE}")


def _strays(pipeline: Pipeline) -> Counter[str]:
    return Counter(pipeline.sql("select queue || ': ' || reason from stray_message"))


def _replace(client: "redis.Redis", key: str) -> None:
    with client.pipeline() as at_once:
        at_once.delete(key)
        at_once.set(key, "x")
        at_once.execute()


def test_a_key_of_another_kind_is_taken_out_and_holds_up_nobody(on_valkey: Pipeline) -> None:
    with redis.Redis.from_url(on_valkey.broker_url) as client:
        for key in _KEYS:
            _replace(client, key)
        with on_valkey.process(*DISPATCHER), on_valkey.worker():
            on_valkey.send(member_event("M-0"))
            eventually(lambda: on_valkey.states() == {"completed": 1}, "one whose worker started among them")
            assert _strays(on_valkey).total() == len(_KEYS)
            for number, key in enumerate(_KEYS, 1):
                _replace(client, key)
                eventually(lambda: client.type(key) != b"string", f"{key} is taken out")  # noqa: B023  # read at once
                on_valkey.send(member_event(f"M-{number}"))
            eventually(lambda: on_valkey.states() == {"completed": 1 + len(_KEYS)}, "those that came meanwhile")
            assert ask_workers(on_valkey.broker_url, "ping", within_s=60, limit=1).keys() == {"w1@test"}
            eventually(lambda: _strays(on_valkey).total() >= 2 * len(_KEYS), "each is filed")


def test_a_message_taken_while_the_books_cannot_be_written_is_not_lost(on_valkey: Pipeline) -> None:
    leases = {"MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "3600"}
    on_valkey.settings.update(leases)  # or a lost one would come again
    with redis.Redis.from_url(on_valkey.broker_url) as client, on_valkey.whole():
        on_valkey.send(member_event("M-0"))
        eventually(lambda: on_valkey.states() == {"completed": 1}, "the first")
        for number, key in enumerate(_BOOKS, 1):
            _replace(client, key)
            on_valkey.send(member_event(f"M-{number}"))
            eventually(lambda: on_valkey.states() == {"completed": 1 + number}, f"beside {key}")  # noqa: B023


def test_an_entry_of_the_books_that_nobody_can_give_back_is_filed_and_those_behind_it_come_back(
    on_valkey: Pipeline,
) -> None:
    sent = forgeries.envelope(forgeries.body([10**9]))
    person = {"body": "ann.lee@example.org"}
    entries = {
        "no JSON": b"ann.lee@example.org",
        "not UTF-8": b"\xff",
        "another shape": b"{}",
        "no message": json.dumps([person, "", _LIVE]).encode(),
        "no headers": json.dumps([forgeries.without("headers"), "", _LIVE]).encode(),
        "from nowhere": json.dumps([sent, 7, {}]).encode(),
        "long": b"[" * 3 * 2**20,
        "one that was not acknowledged": json.dumps([sent, "", _LIVE]).encode(),
    }
    with redis.Redis.from_url(on_valkey.broker_url) as client, on_valkey.worker():
        for age, (tag, entry) in enumerate(entries.items()):
            client.hset("unacked", tag, entry)
            client.zadd("unacked_index", {tag: 1 + age})
        eventually(lambda: not client.exists(*_BOOKS), "nothing is left in the books")
        eventually(lambda: not client.llen(_LIVE), "the one message was given back and taken")
        assert _strays(on_valkey).total() == len(entries) - 1
    assert "Traceback" not in on_valkey.log_text()
    assert "ann.lee" not in on_valkey.log_text()


def test_one_message_a_hundred_times_is_taken_five_times_and_filed_else(on_valkey: Pipeline) -> None:
    copy = json.dumps(forgeries.envelope(forgeries.body([10**9])))
    with redis.Redis.from_url(on_valkey.broker_url) as client, on_valkey.whole():
        client.lpush(_LIVE, *[copy] * 100)
        on_valkey.send(member_event("M-0"))
        eventually(lambda: on_valkey.states() == {"completed": 1}, "the one behind them")
        filed = f"{_LIVE}: one message, again and again"
        eventually(lambda: _strays(on_valkey)[filed] == 95, "all but five filed")


def test_a_text_too_long_for_us_is_filed_unread_and_a_name_that_the_ledger_cannot_keep_is_none(
    on_valkey: Pipeline,
) -> None:
    unkept = forgeries.having("properties.delivery_info", {"exchange": "", "routing_key": "a\x00b"})
    unkept["headers"]["eta"] = "x"
    with redis.Redis.from_url(on_valkey.broker_url) as client, on_valkey.worker():
        assert ask_workers(on_valkey.broker_url, "ping", within_s=60, limit=1)  # or it may not listen there yet
        client.lpush(_LIVE, b"[" + b"[]," * 2**20 + b"[]]", json.dumps(unkept))
        client.publish("/0.celery.pidbox", b"[" + b"[]," * 2**20 + b"[]]")
        too_long = "no message: longer than any of ours"
        eventually(lambda: _strays(on_valkey).total() == 3, "all filed")
        assert _strays(on_valkey) == {
            f"{_LIVE}: {too_long}": 1,
            f"/0.celery.pidbox: {too_long}": 1,
            "ab: not of our making: headers.eta": 1,
        }


def test_what_is_no_binding_keeps_no_answer_from_who_asked(on_valkey: Pipeline) -> None:
    with redis.Redis.from_url(on_valkey.broker_url) as client, on_valkey.worker():
        client.sadd(
            "_kombu.binding.reply.celery.pidbox", "x", b"\xff\xfe", "a\x06\x16b", "a\x06\x16b\x06\x16c\x06\x16d"
        )
        for _ in range(2):
            assert ask_workers(on_valkey.broker_url, "ping", within_s=60, limit=1).keys() == {"w1@test"}

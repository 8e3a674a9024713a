"""The broker as it may be found: read-only, full, with a certificate of somebody else, or having hung up."""

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from celery import Celery

from deploy.local.programs import free_port
from deploy.local.servers import scratch_valkey
from producers.doctor import broker
from producers.doctor.check import Level, Subject
from shared.broker import ask_workers, configuration
from shared.broker_address import read_broker
from shared.settings import Settings
from tests.network import AUTHORITY, CLIENT, CLIENTS_AUTHORITY, SERVER

CERTIFICATE = Path(__file__).parents[1] / "mailbox.pem"


@pytest.fixture
def own_valkey() -> Iterator[str]:
    with scratch_valkey() as url:
        yield url


@pytest.fixture
def client(own_valkey: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(own_valkey) as one:
        yield one


def subject_of(url: str) -> Subject:
    return Subject(Settings(_env_file=None, broker_url=url))


def found_at(url: str) -> tuple[Level, str]:
    findings = broker.look_at_broker(subject_of(url))
    return findings[0].level, findings[0].found


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("replicaof", "of nobody", "READONLY, it is a replica"),
        ("min-replicas-to-write", "1", "NOREPLICAS"),
        ("maxmemory", "1", "OOM, its memory is full"),
    ],
)
def test_a_broker_that_takes_no_writes_is_not_ok(
    own_valkey: str, client: "redis.Redis", setting: str, value: str, says: str
) -> None:
    assert found_at(own_valkey)[0] is Level.OK
    assert client.keys("membersync*") == []  # it leaves nothing there
    if setting == "replicaof":
        client.slaveof("127.0.0.1", free_port())
    else:
        client.config_set(setting, value)
    assert found_at(own_valkey) == (Level.FAIL, f"it takes no writes: {says}")


def test_a_broker_that_may_drop_messages_is_a_failure(own_valkey: str, client: "redis.Redis") -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    found, _ = broker.look_at_broker(subject_of(own_valkey))
    assert (found.level, "maxmemory-policy is allkeys-lru" in found.found) == (Level.FAIL, True)
    assert "CONFIG SET maxmemory-policy noeviction" in found.remedy


def test_a_queue_that_nobody_empties_is_told_with_its_length(own_valkey: str, client: "redis.Redis") -> None:
    client.rpush("siebel.live", *["{}"] * 401)
    _, found = broker.look_at_broker(subject_of(own_valkey))
    assert (found.level, found.found) == (Level.WARN, "siebel.live 401 messages")


def test_a_broker_that_hung_up_on_idle_connections_takes_the_next_message(
    own_valkey: str, client: "redis.Redis"
) -> None:
    with Celery("idle", set_as_current=False) as app:
        app.config_from_object(configuration(Settings(_env_file=None, broker_url=own_valkey)))
        signature = app.signature("membersync.oic_flow", args=([1],), options={"queue": "oic.live"})
        for length in range(1, 4):
            with app.producer_pool.acquire(block=True) as producer:
                signature.apply_async(producer=producer)
            assert client.llen("oic.live") == length
            client.client_kill_filter(_type="normal", skipme=True)


@pytest.fixture
def tls_port(own_valkey: str) -> Iterator[int]:
    """The same Valkey behind TLS, with a certificate for 127.0.0.1 that no authority of the system has signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    with behind(context, own_valkey) as port:
        yield port


@contextmanager
def behind(context: ssl.SSLContext, url: str) -> Iterator[int]:
    """Pass on to the broker at *url* who comes by TLS of *context*; give the port."""
    target = ("127.0.0.1", int(read_broker(url).place.rpartition(":")[2].partition("/")[0]))

    class Through(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as front,
                socket.create_connection(target) as back,
            ):
                carrying = threading.Thread(target=carried, args=(back, front), daemon=True)
                carrying.start()
                carried(front, back)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Through) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def carried(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while said := one.recv(65_536):
            other.sendall(said)
        other.shutdown(socket.SHUT_WR)


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_told_otherwise(own_valkey: str, tls_port: int) -> None:
    secret = own_valkey.partition("@")[0].rpartition(":")[2]
    url = f"rediss://:{secret}@127.0.0.1:{tls_port}/0"
    level, said = found_at(url)
    assert (level, "certificate verify failed" in said, secret in said) == (Level.FAIL, True, False)
    with pytest.raises(ConnectionError):
        ask_workers(url, "ping", within_s=0.1)
    for trusting in (f"{url}?ssl_ca_certs={CERTIFICATE}", f"{url}?ssl_cert_reqs=none"):
        assert found_at(trusting)[0] is Level.OK
        assert ask_workers(trusting, "ping", within_s=0.1) == {}


def test_a_certificate_of_another_host_is_refused(own_valkey: str, tls_port: int) -> None:
    secret = own_valkey.partition("@")[0].rpartition(":")[2]
    level, said = found_at(f"rediss://:{secret}@127.0.0.2:{tls_port}/0?ssl_ca_certs={CERTIFICATE}")
    assert level is Level.FAIL
    assert "refused" in said or "certificate verify failed" in said


def test_a_broker_that_wants_our_certificate_is_shown_it(own_valkey: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CLIENTS_AUTHORITY)
    context.load_cert_chain(SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    secret = own_valkey.partition("@")[0].rpartition(":")[2]
    with behind(context, own_valkey) as port:
        url = f"rediss://:{secret}@127.0.0.1:{port}/0?ssl_ca_certs={AUTHORITY}"
        assert found_at(f"{url}&ssl_certfile={CLIENT}&ssl_keyfile={CLIENT}")[0] is Level.OK
        level, said = found_at(url)
        assert level is Level.FAIL
        assert re.search("certificate required|EOF|reset by peer|closed", said), said
        assert found_at(f"{url}&ssl_certfile=/none.pem") == (Level.FAIL, "does not serve (/none.pem cannot be read)")


def test_rabbitmq_is_verified_too(tls_port: int) -> None:
    assert "certificate verify failed" in found_at(f"amqps://127.0.0.1:{tls_port}/")[1]
    assert "certificate verify failed" not in found_at(f"amqps://127.0.0.1:{tls_port}/?ssl_ca_certs={CERTIFICATE}")[1]

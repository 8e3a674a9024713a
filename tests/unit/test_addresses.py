"""Every form of an address is read once and alike, or refused in words that have nothing of it."""

import json
import ssl
from contextlib import nullcontext

import psycopg
import pytest
from kombu import Connection
from pydantic import ValidationError
from sqlalchemy import URL, make_url

from shared import addresses
from shared.addresses import POOLED, canonical_ledger, ledger_arguments
from shared.broker import transport_options
from shared.broker_address import canonical_broker, read_broker
from shared.hosts import AddressError
from shared.ledger.engine import connect_arguments
from shared.settings import ApiSettings, FlowerSettings, Settings, Token, settings

SECRET = "S3CR3T"
PLAIN = {"host": "db", "port": "5432", "dbname": "m", "user": "bob", "password": "pw"}


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://bob:pw@db:5432/m",
        "postgres://bob:pw@db:5432/m",
        "postgresql+psycopg://bob:pw@db:5432/m",
        "POSTGRESQL://bob:pw@db:5432/m",
        "postgresql://db:5432/m?user=bob&password=pw",
        "postgresql+psycopg://bob:pw@/m?host=db&port=5432",
        "postgresql+psycopg://bob:pw@/m?host=db:5432",
        "host=db port=5432 dbname=m user=bob password=pw",
        "host = 'db' port=5432 dbname=m user=bob password='pw'",
    ],
)
def test_every_way_to_write_a_ledger_is_one(address: str) -> None:
    assert ledger_arguments(address) == PLAIN
    assert canonical_ledger(address) == "postgresql+psycopg://bob:pw@db:5432/m"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("postgres://u@a:5501,b:5502/m?target_session_attrs=read-write&sslmode=prefer", "a,b", "5501,5502"),
        ("postgresql://u@a,b/m", "a,b", "5432,5432"),
        ("postgresql://u@a,b:5433/m", "a,b", "5432,5433"),
        ("postgresql+psycopg://u@/m?host=a:5501&host=b:5502", "a,b", "5501,5502"),
        ("postgresql+psycopg://u@/m?host=a,b&port=5501,5502", "a,b", "5501,5502"),
        ("host=a,b port=5501,5502 dbname=m user=u", "a,b", "5501,5502"),
        ("host=a,b port=5501 dbname=m user=u", "a,b", "5501,5501"),
        ("postgresql://u@[::1]:5501,[fe80::1]/m", "::1,fe80::1", "5501,5432"),
        ("host=::1,::2 dbname=m user=u", "::1,::2", "5432,5432"),
    ],
)
def test_several_hosts_lead_to_the_one_that_can_write(address: str, host: str, port: str) -> None:
    found = ledger_arguments(address)
    assert (found["host"], found["port"], found["target_session_attrs"]) == (host, port, "read-write")
    assert (found["user"], found["dbname"]) == ("u", "m")
    assert ledger_arguments(canonical_ledger(address)) == found


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("postgresql:///m?host=/var/run/postgresql", {"host": "/var/run/postgresql", "dbname": "m"}),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/m", {"host": "/var/run/postgresql", "dbname": "m"}),
        ("postgresql+psycopg://u@/m?host=/run:x", {"host": "/run:x", "dbname": "m", "user": "u"}),
        ("host=/run dbname=m", {"host": "/run", "dbname": "m"}),
        ("postgresql://u@[::1]:5432/m", {"host": "::1", "port": "5432", "dbname": "m", "user": "u"}),
        ("postgresql://u@[fe80::1%25eth0]/m", {"host": "fe80::1%eth0", "dbname": "m", "user": "u"}),
        ("postgresql:///m", {"dbname": "m"}),
        ("postgresql://db/m?ssl=true", {"host": "db", "dbname": "m", "sslmode": "require"}),
        ("postgresql://db/m?user=bob@tenant", {"host": "db", "dbname": "m", "user": "bob@tenant"}),
        ("postgresql://bob@tenant:pw@db/m", {"host": "db", "dbname": "m", "user": "bob@tenant", "password": "pw"}),
        (
            "postgresql://db/m?options=-c%20search_path%3Ds",
            {"host": "db", "dbname": "m", "options": "-c search_path=s"},
        ),
        (
            "postgresql+psycopg://db/m?options=-c+search_path%3Ds",
            {"host": "db", "dbname": "m", "options": "-c search_path=s"},
        ),
        ("postgresql://db/%C5%81", {"host": "db", "dbname": "Ł"}),
    ],
)
def test_a_ledger_may_be_reached_in_many_ways(address: str, found: dict[str, str]) -> None:
    assert ledger_arguments(address) == found
    assert ledger_arguments(canonical_ledger(address)) == found


@pytest.mark.parametrize(
    "password",
    ["a/b", "a#b", "a%b", "a@b", "a:b", "a?b", "a?b=c", "/#%@:?", "p@ss/w#rd%zz?", "a b", "1/2", "a+b", "ä€"],
)
def test_a_password_works_as_it_is_and_encoded(password: str) -> None:
    encoded = URL.create("postgresql+psycopg", "bob", password, "db", 5432, "m").render_as_string(hide_password=False)
    assert make_url(encoded).password == password
    for address in (f"postgresql://bob:{password}@db:5432/m", encoded, canonical_ledger(encoded)):
        assert ledger_arguments(address) == PLAIN | {"password": password}
    made = psycopg.conninfo.make_conninfo(**PLAIN | {"password": password})
    assert ledger_arguments(made) == PLAIN | {"password": password}
    read = read_broker(f"redis://bob:{password}@db:6379/0")
    assert read == read_broker(canonical_broker(f"redis://bob:{password}@db:6379/0"))
    assert read.place == "redis://db:6379/0"


@pytest.mark.parametrize(
    "address",
    [
        f"mysql://bob:{SECRET}@db/m",
        f"bob:{SECRET}@db/m",
        f"postgresql:/bob:{SECRET}@db/m",
        f"postgresql://bob:{SECRET}%zz%41@db/m",
        f"postgresql://bob:{SECRET}%ff@db/m",
        f"postgresql://bob:{SECRET}%00@db/m",
        f"postgresql://bob:{SECRET}@::1:5432/m",
        f"postgresql://bob:{SECRET}@db:{SECRET}/m",
        f"postgresql://bob:{SECRET}@db:70000/m",
        f"postgresql://bob:{SECRET}@[db]/m",
        f"postgresql://bob:{SECRET}@db/m#f",
        f"postgresql://bob:{SECRET}@db/m?sslmod=require",
        f"postgresql://bob:{SECRET}@db/m?sslmode={SECRET}",
        f"postgresql://bob:{SECRET}@db/m?connect_timeout={SECRET}",
        f"postgresql://bob:{SECRET}@db/m?target_session_attrs=standby",
        f"postgresql://bob:{SECRET}@a,b/m?target_session_attrs=any",
        f"postgresql://bob:{SECRET}@db/m?client_encoding=latin1",
        f"postgresql://bob:{SECRET}@db/m?options=-csynchronous_commit%3Doff",
        f"postgresql://bob:{SECRET}@db/m?options=-cdefault_transaction_read_only%3Don",
        f"postgresql://bob:{SECRET}@/m?host=a,b,c&port=1,2",
        f"host=db password='{SECRET}",
        f"host=db passwort={SECRET}",
        SECRET,
    ],
)
def test_a_ledger_that_cannot_be_is_refused_without_a_word_of_it(address: str) -> None:
    with pytest.raises(AddressError) as refused:
        canonical_ledger(address)
    assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as invalid:
        Settings(_env_file=None, ledger_url=address)
    assert SECRET not in str(invalid.value) + repr(invalid.value)


@pytest.mark.parametrize(
    "address",
    [
        f"sentinel://bob:{SECRET}@db/{SECRET}",
        f"sentinel://bob:{SECRET}@db/0?ssl_ca_certs=/etc/ca.pem",
        f"redis://bob:{SECRET}@db/0?master_name=m",
        f"redis://bob:{SECRET}@a,b/0",
        f"redis://bob:{SECRET}@db:{SECRET}/0",
        f"redis://bob:{SECRET}@db/{SECRET}",
        f"redis://bob:{SECRET}@db/0?ssl_cert_reqs=none",
        f"rediss://bob:{SECRET}@db/0?ssl_cert_reqs={SECRET}",
        f"rediss://bob:{SECRET}@db/0?timeout={SECRET}",
        f"redis://bob:{SECRET}%zz%41@db/0",
        f"amqp://a:{SECRET}@db/;amqp://b:{SECRET}@db/",
        f"redis://bob:{SECRET}#w",
        SECRET,
    ],
)
def test_a_broker_that_cannot_be_is_refused_without_a_word_of_it(address: str) -> None:
    with pytest.raises(ValidationError) as invalid:
        Settings(_env_file=None, broker_url=address)
    assert SECRET not in str(invalid.value) + repr(invalid.value)


def test_tls_of_a_broker_is_verified_unless_told_otherwise() -> None:
    need, name = ssl.CERT_REQUIRED, {"server_hostname": "db"}
    assert read_broker("redis://db").tls is None
    assert read_broker("amqp://db").tls is None
    assert read_broker("rediss://db").tls == {"ssl_cert_reqs": need, "ssl_check_hostname": True}
    assert read_broker("amqps://db").tls == {"cert_reqs": need, **name}
    with_ca = canonical_broker("rediss://:a/b@db:6379/0?ssl_ca_certs=/etc/ca.pem")
    assert read_broker(with_ca).tls == {
        "ssl_cert_reqs": need,
        "ssl_check_hostname": True,
        "ssl_ca_certs": "/etc/ca.pem",
    }
    assert read_broker(with_ca).url == "rediss://:a%2Fb@db:6379/0"
    assert read_broker("amqps://db?ssl_ca_certs=/etc/ca.pem").tls == {
        "cert_reqs": need,
        **name,
        "ca_certs": "/etc/ca.pem",
    }
    assert read_broker("rediss://db?ssl_cert_reqs=none").tls == {
        "ssl_cert_reqs": ssl.CERT_NONE,
        "ssl_check_hostname": False,
    }
    assert read_broker("amqps://db?ssl_cert_reqs=CERT_NONE").tls == {"cert_reqs": ssl.CERT_NONE}


def test_a_cluster_is_reached_by_any_of_its_nodes_each_by_its_own_name() -> None:
    several = read_broker(canonical_broker(f"amqps://bob:{SECRET}@a,b:5671/v?ssl_certfile=/ours.pem"))
    assert several.url == f"amqps://bob:{SECRET}@a/v;amqps://bob:{SECRET}@b:5671/v"
    assert several.tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None, "certfile": "/ours.pem"}
    assert several.place == "amqps://a,b:5671/v"
    with Connection(several.url, ssl=several.tls) as connection:
        assert [one.rpartition("@")[2] for one in connection.alt] == ["a/v", "b:5671/v"]


def test_sentinels_are_asked_for_the_server_with_words_of_their_own() -> None:
    of = f"sentinels://bob:{SECRET}@a,[::1]:26380/2?master_name=ct&sentinel_password=own&ssl_ca_certs=/ca.pem"
    found = read_broker(canonical_broker(of))
    assert found.urls == (f"sentinel://bob:{SECRET}@a:26379/2", f"sentinel://bob:{SECRET}@[::1]:26380/2")
    assert found.place == "sentinels://a:26379,[::1]:26380/2"
    options = transport_options(of)
    assert (options["master_name"], options["socket_timeout"]) == ("ct", 5)
    said = {"ssl": True, "ssl_ca_certs": "/ca.pem", "password": "own", "socket_connect_timeout": 3}
    assert said.items() <= options["sentinel_kwargs"].items()
    assert transport_options("sentinel://a")["master_name"] == "mymaster"


@pytest.mark.parametrize(
    ("url", "direct", "is_good"),
    [
        ("postgresql://u@pooler:6432/m?pgbouncer=true", "postgresql://u@db/m", True),
        ("postgresql://u@pooler:6432/m?pgbouncer=true", None, False),
        ("postgresql://u@db/m", "postgresql://u@db/m?pgbouncer=true", False),
        ("postgresql://u@pooler/m?pgbouncer=true&options=-cjit%3Doff", "postgresql://u@db/m", False),
        ("postgresql://u@pooler/m?pgbouncer=perhaps", "postgresql://u@db/m", False),
        (None, "postgresql://u@db/m", False),
    ],
)
def test_through_pgbouncer_wake_up_calls_need_a_way_of_their_own(
    url: str | None, direct: str | None, *, is_good: bool
) -> None:
    with nullcontext() if is_good else pytest.raises(ValidationError):
        of = Settings(_env_file=None, ledger_url=url, ledger_direct_url=direct)
        assert of.require_direct_ledger() == "postgresql+psycopg://u@db/m"
        asked = connect_arguments(of.require_ledger(), "membersync")
        assert (asked["prepare_threshold"], "options" in asked, POOLED in asked) == (None, False, False)


def test_a_ledger_whose_authority_is_named_is_verified() -> None:
    assert ledger_arguments("postgresql://u@db/m?sslrootcert=/ca.pem")["sslmode"] == "verify-full"
    assert ledger_arguments("postgresql://u@db/m?sslrootcert=/ca.pem&sslmode=verify-ca")["sslmode"] == "verify-ca"


@pytest.mark.parametrize(
    "address",
    [
        "crowdtwist.example.org",
        "//crowdtwist.example.org",
        "ftp://crowdtwist.example.org",
        "https://",
        f"https://bob:{SECRET}@crowdtwist.example.org",
        f"https://bob:{SECRET}",
        f"https://crowdtwist.example.org?api_key={SECRET}",
        f"https://crowdtwist.example.org#{SECRET}",
        "https://crowdtwist.example.org/v2/users",
        "https://siebel.example.org/siebel/v1.0/data",
        "https://oic.example.org/ic/api/integration/v1/flows/rest/X/1.0",
        "https://[::1/x",
        "https://crowd twist/",
    ],
)
def test_a_base_url_that_surely_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValidationError) as invalid:
        Settings(_env_file=None, crowdtwist={"base_url": address})
    assert SECRET not in str(invalid.value)


def test_a_base_url_keeps_its_path_and_loses_its_slash() -> None:
    assert addresses.base_url("https://gateway.example.org/crowdtwist/ ") == "https://gateway.example.org/crowdtwist"
    assert addresses.base_url("http://[::1]:9102") == "http://[::1]:9102"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LEDGER_URL", f"postgresql://bob:{SECRET}%zz%41@db/m", "MEMBERSYNC_LEDGER_URL: "),
        ("BROKER_URL", f"redis://bob:{SECRET}#w", "MEMBERSYNC_BROKER_URL: "),
        ("API__TOKENS", f'{{"{SECRET}": ', "MEMBERSYNC_API__TOKENS is not valid JSON"),
        ("API__TOKENS", f'{{"{SECRET}": {{"name": "x", "role": "{SECRET}"}}}}', "MEMBERSYNC_API__TOKENS: must be"),
        ("API__TOKENS", f'{{" {SECRET}": {{"name": "x", "role": "admin"}}}}', "MEMBERSYNC_API__TOKENS: must be"),
        ("API__TOKENS", f'"{SECRET}"', "MEMBERSYNC_API__TOKENS: must be"),
        ("SIEBEL__PASSWORD", f"{SECRET}\n", "MEMBERSYNC_SIEBEL__PASSWORD: must have no blanks around it"),
        ("CROWDTWIST__API_KEY", f"{SECRET}\r\nX: y", "MEMBERSYNC_CROWDTWIST__API_KEY: must have no blanks"),
        ("CROWDTWIST__BASE_URL", f"https://bob:{SECRET}@ct", "MEMBERSYNC_CROWDTWIST__BASE_URL: must have no user"),
        ("OIC__TOKEN_URL", f"https://bob:{SECRET}@idcs/oauth", "MEMBERSYNC_OIC__TOKEN_URL: must have no user"),
        ("MAIL__FROM", SECRET, "MEMBERSYNC_MAIL__FROM: must be an e-mail address"),
        ("FLOWER__PASSWORD", f"{SECRET}ä$$", "MEMBERSYNC_FLOWER__PASSWORD must be ASCII"),
        ("FLOWER__USERNAME", f"{SECRET}:x", "MEMBERSYNC_FLOWER__USERNAME must have something in it, and no colon"),
        ("API__PORT", SECRET, "MEMBERSYNC_API__PORT: "),
    ],
)
def test_what_is_refused_is_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"MEMBERSYNC_{name}", value)
    with pytest.raises(ValueError, match="the settings") as refused:
        settings.__wrapped__()
    assert said in str(refused.value)
    shown = f"{refused.value}{refused.value!r}{refused.value.__cause__}"
    assert SECRET not in shown


def test_a_secret_is_no_part_of_how_settings_look() -> None:
    of = Settings(
        _env_file=None,
        ledger_url=f"postgresql://bob:{SECRET}@db/m",
        broker_url=f"redis://bob:{SECRET}@db/0",
        flower=FlowerSettings(password=f"a:{SECRET}"),
    )
    assert SECRET not in repr(of) + str(of)


def test_tokens_are_taken_as_they_are() -> None:
    tokens = {"t:1/ä": {"name": "ann", "role": "admin"}}
    assert ApiSettings(tokens=tokens).tokens == {"t:1/ä": Token(name="ann", role="admin")}
    assert json.loads(ApiSettings(tokens=tokens).model_dump_json())["tokens"] == tokens

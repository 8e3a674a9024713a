"""Hosts and the addresses of pages: what is read, what is refused, and how they are written."""

import pytest

from shared import hosts
from shared.addresses import page_url
from shared.errors import SettingsInvalidError
from shared.hosts import AddressError
from shared.settings import Settings, settings


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        (" [2001:db8::1] ", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::", "::"),
        ("", ""),
        ("api.example.org", "api.example.org"),
        ("member_sync-api", "member_sync-api"),
    ],
)
def test_a_host_to_listen_on_is_read_with_or_without_brackets(given: str, read: str) -> None:
    assert hosts.canonical(given) == read


@pytest.mark.parametrize(
    "given",
    [
        "127.0.0.1:8000",
        "[::1]:8000",
        "http://localhost",
        "[::1",
        "::1]",
        ":::",
        "300.1.1.1",
        "1.2.3",
        "a b",
        "a,b",
        "ü",
    ],
)
def test_what_is_no_host_is_refused_and_the_setting_named(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AddressError, match="a host alone"):
        hosts.canonical(given)
    for name in ("API__HOST", "FLOWER__HOST", "DISPATCHER__METRICS_HOST", "MAIL__HOST"):
        monkeypatch.setenv(f"MEMBERSYNC_{name}", given)
        settings.cache_clear()
        with pytest.raises(SettingsInvalidError, match=f"MEMBERSYNC_{name}: must be a host alone"):
            settings()
        monkeypatch.delenv(f"MEMBERSYNC_{name}")
    settings.cache_clear()


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104  # not bound here
        ("", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("[::]", "http://[::1]:8000"),
        ("localhost", "http://127.0.0.1:8000"),
        ("2001:db8::1", "http://[2001:db8::1]:8000"),
        ("api.example.org", "http://api.example.org:8000"),
    ],
)
def test_what_is_printed_is_where_this_machine_reaches_it(host: str, reached: str) -> None:
    assert hosts.url(host, 8000) == reached
    assert Settings(_env_file=None, api={"host": host}).api.url == reached


@pytest.mark.parametrize("host", ["::1", "[::1]", "::ffff:127.0.0.1", "127.9.9.9", "LOCALHOST", "api.localhost"])
def test_this_machine_is_known_by_every_name_of_it(host: str) -> None:
    assert hosts.is_loopback(host)


@pytest.mark.parametrize("host", ["", "::", "0.0.0.0", "::ffff:10.0.0.1", "2001:db8::1", "localhost.example.org", "1"])  # noqa: S104
def test_others_are_not_taken_for_this_machine(host: str) -> None:
    assert not hosts.is_loopback(host)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://ops.example.com/membersync/", "https://ops.example.com/membersync"),
        ("https://ops.example.com/membersync///", "https://ops.example.com/membersync"),
        ("HTTPS://Ops.Example.com:443/Sync", "https://ops.example.com/Sync"),
        ("http://ops.example.com:80", "http://ops.example.com"),
        ("http://[::1]:8000/a/b-c_d.e~f", "http://[::1]:8000/a/b-c_d.e~f"),
        ("https://xn--mnchen-3ya.example/", "https://xn--mnchen-3ya.example"),
    ],
)
def test_the_address_of_a_page_is_read_as_browsers_write_it(given: str, read: str) -> None:
    assert page_url(given) == read


@pytest.mark.parametrize(
    "given",
    [
        "ops.example.com/membersync",
        "//ops.example.com",
        "ftp://ops.example.com",
        "https://",
        "https:///membersync",
        "https://ann:S3CR3T@ops.example.com/",
        "https://ops.example.com/?a=b",
        "https://ops.example.com/?",
        "https://ops.example.com/#top",
        "https://ops.example.com:0/",
        "https://ops.example.com:65536/",
        "https://ops.example.com:port/",
        "https://münchen.example/",
        "https://ops..example.com/",
        "https://ops.example.com,other/",
        "https://1.2.3/",
        "http://[::1/",
        "http://0.0.0.0:8000",
        "http://[::]:8000",
        "https://ops.example.com/a b",
        "https://ops.example.com/a//b",
        "https://ops.example.com/a/../b",
        "https://ops.example.com/./b",
        "https://ops.example.com/a%2Fb",
        "https://ops.example.com/ä",
        'https://ops.example.com/"><script>',
    ],
)
def test_an_address_that_nobody_could_open_is_refused_and_the_setting_named(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API__PUBLIC_URL", "FLOWER__PUBLIC_URL"):
        monkeypatch.setenv(f"MEMBERSYNC_{name}", given)
        settings.cache_clear()
        with pytest.raises(SettingsInvalidError, match=f"MEMBERSYNC_{name}: must ") as caught:
            settings()
        assert "S3CR3T" not in str(caught.value)
        monkeypatch.delenv(f"MEMBERSYNC_{name}")
    settings.cache_clear()

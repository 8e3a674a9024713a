"""Wrong tokens are counted by where they come from, for a minute, and in bounded memory."""

from producers.http.auth import WINDOW_S, Guesses, source_of


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tried(guesses: Guesses, source: str, count: int) -> None:
    for number in range(count):
        guesses.count(source, f"{number}".encode())


def test_so_many_may_be_tried_and_then_one_waits_until_the_first_is_a_minute_old() -> None:
    clock = Clock()
    guesses = Guesses(3, clock=clock)
    for _ in range(3):
        assert guesses.wait_s("a") == 0
        guesses.count("a")
        clock.now += 10
    assert guesses.wait_s("a") == WINDOW_S - 30
    assert guesses.wait_s("b") == 0
    clock.now += WINDOW_S - 30
    assert guesses.wait_s("a") == 0


def test_who_goes_on_while_too_many_were_tried_waits_no_longer() -> None:
    clock = Clock()
    guesses = Guesses(3, clock=clock)
    tried(guesses, "a", 3)
    clock.now += WINDOW_S - 1
    tried(guesses, "a", 100)
    assert guesses.wait_s("a") == 1


def test_the_same_wrong_token_again_counts_a_fifth() -> None:
    guesses = Guesses(3, clock=Clock())
    for _ in range(10):
        guesses.count("a", b"old")
    assert guesses.wait_s("a") == 0
    guesses.count("a", b"old")
    assert guesses.wait_s("a") > 0


def test_memory_stays_bounded_under_any_number_of_sources() -> None:
    guesses = Guesses(3, sources_max=100, clock=Clock())
    for number in range(1_000):
        tried(guesses, f"source {number}", 50)
    assert len(guesses) == 100
    assert guesses.wait_s("source 999") > 0


def test_a_source_that_is_asked_about_after_its_minute_is_forgotten() -> None:
    clock = Clock()
    guesses = Guesses(3, clock=clock)
    tried(guesses, "a", 3)
    clock.now += WINDOW_S
    assert guesses.wait_s("a") == 0
    assert len(guesses) == 0


def test_an_ipv6_network_is_one_source_and_an_ipv4_address_is_one_however_written() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:2") != source_of("2001:db8:0:1::1")
    assert source_of("fe80::1%eth0") == source_of("fe80::2")
    assert source_of("::ffff:192.0.2.7") == source_of("192.0.2.7") != source_of("192.0.2.8")
    assert source_of("unknown") == "unknown"

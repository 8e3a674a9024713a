"""The events of a benchmark: 1 kB each, of as many members as are wanted."""

from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]
_BESIDE = {
    "card_number": "6035 7202 9911 4408",
    "enrollment_channel": "Point of Sale",
    "enrollment_date": "2019-04-11T16:20:07Z",
    "home_store": "US-NY-0417 Broadway and East 9th Street",
    "tier": "Gold",
    "tier_class": "Spend of the last twelve months",
    "tier_expires": "2027-03-31",
    "point_balance_status_value": "18250",
    "points_lifetime": "204775",
    "points_expiring_next_quarter": "1250",
    "last_transaction_date": "2026-11-20T19:02:44Z",
    "last_transaction_channel": "E-Commerce, web shop",
    "household": "Cole, New York",
    "account_owner": "LOYADMIN",
    "primary_organization": "Default Organization",
    "currency_code": "USD",
    "preferred_contact_method": "Email",
    "suppress_all_calls": "N",
    "comment": "Changed by the nightly job",
}
"""What Siebel sends beside it, and is kept but not synced: it makes an event 1 kB."""


def member_event(number: str, *, operation: str = "enroll", modification: int = 0) -> Event:
    """Return a realistic event of a US member, 1 kB as JSON, in membersync's own form."""
    member = {
        "member_number": number,
        "row_id": row_id(number),
        "program_id": "1-PROG",
        "member_type": "Individual",
        "status": "Active",
        "language": "en",
        "first_name": "Andy",
        "last_name": "Cole",
        "middle_name": "",
        "date_of_birth": "1979-11-29",
        "email_address": f"andy.cole.{number.lower()}@example.org",
        "postal_code": "10010",
        "city": "New York",
        "country_code": "US",
        "gender": "M",
    }
    occurred_at = f"2026-11-23T08:51:00.{modification % 1_000_000:06d}Z"
    member |= _BESIDE
    return {"operation": operation, "occurred_at": occurred_at, "modification": modification, "member": member}


def member_events(prefix: str, count: int, first: int = 0) -> Iterator[Event]:
    """Give *count* enrolments of different members, numbered from *first*."""
    return (member_event(f"{prefix}-{number}") for number in range(first, first + count))


def row_id(number: str) -> str:
    """Return the row that the stub says is the member's."""
    return f"1-{number}"

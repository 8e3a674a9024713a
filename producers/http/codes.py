"""Every `code` of a problem that callers may branch on: its status, and what it means.  None changes its sense."""

from http import HTTPStatus

CODES: dict[str, tuple[int, str]] = {
    "invalid_parameter": (400, "a parameter, or a field of the body, cannot be meant; `field` names it"),
    "unreadable_body": (400, "the body is not what its media type says"),
    "unreadable_request": (400, "the request is not HTTP/1.1"),
    "unauthorised": (401, "no token, or one that is not known"),
    "forbidden": (403, "the token's role may not do this"),
    "forbidden_host": (403, "without tokens, only loopback names of this machine are answered"),
    "forbidden_origin": (403, "without tokens, the page of another site is not answered"),
    "not_found": (404, "there is nothing at this path"),
    "no_such_instance": (404, "there is no such instance, or it was pruned"),
    "no_such_member": (404, "no event of this member was accepted; `refusals` has those that were refused"),
    "no_such_requeue": (404, "there is no such requeue"),
    "no_such_discard": (404, "there is no such discard"),
    "no_such_connection": (404, "there is no such connection"),
    "method_not_allowed": (405, "this path has other methods; `Allow` names them"),
    "unfinished_request": (408, "the head or the body of the request did not come in time"),
    "nothing_matched": (409, "nothing matches the selection now; nothing is done"),
    "all_refused": (409, "everything that matches is refused, `plan` says why; nothing is done"),
    "reason_required": (409, "the selection is of more than one instance now, and no reason is given; nothing is done"),
    "job_is_over": (409, "the job has ended, or was stopped already"),
    "cannot_rehearse": (409, "today's mapping cannot be asked from here"),
    "body_too_large": (413, "the body is larger than allowed; nothing is taken in"),
    "too_many_events": (413, "the body has more events than allowed; nothing is taken in"),
    "address_too_long": (414, "the address is longer than allowed"),
    "unsupported_media_type": (415, "send JSON, NDJSON or XML"),
    "unsupported_encoding": (415, "send the body as it is, not compressed"),
    "no_good_event": (422, "none of the events could be taken in; `results` says why of each"),
    "too_many_wrong_tokens": (429, "too many wrong tokens came from this address; one that is known still passes"),
    "head_too_long": (431, "the headers are longer than allowed"),
    "internal": (500, "membersync has a bug; its log has it by `X-Request-Id`"),
    "ledger": (503, "the ledger cannot be reached just now; send the same again"),
    "too_slow": (503, "the question took the ledger too long; ask a narrower one"),
    "too_many_connections": (503, "too many connections are open; send the same again"),
    "not_ready": (503, "something that is needed is away; `missing` says what"),
}


def codes_of(status: int) -> list[str]:
    """Give the codes that go with *status*."""
    return [code for code, (of, _) in CODES.items() if of == status]


def table() -> str:
    """Give all of them as a table in Markdown."""
    rows = [f"| {status} {HTTPStatus(status).phrase} | `{code}` | {sense} |" for code, (status, sense) in CODES.items()]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])

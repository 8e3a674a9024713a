"""Bodies that name nobody and are taken in as the true ones are: who is recorded becomes somebody else, always one.

What is known to say nothing of a person stays, where it stands as a field of ours; every other value is replaced, those
of unknown fields and of what is below them too, and names of fields that look like no name.  The same
value of a field has the same pseudonym, so that a member's second change stays one of that member, and what was the
same event stays a duplicate.  The key is drawn for each recording and kept nowhere: nobody gets back.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, ParseError, tostring

import orjson
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from producers.intake.siebel_xml import unescape
from producers.intake.spellings import fold
from shared.fields import FIELDS, Rule

_KEPT_FIELDS = {"operation", "modification", "occurred_at", "program_id", "member_type", "status", "language"}
_OF_THE_MESSAGE = {"lane", "force", "IntObjectName", "IntObjectFormat", "MessageType", "isDeleted", "CT Sync Status"}
_OF_THE_MESSAGE |= {"IsPrimaryMVG", "SSA Primary Field", "Primary Contact Flag"}
_NAMES = {fold(label): field.name for field in FIELDS for label in (field.name, *field.labels)}
_KEPT = {fold(name) for name in _OF_THE_MESSAGE}
_KEPT |= {label for label, name in _NAMES.items() if name in {*_KEPT_FIELDS, "country_code"}}
_HOMES = {"", "siebelmessage", "listofcontact", "contact", "member", "loymember", "loyaltymember", "lwaloymember"}
_HOMES |= {f"{of}ct{name}member" for of in ("", "listof") for name in ("loy", "loyalty")}
"""What holds fields of ours; below anything else, a `Status` may be somebody's."""
_A_NAME = re.compile(r"[\w #/().&'-]{1,60}")
_RULES = {field.name: field.rule for field in FIELDS}
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?=$|[T ])", re.ASCII)
_OF_SIEBEL = re.compile(r"\d\d?/\d\d?/\d{4}(?=$| )", re.ASCII)
_EPOCH = re.compile(r"-?\d{9,10}", re.ASCII)
_FOREIGN = "àéîõüñç"


class UnreadableError(ValueError):
    """It cannot be told where in this body people are."""


class Pseudonyms:
    """Other people, one for each; of a key that is drawn here and kept nowhere."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def body(self, content_type: str, body: bytes) -> bytes:
        """Return *body* with other people in it.

        Raises:
            UnreadableError: it is no JSON, NDJSON or XML.
        """
        kind = content_type.partition(";")[0].strip().lower()
        try:
            if kind.endswith("/xml"):
                root = fromstring(body)
                self._element(root, is_home=True)
                return bytes(tostring(root, encoding="utf-8", xml_declaration=True))
            if kind == "application/x-ndjson":
                lines = (line for line in body.splitlines() if line.strip())
                return b"\n".join(orjson.dumps(self._value("", orjson.loads(line))) for line in lines)
            return orjson.dumps(self._value("", orjson.loads(body)))
        except (ValueError, ParseError, DefusedXmlException, RecursionError) as error:
            raise UnreadableError(type(error).__name__) from None

    def _name(self, name: str) -> str:
        return name if _A_NAME.fullmatch(name) else self._text("", name)

    def _element(self, element: Element, *, is_home: bool) -> None:
        name = unescape(element.tag)
        is_ours = is_home and fold(name) in _HOMES
        for attribute, value in element.attrib.items():
            element.attrib[attribute] = str(self._value(unescape(attribute), value, is_home=is_ours))
        if element.text and element.text.strip():
            element.text = str(self._value(name, element.text, is_home=is_home))
        for child in element:
            self._element(child, is_home=is_ours)
            child.tail = None  # between elements Siebel writes nothing

    def _value(self, name: str, value: Any, *, is_home: bool = True) -> Any:  # noqa: ANN401  # any JSON
        match value:
            case dict():
                is_ours = is_home and fold(name) in _HOMES
                return {self._name(key): self._value(key, part, is_home=is_ours) for key, part in value.items()}
            case list():
                return [self._value(name, part, is_home=is_home) for part in value]
            case bool() | None | "":
                return value
        label = fold(name)
        if label in _KEPT and is_home:
            return value
        field = _NAMES.get(label, label)
        pseudonym = self._text(field, str(value))
        return int(pseudonym) if isinstance(value, int) and pseudonym.lstrip("-").isdecimal() else pseudonym

    def _text(self, field: str, text: str) -> str:
        drawn = hmac.digest(self._key, f"{field}\0{text.strip()}".encode(), hashlib.sha256)
        if make := _MADE.get(field):
            return make(drawn.hex())
        if field == "email_address" and "@" in text:
            return f"{drawn.hex()[:12]}@example.com"
        if _RULES.get(field) is Rule.GENDER:
            return "MF"[drawn[0] % 2] if text.strip() in {"M", "F"} else text
        if _RULES.get(field) is Rule.DATE and (dated := _dated(text, drawn)):
            return dated
        return _of_the_same_form(text, hashlib.shake_256(drawn).digest(len(text)))


_MADE: dict[str, Callable[[str], str]] = {
    "member_number": lambda drawn: f"9-{int(drawn, 16) % 10**15:015d}",
    "row_id": lambda drawn: f"1-{drawn[:10].upper()}",
    fold("event_id"): lambda drawn: f"e-{drawn[:20]}",
    fold("MessageId"): lambda drawn: f"1-{drawn[:10].upper()}",
}
"""What has to stay one of its own, in as many digits as keep apart a day's."""


def _dated(text: str, drawn: bytes) -> str:
    """Return another date written as *text* is; empty: that is no date."""
    year, month, day = 1930 + drawn[0] % 70, 1 + drawn[1] % 12, 1 + drawn[2] % 28
    if _ISO.match(text):
        return f"{year}-{month:02d}-{day:02d}"
    if _OF_SIEBEL.match(text):
        return f"{month:02d}/{day:02d}/{year}"
    return str(100_000_000 + int.from_bytes(drawn[:4]) % 800_000_000) if _EPOCH.fullmatch(text) else ""


def _of_the_same_form(text: str, drawn: bytes) -> str:
    """Return letters for letters and digits for digits, so that what was of a wrong form still is."""
    return "".join(map(_another, text, drawn))


def _another(sign: str, drawn: int) -> str:
    if sign.isascii() and sign.isalpha():
        return chr(ord("A" if sign.isupper() else "a") + drawn % 26)
    if sign.isdecimal():
        return str(drawn % 10)
    return _FOREIGN[drawn % len(_FOREIGN)] if sign.isalpha() else sign

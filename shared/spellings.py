r"""A text as it reads without escapes, accents, case and gaps: what is sought in it is found however it was written.

Others write a name in capitals, without its accents, percent-encoded (`%C3%A9`), as JSON (`\u00e9`) or HTML
(`&eacute;`) has it, with other words glued to it or with blanks in it.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9a-f]{2})+)|(?P<json>(?:\\u[0-9a-f]{4})+)|\\x(?P<hex>[0-9a-f]{2})"
    r"|(?P<html>&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});)",
    re.IGNORECASE,
)
_LAYERS = 3
"""Escapes of escapes that are read: `%25C3%25A9`, `&amp;eacute;`."""
_ONE_LETTER = str.maketrans({
    "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h", "ŧ": "t",
})  # fmt: skip
_LONGEST_GAP = 3
_SHORT = 5
_LEAST_SPACED = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """A text without its escapes; `spans` says which stretch of the text each of its signs was written as."""

    signs: str
    spans: Sequence[tuple[int, int]]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the stretch of the text that signs *begin* to *end* were written as."""
        return self.spans[begin][0], self.spans[end - 1][1]


def read(text: str) -> Reading:
    """Take the escapes out of *text*."""
    reading = Reading(text, [(at, at + 1) for at in range(len(text))])
    for _ in range(_LAYERS):
        if _ESCAPE.search(reading.signs) is None:
            break
        signs: list[str] = []
        spans: list[tuple[int, int]] = []
        end = 0
        for found in _ESCAPE.finditer(reading.signs):
            between = reading.signs[end : found.start()]
            for part, start, stop in ((between, end, found.start()), (_plain(found), *found.span())):
                signs.append(part)
                is_plain = len(part) == stop - start
                spans += reading.spans[start:stop] if is_plain else [reading.span(start, stop)] * len(part)
            end = found.end()
        reading = Reading("".join((*signs, reading.signs[end:])), [*spans, *reading.spans[end:]])
    return reading


def _plain(found: re.Match[str]) -> str:
    if found["percent"]:
        return bytes.fromhex(found["percent"].replace("%", "")).decode("utf-8", "replace")
    if found["json"]:
        units = re.findall(r"[0-9a-f]{4}", found["json"], re.IGNORECASE)
        return bytes.fromhex("".join(units)).decode("utf-16-be", "replace")
    return chr(int(found["hex"], 16)) if found["hex"] else html.unescape(found[0])


def folded(text: str) -> str:
    """Return the letters and digits of *text*, small and without accents."""
    small = text.lower() if text.isascii() else "".join(map(_fold, text))
    return "".join(filter(str.isalnum, small))


def _fold(sign: str) -> str:
    bare = (part for part in unicodedata.normalize("NFKD", sign) if not unicodedata.combining(part))
    return "".join(bare).casefold().translate(_ONE_LETTER)


class Folded:
    """The letters and digits of a reading, to be searched for words."""

    def __init__(self, reading: Reading) -> None:
        self._signs = reading.signs
        self.text = ""
        self._at: list[int] = []
        for at, sign in enumerate(reading.signs):
            kept = "".join(filter(str.isalnum, _fold(sign)))
            self.text += kept
            self._at += [at] * len(kept)

    def find(self, word: str, *, split: bool) -> Iterator[tuple[int, int]]:
        """Return where the folded *word* stands by itself in the reading, *split* by blanks if need be."""
        begin = self.text.find(word)
        while begin >= 0:
            at = self._at[begin : begin + len(word)]
            if (
                self._is_apart(at[0] - 1, at[0])
                and self._is_apart(at[-1], at[-1] + 1)
                and self._is_whole(at, split=split)
            ):
                yield at[0], self._after(at[-1])
            begin = self.text.find(word, begin + 1)

    def _is_apart(self, left: int, right: int) -> bool:
        """Return whether a word may end between two neighbours: not among letters in one case, not among digits."""
        if left < 0 or right >= len(self._signs):
            return True
        before, after = self._signs[left], self._signs[self._after(right - 1) if right else right :][:1]
        if before.isalpha() and after.isalpha():
            return before.islower() and after.isupper()
        return not (before.isdigit() and after.isdigit())

    def _after(self, at: int) -> int:
        """Return the place behind the sign *at* and the accents that follow it."""
        at += 1
        while at < len(self._signs) and unicodedata.combining(self._signs[at]):
            at += 1
        return at

    def _is_whole(self, at: Sequence[int], *, split: bool) -> bool:
        """Return whether the letters are one word: a short one has blanks between all of them, or none."""
        gaps = [self._signs[left + 1 : right] for left, right in pairwise(at)]
        if any(len(gap) > _LONGEST_GAP for gap in gaps):
            return False
        blank = [any(map(str.isspace, gap)) for gap in gaps]
        if not split or not any(blank):
            return not any(blank)
        return len(at) >= _SHORT or (all(blank) and len(at) >= _LEAST_SPACED)

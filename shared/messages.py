"""What a message says, without what differs from one instance of the same cause to another.  Pure.

E-mail addresses, quoted values, and every word with a digit in it (ids, numbers, dates) are replaced; only the HTTP
status that was answered stays, and the host and the proxy where our own clients name them.  Line ends and control
characters, which no address carries and a mail or terminal would obey, become blanks.
"""

import re

from shared.masking import mask_text
from shared.personal import hidden

_LONGEST = 1_000
_STATUS = r"(?:(?<=HTTP )|(?<=answered ))[1-5]\d\d(?![\w+-])"
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_VARIES = (
    (re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+"), "<e-mail>"),
    (re.compile(r"""(?<!\w)("[^"]*"|'[^']*'|\u201c[^\u201d]*\u201d|\u2018[^\u2019]*\u2019)(?!\w)"""), "<value>"),
)
_NUMBER = re.compile(rf"(?!{_STATUS})(?<![\w+-])[\w+-]*\d[\w+-]*(?:[.:/][\w+-]*\d[\w+-]*)*")
_THROUGH = r"\(through the proxy [^\s()]+\)"
_PLACE = re.compile(
    rf"{_THROUGH}|^\w+: (?:answered something that is not JSON|sent us elsewhere) \(HTTP \d{{3}}\)(?: {_THROUGH})?: "
    r"(?:[A-Za-z][\w.+-]* at )?[^\s,()]+(?=,|$)"
)
_MARKER = re.compile(r"\s*\[instance \d+\]$")
_CUT = "…"


def normalised(message: str) -> str:
    """Return *message* without what differs between instances of the same cause."""
    message = _CONTROLS.sub(" ", hidden(message[:_LONGEST], "<value>")).strip()
    for varying, name in _VARIES:
        message = varying.sub(name, message)
    places = [found.span() for found in _PLACE.finditer(message)]
    return mask_text(
        _NUMBER.sub(lambda one: one[0] if any(a <= one.start() and one.end() <= b for a, b in places) else "#", message)
    )


def is_same_told(one: str, other: str) -> bool:
    """Return whether two texts of `CT Sync Error` say the same, whichever instance each names, however it is cut."""
    texts = [_MARKER.sub("", text) for text in (one, other)]
    if not any(text.endswith(_CUT) for text in texts):
        return normalised(texts[0]) == normalised(texts[1])
    whole = [normalised(text.removesuffix(_CUT).rpartition(" ")[0]) for text in texts]
    length = min(map(len, whole))
    return whole[0][:length] == whole[1][:length]

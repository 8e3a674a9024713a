"""In which character set a body or file is: by its mark, by how it begins, by what is stated, in this order.

Senders are often wrong about it, always in the same ways: `ISO-8859-1` mostly means Windows-1252 (so every browser
reads it), and a document that was made as a string keeps `encoding="UTF-16"` although it is sent in UTF-8.  Where the
bytes themselves prove the statement wrong, they are believed.
"""

import codecs
import re

from producers.intake.refused import BodyError

_WESTERN = "cp1252"
_CODECS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("utf-16", "utf16", "utf-16le", "utf-16be", "ucs-2", "unicode"), "utf-16"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"), _WESTERN),
    **dict.fromkeys(("windows-1252", "cp1252", "cp-1252", "x-cp1252"), _WESTERN),
}
_TAKEN = "UTF-8, UTF-16, ISO-8859-1 and Windows-1252 are"
_SHOWN_MAX = 40
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UNMARKED = re.compile(rb"((?:\0[\t-~]){2})|(?:[\t-~]\0){2}")
_SIGNATURES = {
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook (.xlsx): unpack it, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls): save it as CSV UTF-8",
    b"BZh": "compressed (bzip2): unpack it first",
    b"\xfd7zXZ": "compressed (xz): unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"%PDF": "a PDF document",
}


def refuse_other_formats(head: bytes) -> None:
    """Name what is no text at all.

    Raises:
        BodyError: it begins as a workbook, an archive or the like does.
    """
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise BodyError("", f"is {what}")


def codec_of(head: bytes, stated: str | None) -> str:
    """Return the codec of a text that begins with *head*; *stated* is what its sender says of it.

    Raises:
        BodyError: it is none that is taken here; the error names it.
    """
    if head.startswith(_UTF32):
        raise BodyError("", f"is in the character set UTF-32, which is not taken here; {_TAKEN}")
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if found := _UNMARKED.match(head):
        return "utf-16-be" if found[1] else "utf-16-le"
    codec = "utf-8" if stated is None else _CODECS.get(stated.strip().lower())
    if codec is None:
        shown = "".join(filter(str.isprintable, (stated or "").strip()))[:_SHOWN_MAX]
        raise BodyError("", f"is in the character set {shown}, which is not taken here; {_TAKEN}")
    return "utf-8" if codec == "utf-16" else codec  # whose every other byte would be NUL


def text_in(body: bytes, codec: str) -> str:
    """Decode *body*; what is no character becomes half of one, which refuses the event that it stands in.

    Raises:
        BodyError: it ends in the middle of a character.
    """
    try:
        return body.decode(codec, "surrogatepass" if codec.startswith("utf-16") else "surrogateescape")
    except UnicodeDecodeError as error:
        raise BodyError("", f"is not {codec.upper()} text: byte {error.start + 1}") from None

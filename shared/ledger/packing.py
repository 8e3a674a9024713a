"""Documents that are alike, packed: deflated with the words that they have in common known beforehand."""

import zlib

_WINDOW, _MEMORY, _LEVEL = -12, 5, 6
"""4 kB back are as far as anything refers here, and a small table is made in no time."""


class Packing:
    """Packs with *words* that every document has.

    Shape: *number*, one byte, tells by what it begins; other words are another number, and these stay to be read with.
    """

    def __init__(self, number: bytes, words: bytes) -> None:
        self.number = number
        self.words = words
        # Has read the words, and nothing else: each packing begins with a copy of it.
        self._primed = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, words)

    def pack(self, document: bytes) -> bytes:
        """Pack a document."""
        packer = self._primed.copy()
        return self.number + packer.compress(document) + packer.flush()

    def unpack(self, packed: bytes) -> bytes:
        """Return the document.

        Raises:
            ValueError: it was not packed with these words.
        """
        if not packed.startswith(self.number):
            raise ValueError("packed with words that this version does not know")
        unpacker = zlib.decompressobj(_WINDOW, self.words)
        try:
            document = unpacker.decompress(packed[1:])
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if not unpacker.eof:
            raise ValueError("packed, and cut off")
        return document

"""What the tables are made of."""

from sqlalchemy import DateTime, Text
from sqlalchemy.orm import DeclarativeBase

INSTANT = DateTime(timezone=True)
KEY = Text(collation="C")
"""Compared byte by byte: cheap, and the beginning of one can be searched for on any server."""


class Base(DeclarativeBase):
    """Declarative base; its metadata is what migrations are compared with."""


def one_of(column: str, words: tuple[str, ...]) -> str:
    """Return the condition that *column* holds one of *words*."""
    return f"{column} in ({', '.join(repr(str(word)) for word in words)})"

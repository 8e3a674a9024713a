"""Marks on the time lines of incidents: from when on which version dispatches, and which settings it began with.

Whoever begins to dispatch says what it is and how it is set; what differs from whoever began before it is marked.
Secrets, logins and people are not among the settings that are said (`shared.shown_settings`).
"""

from collections.abc import Mapping
from enum import StrEnum

import orjson
from sqlalchemy import Connection, text


class MarkKind(StrEnum):
    """What is marked."""

    DEPLOY = "deploy"
    SETTING = "setting"


def begun(tx: Connection, version: str, settings: Mapping[str, str]) -> list[str]:
    """Note what begins to dispatch, and mark what changed; return that.

    Shape: *settings* by the name of their variable, as they may be shown.
    """
    tx.execute(_FIRST, {"version": version, "settings": orjson.dumps(settings).decode()})
    was = tx.execute(_LOCK).one()
    changed = [(MarkKind.DEPLOY, f"version {was.version} became version {version}")] if was.version != version else []
    for name in sorted(was.settings.keys() | settings.keys()):
        before, now = was.settings.get(name), settings.get(name)
        if before != now:
            changed.append((MarkKind.SETTING, f"{name}: {before or 'not there'} became {now or 'not there'}"))
    for kind, what in changed:
        tx.execute(_MARK, {"kind": kind, "what": what})
    if changed:
        tx.execute(_KEEP, {"version": version, "settings": orjson.dumps(settings).decode()})
    return [what for _, what in changed]


_FIRST = text("""
    insert into installation (name, version, settings) values ('dispatcher', :version, cast(:settings as jsonb))
    on conflict (name) do nothing
""")
_LOCK = text("select version, settings from installation where name = 'dispatcher' for update")
_KEEP = text("""
    update installation set version = :version, settings = cast(:settings as jsonb) where name = 'dispatcher'
""")
_MARK = text("insert into mark (kind, what) values (:kind, :what)")

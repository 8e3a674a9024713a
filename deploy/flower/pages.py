"""Flower's pages with a way to the console on each: our templates before Flower's.

A template of ours has the name of the one it stands before, and calls that one `flower:NAME`.
"""

from pathlib import Path

from flower.urls import settings as flowers
from tornado.template import BaseLoader, DictLoader

_OURS = Path(__file__).parent / "templates"


def templates(console_url: str) -> BaseLoader:
    """Give every template of Flower's pages; all of them can use `console_url`."""
    original = _texts(Path(flowers["template_path"]))
    style = (_OURS / "membersync.css").read_text(encoding="utf-8")
    return DictLoader(
        original | {f"flower:{name}": text for name, text in original.items()} | _texts(_OURS),
        namespace={"console_url": console_url, "console_style": style},
    )


def _texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.html")}

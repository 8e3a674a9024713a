"""The HTTP side: intake for producers, and what operators read.  `create_app` puts it together."""

from producers.api.app import create_app

__all__ = ["create_app"]

"""Passwords of the embedded servers: made at the first start, for their owner's eyes only."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from deploy.local.embedded_server import ServerError


def password(folder: Path) -> str:
    """Give the password kept in a server's folder, made when there is none.

    Raises:
        ServerError: It cannot be read.
    """
    file = folder / "password"
    try:
        if not file.exists() or not file.read_text(encoding="utf-8").strip():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServerError(f"the password of {folder} cannot be read: {error}") from error


def write_private(file: Path, text: str) -> None:
    """Write *text* to a new file that only its owner, who we are, may read; whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    new.rename(file)


def scram_verifier(secret: str) -> str:
    """Give what PostgreSQL keeps of a password: it proves the password and does not open the door.

    Source: RFC 5803; PostgreSQL, catalog pg_authid.
    """
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, rounds)
    client, server = (hmac.digest(salted, label, "sha256") for label in (b"Client Key", b"Server Key"))
    kept = (base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(rounds, *kept)

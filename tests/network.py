"""What a test needs of this machine's network."""

import os
import socket
import ssl

import pytest

from deploy.local.programs import free_port

V6 = "::1"
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

"""Steer a running sandbox from tests, the demo and benchmarks: the control endpoints as methods."""

from types import TracebackType
from typing import Any, Self

import httpx

_TIMEOUT_S = 10.0


class SandboxControl:
    """A blocking client of the control port.

    Args:
        url: the ``control`` address that the sandbox printed.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/_sandbox", timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def call(self, method: str, path: str, document: object = None, **query: str | int) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of ``/_sandbox/{path}``.

        Raises:
            httpx.HTTPStatusError: the call was refused.
        """
        answer = self._http.request(method, path, json=document, params=query)
        answer.raise_for_status()
        return answer.json()

    def state(self, name: str) -> dict[str, Any]:
        """Return the summary of the simulator *name*."""
        return dict(self.call("GET", f"{name}/state"))

    def users(self) -> list[dict[str, Any]]:
        """Return CrowdTwist's users."""
        return list(self.call("GET", "crowdtwist/users"))

    def user(self, third_party_id: str) -> dict[str, Any] | None:
        """Return one CrowdTwist user, None when there is none."""
        return self._one("crowdtwist/users", third_party_id=third_party_id)

    def members(self) -> list[dict[str, Any]]:
        """Return Siebel's members."""
        return list(self.call("GET", "siebel/members"))

    def member(self, member_number: str) -> dict[str, Any] | None:
        """Return one Siebel member with its status, error and history, None when there is none."""
        return self._one("siebel/members", member_number=member_number)

    def _one(self, path: str, **query: str) -> dict[str, Any] | None:
        answer = self._http.get(path, params=query)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def seed(self, *members: dict[str, str]) -> None:
        """Let Siebel have these members: ``member_number``, ``row_id``, fields by label."""
        self.call("POST", "siebel/members", list(members))

    def calls(self, name: str, *, limit: int = 100, key: str | None = None) -> list[dict[str, Any]]:
        """Return the last calls of the simulator *name*, newest last, of the member *key* if given."""
        query: dict[str, str | int] = {"limit": limit} | ({} if key is None else {"key": key})
        return list(self.call("GET", f"{name}/calls", **query))

    def set(self, name: str, **settings: str | float | bool) -> None:
        """Change settings of the simulator *name*."""
        self.call("PUT", f"{name}/settings", settings)

    def fault(self, name: str, kind: str, **details: object) -> int:
        """Add a fault to the simulator *name*; return its id."""
        return int(self.call("POST", f"{name}/faults", {"kind": kind, **details})["ids"][0])

    def heal(self, name: str, fault_id: int | None = None) -> None:
        """End one fault of the simulator *name*, or all."""
        self.call("DELETE", f"{name}/faults" if fault_id is None else f"{name}/faults/{fault_id}")

    def revoke_tokens(self) -> None:
        """Make OIC's tokens worth nothing."""
        self.call("POST", "oic/revoke-tokens")

    def reset(self, name: str | None = None) -> None:
        """Bring the simulator *name*, or all, back to the start."""
        self.call("POST", "reset" if name is None else f"{name}/reset")

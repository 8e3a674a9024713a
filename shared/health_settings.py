"""Settings of what a process shows to probes; see `shared.liveness`."""

from pydantic import BaseModel, Field

_MARGIN_S = 5


class HealthSettings(BaseModel):
    """What a process shows to probes."""

    folder: str = Field(
        "", description="folder of the files that probes read, a file for each process; empty: HOME/health"
    )
    silent_s: float = Field(
        120, gt=0, description="s; a process whose main loop has not gone round for so long ends, to be started again"
    )

    def check_patience(self, ledger_answer_s: float) -> None:
        """Let pass a silence that outlasts what a process waits for the ledger.

        Raises:
            ValueError: it does not.
        """
        if self.silent_s < ledger_answer_s + _MARGIN_S:
            raise ValueError(
                f"health.silent_s ({self.silent_s:g}) must exceed ledger_answer_s ({ledger_answer_s:g}) by "
                f"{_MARGIN_S} s: a process that only waits for the ledger must not be taken for one that hangs"
            )

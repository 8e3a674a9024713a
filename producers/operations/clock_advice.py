"""What it means that the ledger's clock was set, for the verdict and the doctor.  Pure."""

from collections.abc import Mapping

from shared.ledger.clock import Step

SETTLES: Mapping[bool, str] = {
    False: "nothing to do: leases, due times and budgets move with it",
    True: "leases stay in force; one of the clocks of ledger and dispatchers is wrong: see `membersync doctor`",
}
"""What becomes of it, by whether it is doubted."""


def set_by(step: Step) -> str:
    """Say which way it was set, and by how much."""
    return f"set {'ahead' if step.by_s > 0 else 'back'} by {abs(step.by_s):g} s"

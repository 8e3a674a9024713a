"""The settings of the guards: what is not believed, and what is held instead of let through."""

from pydantic import BaseModel, Field

from shared.lifecycle.floods import FloodRules
from shared.lifecycle.mass_changes import Change, ChangeRules
from shared.lifecycle.silence import SilenceRules


class GuardSettings(BaseModel):
    """What is not believed."""

    future_s: float = Field(
        300, ge=0, description="s; an event that occurred further ahead of the ledger's clock is refused"
    )
    deactivations_share: float = Field(
        0.02, gt=0, le=1, description="part of the programme; more deactivated within the window are held; 1: never"
    )
    blanked_share: float = Field(
        0.02, gt=0, le=1, description="part of the programme; more with fields newly empty are held; 1: never"
    )
    window_s: float = Field(3600, ge=1, le=604_800, description="s; the window of both")
    least_members: int = Field(
        10, ge=0, description="members that both let pass in any case, so that a tiny programme is not held (A)"
    )
    same_error_count: int = Field(
        50, ge=0, description="members; more that meet one Data Error within the window are held, not told; 0: never"
    )
    same_error_share: float = Field(
        0.2, gt=0, le=1, description="part of what went out in the window that must have met it, too"
    )
    same_error_window_s: float = Field(600, ge=60, le=43_200, description="s; the window")
    same_error_try_s: float = Field(
        600, ge=1, description="s; one that is held is sent again by itself, then each time twice as long apart"
    )
    same_error_held_max_s: float = Field(
        86_400, gt=0, description="s; what is held for longer, and nobody decides, is told after all"
    )

    silence_s: float = Field(
        86_400,
        ge=0,
        description="s; no event from Siebel for longer is told, until it is known what hours are used to; 0: never",
    )
    silence_factor: float = Field(
        3, ge=1, description="times the longest silence of this hour of the week; a longer one is told"
    )
    silence_least_s: float = Field(1800, ge=0, description="s; a shorter silence is never told")

    @property
    def silence_rules(self) -> SilenceRules:
        """When Siebel has been silent for too long."""
        return SilenceRules(self.silence_s, self.silence_factor, self.silence_least_s)

    @property
    def flood_rules(self) -> FloodRules:
        """When a Data Error is a flood, and for how long its members are held."""
        return FloodRules(
            self.same_error_count,
            self.same_error_share,
            self.same_error_window_s,
            self.same_error_try_s,
            self.same_error_held_max_s,
        )

    @property
    def change_rules(self) -> ChangeRules:
        """When a deactivation, or a blanking, of many members is a mass change."""
        shares = {Change.DEACTIVATION: self.deactivations_share, Change.BLANKING: self.blanked_share}
        return ChangeRules(shares, self.least_members, self.window_s)

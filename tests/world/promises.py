"""What is promised: the one place where a promise that is not kept yet is turned off.

Each field is a promise of the contract that the tree of today may not keep. With a promise off the model
excuses what would break it; when the feature lands, turn it on in `KEPT`.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """Which of the newer promises hold."""

    widespread: bool = False
    """One cause in many connections is one alert beyond `widespread_connections`."""
    failures_grouped: bool = False
    """Rejected and unreadable connections of one account and outcome are one alert."""
    failures_keep_firing: bool = False
    """A failure alert survives a flap of its cause."""
    receiver_failing_keeps_firing: bool = False
    """So does the alert about a receiver."""
    routed_by_accepted: bool = False
    """Nobody gets an `updated` or `resolved` of an alert whose `opened` they refused."""
    refused_is_failing: bool = False
    """Three refusals in a row, of whatever status, are `receiver_failing`."""
    receiver_remembered: bool = False
    """A receiver that was away from the config for a while still hears how its alerts ended."""
    unknown_ends: bool = False
    """A number that is missing while entries cannot be read is missing in the end."""
    warned_answers_held: bool = False
    """A new warning with missing numbers, or with drift that ends, is held; a hold lasts for a while."""
    receiver_recovers_by_success: bool = False
    """A failing receiver recovers only by accepting something."""
    stale_ends_by_snapshot: bool = False
    """Only an applied snapshot ends `sync_stale`."""
    grace_after_suspension: bool = False
    """A process that was stopped has the grace of a start."""
    clock_set: bool = False
    """A wall clock that is set delays, hides and invents nothing."""


NEW = Promises(**{field.name: True for field in fields(Promises)})
"""All of them."""

KEPT = NEW
"""Those that this tree keeps."""

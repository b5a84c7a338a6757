"""When a message that was not accepted is tried again, if at all (pure).

RETRY    back off from 1 s, doubling to 5 min, with full jitter, for ever
FAILING  every 5 min, a little jittered: a person must fix the receiver, so hammering it does not help
GONE     not before a reload or a user asks for it; until then no message to this receiver is tried
DEAD     never

A receiver's `Retry-After` is a lower bound, believed up to an hour. A message that has failed for a day while
newer ones about its alert wait behind it is parked dead, so that they get their chance; not if its receiver
is gone, as these get none either.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
from datetime import datetime, timedelta

from monitor.errors import DeliveryError, Refusal
from monitor.notify.delivery import Dead, Delivery, Failed

POSTPONED_S = 5.0
"""After a try that this process had no resources for; its receiver knows nothing of it."""
FIRST_S = 1.0
LONGEST_S = 300.0
FAILING_JITTER_S = 30.0
RETRY_AFTER_CAP_S = 3600.0
PARKED_AFTER = timedelta(days=1)

_DOUBLINGS = 9  # 2 ** 9 s is past the longest wait already


def after_failure(
    delivery: Delivery, error: DeliveryError, *, now: datetime, rng: random.Random
) -> Failed | Dead:
    """Return what becomes of a message that was not taken."""
    if error.refusal is Refusal.DEAD:
        return Dead(delivery=delivery, at=now, error=str(error), answered=error.answered)
    failing_since = delivery.first_failed_at
    is_gone = error.refusal is Refusal.GONE
    if (
        not is_gone
        and delivery.superseded
        and failing_since is not None
        and now - failing_since >= PARKED_AFTER
    ):
        reason = f"given up after a day, newer messages about this alert wait behind it; last: {error}"
        return Dead(delivery=delivery, at=now, error=reason, answered=error.answered)
    wait_s = None if is_gone else backoff_s(error.refusal, delivery.attempts, error.retry_after_s, rng)
    return Failed(
        delivery=delivery,
        at=now,
        next_try_at=now + timedelta(seconds=wait_s) if wait_s is not None else None,
        refusal=error.refusal,
        error=str(error),
        answered=error.answered,
    )


def backoff_s(refusal: Refusal, attempts: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Return the seconds to wait after a failed try.

    Args:
        refusal: `RETRY` or `FAILING`.
        attempts: Tries that failed before this one.
        retry_after_s: Seconds the receiver asked to wait, if it did.
        rng: The source of jitter.
    """
    if refusal is Refusal.FAILING:
        wait_s = LONGEST_S + rng.uniform(0.0, FAILING_JITTER_S)
    else:
        wait_s = rng.uniform(0.0, min(LONGEST_S, FIRST_S * 2.0 ** min(attempts, _DOUBLINGS)))
    return max(wait_s, min(retry_after_s or 0.0, RETRY_AFTER_CAP_S))

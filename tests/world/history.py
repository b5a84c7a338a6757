"""Checks that the journal of a world, run again, comes to what happened."""

from tests.world.evidence import Evidence, Problem


class History(Evidence):
    """Checks that every alert comes out as it was recorded."""

    def checks(self) -> list[Problem]:
        """Return what comes out otherwise."""
        again = self.played.replayed
        if again is None:
            return [self._wrong("the journal was not run again")]
        others = [alert for alert in again.alerts if alert.verdict != "same"]
        found = [
            self._wrong(f"{alert.verdict}: {alert.kind} of {alert.connection}, opened {alert.opened_at}")
            for alert in others
        ]
        return [*found, *([self._wrong(f"strayed {again.strayed} times")] if again.strayed else [])]

    def _wrong(self, text: str) -> Problem:
        return Problem("replayed", self.ends_s, text)

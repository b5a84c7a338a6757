"""What happens in the demo, in plain words: steps at the provider, and the alerts in the daemon's log."""

import io
from collections.abc import Callable
from typing import Any

import msgspec

from monitor.clock import Clock

_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_GOOD = "green"


class Narrator(io.StringIO):
    """Tells a story as it happens; the daemon writes its log into it, a JSON object a line.

    Args:
        say: Writes a line, in a style.
        clock: For the seconds since the beginning.
    """

    def __init__(self, say: Callable[[str, str], None], clock: Clock) -> None:
        super().__init__()
        self._say = say
        self._clock = clock
        self._began_s = clock.monotonic()
        self._kept: list[tuple[str, str]] | None = []
        self._rest = ""
        self.alerts = 0
        self.open = 0

    def begin(self) -> None:
        """Say what was kept until now, and from now on everything at once."""
        kept, self._kept = self._kept or [], None
        for text, style in kept:
            self._say(text, style)

    def happened(self, text: str) -> None:
        """Tell what happens at the provider."""
        self._tell("provider", text, "bold")

    def write(self, piece: str) -> int:
        """Take a piece of the daemon's log; nothing is kept but the end of an unfinished line."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            self._hear(line)
        return len(piece)

    def _hear(self, line: str) -> None:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return
        match event.get("event"):
            case "alert.opened" | "alert.updated" | "alert.resolved":
                self._alert(event)
            case "sync.held":
                self._tell("monitor", f"holds an answer of {event.get('connection')} back", "yellow")
            case name if event.get("level") in ("error", "critical"):
                self._tell("monitor", f"{name}: {event.get('error', '')}", "red")

    def _alert(self, body: dict[str, Any]) -> None:
        change, severity = str(body.get("change")), str(body.get("severity"))
        over = change == "resolved"
        self.alerts += change == "opened"
        self.open += (change == "opened") - over
        word = "alert over" if over else f"alert {change}, {severity}"
        self._tell("monitor", f"{word}: {body.get('summary')}", _GOOD if over else _STYLES.get(severity, ""))
        actions = body.get("actions")
        if change == "opened" and actions:
            self._tell("", f"to do: {actions[0].get('label')}", "")

    def _tell(self, who: str, text: str, style: str) -> None:
        line = f"{self._clock.monotonic() - self._began_s:5.1f}s  {who:<8}  {text}"
        if self._kept is None:
            self._say(line, style)
        else:
            self._kept.append((line, style))

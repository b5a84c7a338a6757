"""What is wrong with a scenario, in words that help to mend it."""

import re
from collections.abc import Iterable

from monitor.errors import ConfigError, nearest

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ScenarioError(ConfigError):
    """A scenario, or a step of one, that cannot be played; names the file, the step and what to do."""

    def located(self, where: str, source: str | None = None) -> "ScenarioError":
        """Return the same problems, said of a place like `steps[3] (deactivate_bot)`."""
        return ScenarioError([f"{where}: {problem}" for problem in self.problems], source or self.source)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)` for the known word that looks most like this one, else nothing."""
    close = nearest(word, known)
    return f' (did you mean "{close}"?)' if close else ""


def seconds(value: str | float) -> float:
    """Return the seconds of a duration like `"500ms" "8s" "1m"`, or of a bare number of seconds.

    Raises:
        ScenarioError: It is none.
    """
    if not isinstance(value, str):
        return float(value)
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ScenarioError([f'"{value}" is no duration; write it like "500ms", "8s" or "1m"'])
    return float(match[1]) * _SECONDS[match[2]]

"""The Prometheus text and OpenMetrics formats: negotiation, headers, escaping.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4) and
https://prometheus.io/docs/specs/om/open_metrics_spec/ (OpenMetrics 1.0.0). A sample line reads the same in
both; they differ in a counter's TYPE line, and in the end marker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal


class ExpositionFormat(Enum):
    """A text format; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `name` as its samples are called, `help` a sentence without line breaks or backslashes."""

    name: str
    type: Literal["gauge", "counter"]
    help: str

    def header(self, form: ExpositionFormat) -> bytes:
        """Return the HELP and TYPE lines."""
        name = self.name
        if form is ExpositionFormat.OPENMETRICS and self.type == "counter":
            name = name.removesuffix("_total")
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.type}\n".encode()


def escape(value: str) -> str:
    r"""Return a label value as it stands between its quotes: `\`, `"` and line feeds escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def negotiate(accept: str) -> ExpositionFormat:
    """Return the format that an Accept header asks for; text 0.0.4 by default.

    Weights count; at equal weight OpenMetrics wins, as in prometheus-client. OpenMetrics of a version other
    than 1.x is not supported.

    Source: RFC 9110, section 12.5.1.
    """
    openmetrics = text = 0.0
    for media_type, parameters, weight in _accepted(accept):
        if media_type == "application/openmetrics-text":
            if parameters.get("version", "1.0.0").startswith("1."):
                openmetrics = max(openmetrics, weight)
        elif media_type == "text/plain":
            text = max(text, weight)
    return ExpositionFormat.OPENMETRICS if openmetrics and openmetrics >= text else ExpositionFormat.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip by name; `gzip;q=0` forbids it."""
    return any(coding == "gzip" and weight > 0 for coding, _, weight in _accepted(accept_encoding))


def _accepted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (value, parameters, weight) of each element; an unreadable weight counts as 0."""
    for element in header.lower().split(","):
        value, *rest = element.split(";")
        parameters = {
            key.strip(): text.strip(' "') for key, _, text in (part.partition("=") for part in rest)
        }
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        yield value.strip(), parameters, weight

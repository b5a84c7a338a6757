"""Readers of what `deploy/` ships."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
RUNBOOKS = DEPLOY / "runbooks"
RUNBOOK_URL = "https://github.com/vocobase/voicelink-drift-monitor/tree/main/deploy/runbooks"

RULE_FILES = tuple(sorted(path.name for path in RULES.iterdir()))


def read_yaml(path: Path) -> Any:
    """Return the one document of a YAML file."""
    return yaml.safe_load(path.read_text())


def image_environment() -> dict[str, str]:
    """Return the monitor's variables that the image sets."""
    words = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split()
    pairs = (word.split("=", 1) for word in words if word.startswith("VOICELINK_MONITOR_") and "=" in word)
    return {name: value for name, value in pairs if "__" in name}


def rules(*names: str) -> Iterator[dict[str, Any]]:
    """Yield the rules of these rule files."""
    for name in names:
        for group in read_yaml(RULES / name)["groups"]:
            yield from group["rules"]


def alert_names(*names: str) -> set[str]:
    """Return the names of the alerts in these rule files."""
    return {rule["alert"] for rule in rules(*names) if "alert" in rule}


def recorded_series() -> dict[str, str]:
    """Return the expression of each series that a rule records."""
    return {rule["record"]: rule["expr"] for rule in rules(*RULE_FILES) if "record" in rule}


def metric_names(expression: str) -> set[str]:
    """Return the monitor's metrics in an expression, without recorded series."""
    return set(re.findall(r"(?<![:\w])(?:voicelink|process)_\w+(?!\w*:)", _without_texts(expression)))


def recorded_names(expression: str) -> set[str]:
    """Return the recorded series in an expression."""
    return set(re.findall(r"\b\w+:voicelink_\w+:\w+|\bvoicelink:\w+:\w+", _without_texts(expression)))


def label_names(expression: str) -> set[str]:
    """Return the labels by which an expression selects, groups and joins."""
    lists = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right) ?\(([^()]*)\)", expression)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    return {name.strip() for each in lists for name in each.split(",") if name.strip()} | set(matched)


def _without_texts(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)

"""The shipped dashboard is valid, and its queries run and name existing metrics."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.conftest import StartPrometheus
from tests.integration.deploy.conftest import Exported
from tests.integration.deploy.shipped import (
    DEPLOY,
    label_names,
    metric_names,
    read_yaml,
    recorded_names,
    rules,
)

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "voicelink.json").read_text())
VARIABLES = {"$__rate_interval": "1m", "$__range": "6h", "$connection": ".*"}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each query with the title of its panel."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def asked(expression: str) -> str:
    """Return an expression as Grafana would send it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def test_dashboard_is_sound() -> None:
    """A fixed uid, panels that do not share ids or places, and a title and a description for each."""
    assert DASHBOARD["uid"] == "voicelink-drift"
    assert DASHBOARD.get("id") is None
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)


def test_dashboard_answers_at_a_glance() -> None:
    """Its rows are the questions that it answers, in this order."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows[:3] == ["Is anything drifting?", "Where, and since when?", "What changed?"]
    assert rows[-1] == "Is the monitor itself healthy?"


def test_dashboard_asks_the_chosen_data_source() -> None:
    """It works in a Grafana whose data sources have other names."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    uids = set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', json.dumps(DASHBOARD)))
    assert uids == {"${datasource}"}


async def test_dashboard_asks_for_what_is_there(exported: Exported) -> None:
    """Each query uses metrics and labels that the daemon exports or the rules record."""
    recorded = {rule["record"] for rule in rules("recording.rules.yml")}
    known = exported.labels | {"job", "instance", "le", "alertname", "alertstate"}
    for title, expression in expressions():
        assert metric_names(expression) <= exported.metrics, title
        assert recorded_names(expression) <= recorded, title
        assert label_names(expression) <= known, title


async def test_dashboard_queries_are_understood(prometheus: StartPrometheus) -> None:
    """Prometheus parses and evaluates every query."""
    server = await prometheus({"scrape_configs": []})
    for title, expression in expressions():
        assert "$" not in asked(expression), title
        await server.query(asked(expression))


async def test_dashboard_says_zero_not_nothing(prometheus: StartPrometheus) -> None:
    """The headline panels show 0, not nothing, when there is nothing to report."""
    server = await prometheus({"scrape_configs": []})
    for title in ("Drifting now", "Connections blind", "Is the monitor healthy?"):
        [expression] = [expression for name, expression in expressions() if name == title]
        [answer] = await server.query(asked(expression))
        # Nothing is scraped here, so one alert fires: the monitor is absent.
        assert float(answer["value"][1]) == (title == "Is the monitor healthy?")


def test_provisioning_finds_the_dashboard() -> None:
    """Grafana is given a data source and the folder that compose mounts."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = read_yaml(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = read_yaml(provisioning / "dashboards" / "voicelink.yaml")["providers"]
    mounts = read_yaml(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts

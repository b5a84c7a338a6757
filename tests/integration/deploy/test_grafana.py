"""The shipped dashboard is valid, complete, and right about a monitor with several replicas."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.routing import Match, Route

from monitor.web.pages.routes import page_routes
from monitor.web.pages.site import Pages
from tests.conftest import StartPrometheus
from tests.integration.deploy.conftest import Exported, Served
from tests.integration.deploy.shipped import (
    DEPLOY,
    alert_names,
    label_names,
    metric_names,
    read_yaml,
    recorded_names,
    recorded_series,
)
from tests.servers.process import wait_until

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "voicelink.json").read_text())
VARIABLES: dict[str, dict[str, Any]] = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

VALUES = {
    "$__rate_interval": "1m",
    "$__range": "6h",
    "$__from": "0",
    "$job": "voicelink-monitor",
    "$account": ".*",
    "$connection": "(acme|beta)",
    "$state": ".*",
    "$instance": ".*",
}
"""What Grafana puts in: for a variable with several values a group, or its own value for all."""

VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)")


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each query with the title of its panel."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def asked(expression: str) -> str:
    """Return an expression as Grafana would send it."""
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_dashboard_is_sound() -> None:
    """A fixed uid, panels that do not share ids or places, and a title, unit and description for each."""
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
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in PANELS:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]


def test_dashboard_answers_at_a_glance() -> None:
    """Its rows are the questions that it answers, in this order."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows[:3] == ["Is anything drifting?", "Where, and since when?", "What changed?"]
    assert rows[-1] == "Is the monitor itself healthy?"


def test_dashboard_asks_the_chosen_data_source() -> None:
    """It works in a Grafana whose data sources have other names."""
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert all(
        target["datasource"]["uid"] == "${datasource}" for panel in PANELS for target in panel["targets"]
    )
    uids = set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', json.dumps(DASHBOARD)))
    assert uids == {"${datasource}"}


def test_dashboard_variables_are_all_used_and_all_there() -> None:
    """None is unknown or idle; one with several values is matched by pattern, one value exactly."""
    rest = json.dumps(DASHBOARD)
    used = {first or second for first, second in VARIABLE.findall(rest)}
    assert {name for name in used if not name.startswith("__")} == VARIABLES.keys()
    for operator, name in re.findall(r'(=~?|!~|!=)\s*\\+"\$(\w+)\\+"', rest):
        assert operator == ("=~" if VARIABLES[name]["multi"] else "="), name
    before: set[str] = set()
    for name, variable in VARIABLES.items():
        query = variable.get("definition", "")
        assert {first or second for first, second in VARIABLE.findall(query)} <= before, name
        before.add(name)


def test_dashboard_narrows_by_account_although_all_connections_are_chosen() -> None:
    """All connections are those that the chosen accounts have, so no pattern may stand for all."""
    assert "allValue" not in VARIABLES["connection"]
    assert 'account=~"$account"' in VARIABLES["connection"]["definition"]
    for title, expression in expressions():
        for selector in re.findall(r"voicelink_\w+\{[^}]*\}", expression):
            filtered = 'connection=~"$connection"' in selector or not re.search(
                r"by \(connection", expression
            )
            assert filtered or "connection_info" in selector, (title, selector)


def test_dashboard_links_lead_to_pages() -> None:
    """Each is a page of the monitor, wherever people reach it."""
    pages = cast(Pages, SimpleNamespace(answer=print))
    routes = [route for route in page_routes(pages).routes if isinstance(route, Route)]
    for url in re.findall(r'"url": "([^"]*)"', json.dumps(DASHBOARD)):
        assert url.startswith("${monitor_url}/"), url
        path = re.sub(r"\$\{[^}]*\}", "x", url.removeprefix("${monitor_url}").split("?")[0])
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        assert any(route.matches(scope)[0] is Match.FULL for route in routes), url


async def test_dashboard_asks_for_what_is_there(exported: Exported) -> None:
    """Each query uses metrics and labels that the daemon exports or the rules record."""
    recorded = recorded_series().keys()
    from_prometheus = {"job", "instance", "le", "alertname", "alertstate", "severity", "receiver"}
    of_replicas = {"replica", "config"}
    known = exported.labels | from_prometheus | of_replicas
    for title, expression in expressions():
        assert metric_names(expression) <= exported.metrics, title
        assert recorded_names(expression) <= recorded, title
        assert label_names(expression) <= known, title


async def test_dashboard_shows_all_that_is_exported(exported: Exported) -> None:
    """A metric that nobody can see is one that nobody looks at."""

    def family(name: str) -> str:
        return re.sub(r"_(bucket|sum|count)$", "", name)

    shown = {family(name) for _, expression in expressions() for name in metric_names(expression)}
    own = {family(name) for name in exported.metrics if name.startswith("voicelink_")}
    assert own <= shown


def test_dashboard_counts_every_alert_about_the_monitor() -> None:
    """Its health is what the health rules say, whatever they are called, and no drift rule."""
    [expression] = [found for title, found in expressions() if title == "Is the monitor healthy?"]
    wanted = re.findall(r'alertname=~"([^"]*)"', expression)
    unwanted = re.findall(r'alertname!~"([^"]*)"', expression)

    def counted(name: str) -> bool:
        return all(re.fullmatch(each, name) for each in wanted) and not any(
            re.fullmatch(each, name) for each in unwanted
        )

    assert all(counted(name) for name in alert_names("health.rules.yml"))
    assert not any(counted(name) for name in alert_names("drift.rules.yml"))


async def test_dashboard_is_right_about_two_replicas(served: Served, prometheus: StartPrometheus) -> None:
    """Every query is understood and its metrics are found; nothing is counted twice that both export."""
    targets = [f"127.0.0.1:{served.port}", f"localhost:{served.port}"]
    scrape = {"job_name": "voicelink-monitor", "static_configs": [{"targets": targets}]}
    server = await prometheus({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})

    async def scraped() -> bool:
        return len(await server.query('voicelink_up{connection="acme"} == 1')) == len(targets)

    await wait_until(scraped, what="both scrapes")
    text = await served.text()
    for title, expression in expressions():
        await server.query(asked(expression))
        await server.query_range(asked(expression))
        for name, selector in re.findall(r"(\b(?:voicelink|process)_\w+)(\{[^}]*\})", asked(expression)):
            if re.search(rf"^{name}[{{ ]", text, re.MULTILINE):
                assert await server.query(name + selector), (title, name)

    async def shows(title: str) -> list[str]:
        [found] = [each for name, each in expressions() if name == title]
        return [each["value"][1] for each in await server.query(asked(found))]

    drifting = sum(
        float(value) for value in re.findall(r"^voicelink_drift_numbers\{.*\} (\S+)$", text, re.MULTILINE)
    )
    assert drifting > 0
    assert await shows("Drifting now") == [f"{drifting:.0f}"]
    assert await shows("Replicas scraped") == ["2"]
    assert await shows("Version") == ["2"]


@pytest.mark.parametrize("title", ["Drifting now", "Connections blind", "Is the monitor healthy?"])
async def test_dashboard_says_zero_not_nothing(prometheus: StartPrometheus, title: str) -> None:
    """The headline panels show 0, not nothing, when there is nothing to report."""
    server = await prometheus({"scrape_configs": []})
    [expression] = [expression for name, expression in expressions() if name == title]
    [answer] = await server.query(asked(expression))
    # Nothing is scraped here, so the monitor is down.
    assert float(answer["value"][1]) == (title == "Is the monitor healthy?")


def test_provisioning_finds_the_dashboard() -> None:
    """Grafana is given a data source and the folder that compose mounts."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = read_yaml(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = read_yaml(provisioning / "dashboards" / "voicelink.yaml")["providers"]
    mounts = read_yaml(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts

"""All commands: name, where they are, one sentence, exit codes, examples. Light: nothing is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass

PROGRAM = "voicelink-monitor"

_BAD_CONFIG = "the config cannot be used"
_NO_STORE = "the config cannot be used, or there is no store yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One command. `target` is `module:function` below `monitor.cli`; examples lack the program's name."""

    name: str
    target: str
    summary: str
    exits: Mapping[int, str]
    examples: tuple[str, ...]


def _store(name: str, summary: str, *examples: str, exits: Mapping[int, str] | None = None) -> Entry:
    return Entry(
        name=name,
        target=f"records:{name}",
        summary=summary,
        exits={0: "done", **(exits or {}), 2: _NO_STORE},
        examples=examples,
    )


CATALOG = (
    Entry(
        name="run",
        target="run:run",
        summary="Run the daemon.",
        exits={0: "ended by SIGTERM or SIGINT", 2: "the config or the surroundings do not let it start"},
        examples=("run", "--config /etc/voicelink-monitor/config.toml run"),
    ),
    Entry(
        name="demo",
        target="demo:demo",
        summary="Show it all at work for a minute, without a config.",
        exits={0: "the story is over", 2: "the port is taken"},
        examples=("demo", "demo --port 9000 --duration 5m"),
    ),
    Entry(
        name="sync",
        target="sync:sync",
        summary="Check connections once, now, without a store.",
        exits={
            0: "every number is ready, or ignored",
            1: "some number drifts",
            2: _BAD_CONFIG,
            3: "some connection could not be checked (3 beats 1)",
        },
        examples=("sync", "sync acme-sales acme-support", "sync --format json"),
    ),
    Entry(
        name="check-config",
        target="check_config:check_config",
        summary="Validate the config and show what it means.",
        exits={0: "it can be used", 2: _BAD_CONFIG, 3: "a probe failed"},
        examples=("check-config", "check-config --probe", "--config new.toml check-config --format json"),
    ),
    Entry(
        name="connections",
        target="connections:connections",
        summary="List the connections and how they do.",
        exits={0: "done", 2: _BAD_CONFIG},
        examples=("connections", "connections --connection 'acme-*' --format json"),
    ),
    _store(
        "drift",
        "List the numbers that are in trouble now.",
        "drift",
        "drift --connection 'acme-*' --state NO_BOT",
        "drift --status alerting --since 2h --format json",
    ),
    _store(
        "changes",
        "List what changed, newest first.",
        "changes --since 24h",
        "changes --connection acme-sales --change removed",
    ),
    _store(
        "alerts",
        "List alerts, the latest first.",
        "alerts --status firing",
        "alerts --since 7d --format json",
    ),
    _store(
        "deliveries",
        "List messages to receivers; send dead ones again.",
        "deliveries --status dead",
        "deliveries --receiver hook --since 1h",
        "deliveries --retry all",
        exits={1: "something was not sent again"},
    ),
    Entry(
        name="accept",
        target="accept:accept",
        summary="Accept removed and reconfigured numbers.",
        exits={0: "asked for", 2: "there is nothing of that kind to accept, or no store yet"},
        examples=("accept acme-sales", "accept acme-sales +918011223344 '+91 80 1122 3345'"),
    ),
    Entry(
        name="test-alert",
        target="test_alert:send_test_alert",
        summary="Send a test alert to the receivers, and say what they answer.",
        exits={0: "every receiver took it", 2: _BAD_CONFIG, 3: "some receiver did not"},
        examples=("test-alert", "test-alert --receiver pd"),
    ),
    Entry(
        name="simulate",
        target="simulate:simulate",
        summary="Run a double of the VoiceLink API to try things on.",
        exits={0: "ended by Ctrl-C or SIGTERM", 2: "the scenario cannot be played, or the port is taken"},
        examples=("simulate", "simulate --port 9001 --scenario outage.toml"),
    ),
    Entry(
        name="config-schema",
        target="config_schema:config_schema",
        summary="Print the JSON Schema of the config.",
        exits={0: "done"},
        examples=("config-schema > schema.json",),
    ),
    Entry(
        name="healthcheck",
        target="healthcheck:healthcheck",
        summary="Ask the daemon on this machine whether it works.",
        exits={0: "it works", 1: "it does not, or does not answer"},
        examples=("healthcheck", "healthcheck --url http://127.0.0.1:8790/-/healthy"),
    ),
)

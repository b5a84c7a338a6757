"""The table of all commands; importing it loads none of them."""

from typing import NamedTuple

PROGRAM = "voicelink-monitor"


class Entry(NamedTuple):
    """One command: its name (a word or two), `module:function` below `monitor.cli`, and its line in lists."""

    name: str
    target: str
    summary: str


GROUPS = {
    "silence": "Keep numbers quiet for a while.",
    "store": "Move the store to another database.",
}
"""The first words of commands that have two."""

CATALOG = (
    Entry("run", "run:run", "Run the daemon."),
    Entry("reload", "reload:reload", "Make a running daemon reload its config, and say how that went."),
    Entry("demo", "demo:demo", "Run a one-minute demo that needs no config."),
    Entry("sync", "sync:sync", "Check connections once, now, without a store."),
    Entry("check-config", "check_config:check_config", "Validate the config and show what it means."),
    Entry("connections", "connections:connections", "List the connections and their state."),
    Entry("drift", "records:drift", "List the numbers that are in trouble now."),
    Entry("changes", "records:changes", "List changes, newest first."),
    Entry("alerts", "records:alerts", "List alerts, most recently started first."),
    Entry("deliveries", "records:deliveries", "List messages to receivers, or send them again."),
    Entry("number", "number:number", "Show everything known about one number."),
    Entry("explain", "explain:explain", "Explain why a number or an alert paged, or did not."),
    Entry("replay", "replay:replay", "Show what would have paged, by the rules of then or by others."),
    Entry("ack", "ack:ack", "Acknowledge a firing alert."),
    Entry("accept", "accept:accept", "Accept removed and reconfigured numbers."),
    Entry("silence add", "silence:add", "Keep numbers quiet for a while."),
    Entry("silence list", "silence:list_", "List silences, and rules that match nothing or end soon."),
    Entry("silence end", "silence:end", "End a silence."),
    Entry(
        "test-alert",
        "test_alert:send_test_alert",
        "Send a test alert to the receivers and show their answers.",
    ),
    Entry("store copy", "store:copy", "Copy the SQLite store to PostgreSQL."),
    Entry("simulate", "simulate:simulate", "Run a simulated VoiceLink API to try things out."),
    Entry("config-schema", "check_config:config_schema", "Print the JSON Schema of the config."),
    Entry("healthcheck", "healthcheck:healthcheck", "Check whether the daemon on this machine is healthy."),
)

"""How an explanation is shown; the one in the README is what the command writes."""

from pathlib import Path

from monitor.cli.explain import lines_of
from monitor.drift.explain import explain_number
from monitor.drift.facts import AlertFacts, Hearing, NumberFacts, Syncs, Terms
from monitor.drift.failures import Streak
from monitor.errors import Outcome
from tests.unit.drift.build import RECHECK, SECOND, START, Watch, broken, fleet, key

README = Path(__file__).parents[3] / "README.md"


def test_readme_shows_an_explanation_as_it_is() -> None:
    """A number that alerted, of which one receiver was not told, and that is ready again."""
    watch = Watch()
    for numbers in (fleet(10), fleet(10, broken(1)), fleet(10, broken(1)), fleet(10), fleet(10)):
        watch.sync(*numbers)
    body = watch.last_body()
    hearings = (
        Hearing(receiver="log", told_at=START + 3 * RECHECK, own_log=True),
        Hearing(receiver="am", told_at=START + 3 * RECHECK + SECOND),
        Hearing(receiver="pd", refused="severity warning is below its min_severity critical", filtered=True),
    )
    facts = NumberFacts(
        key=key(1),
        phone_number=f"+{key(1)}",
        connection="acme-sales",
        records=watch.records,
        syncs=Syncs(
            name="acme-sales",
            due_at=watch.now + 12 * SECOND,
            streak=Streak(outcome=Outcome.OK, answers=9),
            synced_at=watch.now - 3 * SECOND,
        ),
        terms=Terms(rules_at=lambda _: watch.rules, guard=watch.guard),
        since=START + 4 * RECHECK,
        alerts={body.alert_id: AlertFacts(body=body, hearings=hearings)},
    )
    shown = "\n".join(lines_of(explain_number(facts, watch.now)))
    assert f"```text\n$ voicelink-monitor explain {key(1)[-4:]}\n{shown}\n```" in README.read_text()

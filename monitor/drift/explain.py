"""Explains why a number or an alert paged, or did not: in sentences with figures (pure).

The verdict of a number is the first of these that holds for one of its problems:

    pages      an alert about it is open, and the filters of some receiver let it through
    filtered   an alert about it is open, and no receiver's filters do
    pending    the problem is not confirmed yet
    silenced   it is confirmed or not, and a rule, a silence or a maintenance window keeps it quiet
    ended      the number is gone, and nothing is open about it
    ready      the number is ready, and nothing is open about it

An alert is `ended` once it is resolved, `silenced` where all its numbers are quiet by now, and else `pages`
or `filtered`. `next_at` is the next instant at which something moves, if the provider goes on answering the
same: a sync, the end of a rule or window, or of `keep_firing_for`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from monitor.drift.advice import Subject, first_step
from monitor.drift.alert import Kind
from monitor.drift.episodes import Track, silent
from monitor.drift.facts import (
    UNKNOWN,
    AlertFacts,
    NumberFacts,
    Syncs,
    Terms,
    covering,
    window,
)
from monitor.drift.foresight import in_hold, moves_at
from monitor.drift.moves import was_is
from monitor.drift.naming import NO_NAMES, listed, moved
from monitor.drift.phrases import WORDS, about_end, about_receivers, about_syncs, due, span, when
from monitor.drift.rules import Rules, Silence
from monitor.drift.snapshot import ActionItem
from monitor.drift.text import counted, ending, times


class Verdict(StrEnum):
    """What an explanation comes to."""

    PAGES = "pages"
    FILTERED = "filtered"
    PENDING = "pending"
    SILENCED = "silenced"
    ENDED = "ended"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something paged or did not. `subject` is the phone number, or the alert's id."""

    subject: str
    verdict: Verdict
    sentences: tuple[str, ...]
    next_at: datetime | None


def explain_number(facts: NumberFacts, now: datetime) -> Explanation:
    """Return why a number paged, or did not."""
    terms = facts.terms or UNKNOWN
    rules = terms.rules_at(now)
    return Explanation(
        subject=facts.phone_number,
        verdict=_verdict(facts, rules, now),
        sentences=tuple(_about_number(facts, terms, rules, now)),
        next_at=moves_at(
            facts.records,
            [facts.key],
            terms.rules_at,
            terms.guard,
            facts.syncs.due_at if facts.syncs is not None else None,
            now,
        ),
    )


def standing(track: Track, rules: Rules, now: datetime) -> Verdict | None:
    """Return what one problem comes to; None while it is being closed without ever having alerted."""
    if silent(track, rules, now):
        return None if track.good or track.gone else Verdict.SILENCED
    if track.episode is not None:
        return Verdict.PAGES
    if track.good or track.gone:
        return None
    return Verdict.SILENCED if rules.muted and track.seen >= rules.confirm_syncs else Verdict.PENDING


def _verdict(facts: NumberFacts, rules: Rules, now: datetime) -> Verdict:
    found = set()
    for track in facts.tracks:
        verdict = standing(track, rules, now)
        if verdict is Verdict.PAGES and track.episode is not None:
            verdict = routed(facts.alerts.get(track.episode.alert_id))
        found.add(verdict)
    held = facts.records.hold
    if held is not None and in_hold(held, facts.key):
        found.add(Verdict.PENDING)
    found.add(Verdict.READY if facts.number is not None else Verdict.ENDED)
    return next(verdict for verdict in Verdict if verdict in found)


def routed(alert: AlertFacts | None) -> Verdict:
    """Return whether the filters of some receiver let an alert through; the log is no one's pager."""
    people = [each for each in (alert.heard if alert is not None else ()) if not each.own_log]
    return Verdict.FILTERED if people and all(each.filtered for each in people) else Verdict.PAGES


def _about_number(facts: NumberFacts, terms: Terms, rules: Rules, now: datetime) -> Iterator[str]:
    yield _state(facts, now)
    if facts.terms is None and facts.syncs is not None:
        yield f"This config does not watch {facts.connection}: its rules are not known here."
    if facts.syncs is not None:
        yield from about_syncs(facts.syncs, terms, now)
    yield from _about_hold(facts, terms, now)
    for track in facts.tracks:
        yield from _about_track(track, facts.syncs, rules, now)
        if not (track.good or track.gone or silent(track, rules, now)):
            yield from _to_do(track, facts)
    yield from _about_quiet(facts, terms, rules, now)
    for alert_id in dict.fromkeys(track.episode.alert_id for track in facts.tracks if track.episode):
        if alert_id in facts.alerts:
            yield from about_receivers(facts.alerts[alert_id])
    past = facts.past
    if past is not None and not any(track.episode for track in facts.tracks):
        how = ending(past.kind, past.resolution, span(past.ended_at - past.opened_at))
        yield f"It was in alert {past.alert_id} from {when(past.opened_at)} to {when(past.ended_at)}: {how}."


def _state(facts: NumberFacts, now: datetime) -> str:
    number, since = facts.number, facts.since
    long = f" since {when(since)} ({span(now - since)})" if since is not None else ""
    if facts.syncs is None:
        end = f" since {when(facts.gone_at)}" if facts.gone_at is not None else ""
        return f"{facts.phone_number} is gone: the monitor has not watched {facts.connection}{end}."
    if number is None:
        return f"{facts.phone_number} is gone: {facts.connection} has not had it{long or ' lately'}."
    if not number.drifting:
        return f"{facts.phone_number} is ready on {facts.connection}, {number.state}{long}."
    issues = listed(issue for issue in number.issues if issue != number.state)
    besides = f", with {issues}" if issues else ""
    return f"{facts.phone_number} is drifting on {facts.connection}, {number.state}{long}{besides}."


def _about_hold(facts: NumberFacts, terms: Terms, now: datetime) -> Iterator[str]:
    held, snapshot = facts.records.hold, facts.records.snapshot
    if held is None or snapshot is None:
        return
    changed = {key for shown in (held.missing, held.lost) for key in shown} | {
        key for key in held.drifting if (was := snapshot.numbers.get(key)) is None or not was.drifting
    }
    known = len(snapshot.numbers)
    share = f"{len(changed) / known:.0%} of {counted(known, 'number')} changed at once, " if changed else ""
    yield f"Held: {share}{held.count} of {terms.guard.confirm_syncs} answers; {held.reason}."
    applied_at = held.since + terms.guard.min_hold
    if applied_at > now:
        yield f"No such answer is applied before {when(applied_at)}."
    shown = in_hold(held, facts.key)
    if shown:
        yield f"This number is in trouble in {shown} of {counted(held.count, 'held answer')}."
    else:
        yield "This number is not in trouble in any of them."


def _about_track(track: Track, syncs: Syncs | None, rules: Rules, now: datetime) -> Iterator[str]:
    seen, episode = WORDS[track.kind].seen, track.episode
    next_sync = f"; the next is {due(syncs, now)}" if syncs is not None else ""
    if episode is not None:
        confirmed = f"confirmed at {when(episode.opened_at)}, with severity {episode.severity}"
        yield f"{seen} first seen at {when(track.since)}; {confirmed}, in alert {episode.alert_id}."
        if episode.flaps:
            yield f"It flapped {times(episode.flaps)} since: good for a moment, then bad again."
    else:
        over = track.good or track.gone or track.seen >= rules.confirm_syncs
        needed = counted(rules.confirm_syncs, "sync")
        yield f"{seen} seen in {track.seen} of {needed} needed{'' if over else next_sync}."
    yield from about_end(track, next_sync, rules)


def _to_do(track: Track, facts: NumberFacts) -> Iterator[str]:
    """Yield what the number lost or gained with its problem, and what to do first."""
    number, snapshot = track.number, facts.records.snapshot
    if number is None:
        return
    names = snapshot.names if snapshot is not None else NO_NAMES
    before = track.before.dependencies if track.before is not None else track.dependencies
    if track.kind is Kind.RECONFIGURED:
        before = track.dependencies  # of all that it had since
    lost = moved(*was_is(before, number.dependencies), names)
    if lost:
        yield f"It {lost}."
    client = number.dependencies.or_else(track.dependencies).client_id
    item = number.action_items[0] if number.action_items else ActionItem(number.state, "")
    about = Subject(
        kind=track.kind,
        many=1,
        one=number.phone_number,
        action=item.label,
        code=item.code,
        common={"client_id": client} if client is not None else {},
        names=names,
        connection=facts.connection,
        cause=track.detail,
        moved=lost,
    )
    yield f"What to do: {first_step(about)}"


def _about_quiet(facts: NumberFacts, terms: Terms, rules: Rules, now: datetime) -> Iterator[str]:
    for rule in covering(facts, rules, now):
        what = "this number" if rule.issue is None else f"issue {rule.issue}"
        end = f" until {when(rule.until)}" if rule.until is not None else ""
        name = "An [[ignore]] rule"
        if isinstance(rule, Silence):
            name = f"Silence {rule.id}{f' of {rule.by}' if rule.by else ''}"
            end = " until it is ready" if rule.until_ready else end
        yield f"{name} keeps {what} quiet{end}: {rule.reason or 'no reason given'}."
    for track in facts.tracks:
        left = _left(track, rules, now)
        if left:
            yield f"What is left alerts all the same: {listed(left)}."
    kinds = {track.kind for track in facts.tracks}
    if facts.number is None and facts.terms is not None:
        kinds.add(Kind.NUMBER_REMOVED)
    for kind in sorted(kinds - rules.alerting):
        yield f"The config only records this ({kind}): no alert opens."
    if rules.muted:
        until = window(terms.rules_at, now).until
        followed = ", and the next one opens before it closes: no alert opens."
        end = followed if until is None else f" until {when(until)}: no alert opens before it ends."
        yield f"A maintenance window is open{end}"


def _left(track: Track, rules: Rules, now: datetime) -> tuple[str, ...]:
    """Return which issues of a drift no rule covers, where rules cover some of them."""
    if track.kind is not Kind.DRIFT or track.number is None:
        return ()
    left = rules.audible_issues(track.number, now) or ()
    return left if len(left) < len(track.number.issues) else ()

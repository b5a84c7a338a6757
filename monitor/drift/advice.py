"""Says what to do first about an alert, in one sentence or two; there is always something.

The provider's first action is the base where it names one: the client, or the number, that it is about takes
the place of words like "the mapped client" or "this DID".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote

from monitor.drift.alert import Kind, Resolution
from monitor.drift.naming import in_common, named


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an alert is about, as far as the first step needs it.

    `many` counts its numbers or connections; `one` is the only one. `action` is the provider's, `code` the
    issue it is for, or the state. `moved` is what all members lost or gained, if that is the same. `back`:
    all are as they should be again, but not for long enough yet.
    """

    kind: Kind
    many: int
    one: str = ""
    action: str = ""
    code: str = ""
    common: Mapping[str, int | str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    connection: str | None = None
    group: str = ""
    cause: str = ""
    moved: str = ""
    back: bool = False


_KNOWN = {
    "NO_BOT": "Assign an active bot to the routing",
    "ROUTING_MISSING": "Create a call routing for this DID",
    "NO_VOCOBASE_AGENT": "Assign a Vocobase agent to the local phone number",
    "EXPIRED": "Renew this DID",
}
"""What to do about issues that come without an action."""

_THE_CLIENT = re.compile(r"\b(?:the|this|that|its)(?: mapped| assigned| owning)? client$", re.IGNORECASE)
_THIS_NUMBER = re.compile(r"\bthis (DID|(?:phone )?number)\b", re.IGNORECASE)
_OF_A_CLIENT = re.compile(r"(?:\b(?:routing|bot|agent|did|(?:phone ?)?number|row)|\+?\d+)$", re.IGNORECASE)

_OVER: Mapping[Resolution, str] = {
    Resolution.RECOVERED: "Nothing: it has recovered.",
    Resolution.ACCEPTED: "Nothing: a user has accepted it.",
    Resolution.REMOVED: "Nothing, if the removal was intended; otherwise restore it at the provider.",
    Resolution.IGNORED: "Check that the ignore rule is meant to cover this; it may still be broken.",
    Resolution.SILENCED: "Check that the silence is meant to cover this; it may still be broken.",
    Resolution.UNCONFIGURED: "Check that the monitor is meant to stop watching this; it may still be broken.",
    Resolution.MIXED: "Check what did not recover.",
}


_WAIT = "Nothing for now"
_BACK: Mapping[Kind, str] = {
    Kind.DRIFT: "ready again",
    Kind.NUMBER_REMOVED: "back",
    Kind.RECONFIGURED: "configured as before",
}


def first_step(about: Subject, resolution: Resolution | None = None) -> str:
    """Return what to do first; never empty, even when the alert is over."""
    if resolution is not None:
        return "Nothing: the test is over." if about.kind is Kind.TEST else _OVER[resolution]
    if about.back and about.kind in _BACK:
        who = {1: "it is", 2: "both numbers are"}.get(about.many, f"all {about.many:,} numbers are")
        return f"{_WAIT}: {who} {_BACK[about.kind]}, and the alert ends if that lasts."
    if about.kind is Kind.DRIFT:
        return _repair(about)
    if about.kind.about_numbers:
        return _find_out(about)
    return _look_into(about)


def waits(step: str) -> bool:
    """Return whether a first step says that all numbers are as they should be again."""
    return step.startswith(_WAIT)


def _repair(about: Subject) -> str:
    """Return the provider's action with what it is about."""
    action = about.action.strip().rstrip(".!:; ")
    if not action or action == about.code:
        action = _KNOWN.get(about.code.upper(), "")
    if not action:
        who = _numbers(about)
        return f"Check in VoiceLink and Vocobase why {who} {'is' if about.many == 1 else 'are'} {about.code}."
    if about.many == 1:
        action = _THIS_NUMBER.sub(lambda this: f"{this[1]} {about.one}", action)
    else:
        action = _THIS_NUMBER.sub(lambda this: f"each {this[1]}", action)
    if "client_id" not in about.common:
        others = {name: value for name, value in about.common.items() if name != "routing_target"}
        on = f"; all {about.many:,} numbers are on {in_common(others, about.names)}"
        return f"{action}{on if others and about.many > 1 else ''}."
    client = named("client", about.common["client_id"], about.names)
    if _THE_CLIENT.search(action):
        return f"{_THE_CLIENT.sub(lambda _: client, action)}."
    return f"{action} of {client}." if _OF_A_CLIENT.search(action) else f"{action}: {client}."


def _find_out(about: Subject) -> str:
    """Return how to tell an intended removal or change from an accident."""
    connection = quote(about.connection) if about.connection else "CONNECTION, for each of the connections"
    accept = f"voicelink-monitor accept {connection}"
    if about.kind is Kind.NUMBER_REMOVED:
        hidden = "; some entries of the answer cannot be read, look there first" if about.cause else ""
        who = _numbers(about)
        return f"Find out why the provider no longer lists {who}{hidden}; if that is intended, run: {accept}"
    if about.moved:
        who = about.one or f"the {about.many:,} numbers"
        return f"Check why {who} {about.moved}; if that is intended, run: {accept}"
    return (
        f"Check what changed the client, bot, routing or agent of {_numbers(about)}; if that is intended, "
        f"run: {accept}"
    )


def _numbers(about: Subject) -> str:
    """Return the number, or how many of which client."""
    who = about.one if about.many == 1 and about.one else f"the {about.many:,} numbers"
    client = about.common.get("client_id")
    return who if client is None else f"{who} of {named('client', client, about.names)}"


def _look_into(about: Subject) -> str:
    """Return where to look for why syncs or messages fail, and what that means for drift."""
    alone = about.many == 1
    one = f"connection {about.one}" if about.one else "the connection"
    which = one if alone else f"the {about.many:,} connections"
    # A receiver's cause is its answer, which begins with the code: `401 Unauthorized`.
    cause = about.cause[:3] if about.kind is Kind.RECEIVER_FAILING else about.cause
    step = _OF_CAUSE.get((about.kind, cause), _FAILURES[about.kind]).format(
        which=which,
        group=about.group,
        argument=quote(about.group),
        said=about.cause,
        exists="exists and is" if alone else "exist and are",
        ids="its id in the config is" if alone else "their ids in the config are",
        it="it" if alone else "them",
        was="was" if alone else "were",
    )
    is_seen = about.kind in _SEEN or cause == UNLISTED
    return step if is_seen else f"{step} Until this is fixed, drift goes undetected."


_SEEN = (Kind.RECEIVER_FAILING, Kind.TEST)
"""Of the alerts that are not about numbers, those in which numbers are still checked."""

UNLISTED = "unlisted"
"""The cause of a connection's alert that answers, but that discovery no longer lists."""


_FAILURES: Mapping[Kind, str] = {
    Kind.API_UNAVAILABLE: "Check that the VoiceLink API is up and reachable from the monitor.",
    Kind.ACCOUNT_REJECTED: "Check the API key of account {group} in the config, and ask the provider whether "
    "the account is suspended or out of balance.",
    Kind.CONNECTION_REJECTED: "Check that {which} {exists} active at the provider, and that {ids} correct.",
    Kind.ANSWER_UNREADABLE: "Look in the monitor's log for what is wrong with the answer for {which}, and "
    "report it to the provider.",
    Kind.SYNC_STALE: "Look in the monitor's log for why no answer is applied: rate limits, held answers or "
    "slow syncs.",
    Kind.RECEIVER_FAILING: "Check that receiver {group} is reachable, and its URL and credentials; queued "
    "messages are then delivered.",
    Kind.TEST: "Nothing. Someone is testing that alerts arrive here.",
}

_CREDENTIALS = "Renew the credentials of receiver {group} ({said}); queued messages are then delivered."
_ADDRESS = "Correct the URL of receiver {group} ({said}); queued messages are then delivered."
_GONE = (
    "Correct the URL of receiver {group} ({said}) and reload, or run: voicelink-monitor deliveries "
    "--retry-now {argument}; nothing is sent to it before."
)
_MESSAGES = "Find out why receiver {group} refuses the messages ({said}): their format, or their size."

_OF_CAUSE: Mapping[tuple[Kind, str], str] = {
    (Kind.API_UNAVAILABLE, "network"): "Check that the monitor can reach the VoiceLink API (DNS, proxy, "
    "firewall), and that the API is up.",
    (Kind.API_UNAVAILABLE, "server_error"): "Ask the provider about an outage: the VoiceLink API can be "
    "reached, but answers with errors.",
    (Kind.ACCOUNT_REJECTED, "unauthorized"): "Check the API key of account {group}: the provider no longer "
    "accepts it.",
    (Kind.ACCOUNT_REJECTED, "forbidden"): "Ask the provider whether account {group} is suspended, out of "
    "balance or not approved; the API key itself is known.",
    (Kind.CONNECTION_REJECTED, UNLISTED): "Check at the provider whether {which} {was} deleted or switched "
    "off: discovery no longer lists {it}, and 24 hours later the monitor stops checking {it}.",
    (Kind.CONNECTION_REJECTED, "rejected"): "Look in the monitor's log for what the API answers for {which}, "
    "and ask the provider.",
    (Kind.ANSWER_UNREADABLE, "too_large"): "Raise api.max_response_size: the answer for {which} is larger.",
    (Kind.SYNC_STALE, "rate_limited"): "Find out what else uses the API key: the provider limits its "
    "requests, so that no sync of {which} gets through.",
    (
        Kind.SYNC_STALE,
        "held",
    ): "Compare with the provider's console: what the API answers for {which} is held back as implausible.",
    **{(Kind.RECEIVER_FAILING, code): _CREDENTIALS for code in ("401", "403")},
    (Kind.RECEIVER_FAILING, "404"): _ADDRESS,
    (Kind.RECEIVER_FAILING, "410"): _GONE,
    **{(Kind.RECEIVER_FAILING, code): _MESSAGES for code in ("400", "413", "422")},
}
"""What to do first where all members fail for one cause, and that says more than the kind."""

"""Secrets kept out of text, in every form that a server may give them, and nothing else."""

import base64
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.http.redactor import Redactor
from monitor.secret import Secret
from tests.fakes.quoting import BASE64, FORMS

KEY = "rg_live_4f9aZ07c/1d+8 e"
SLACK = "https://hooks.slack.com/services/T01ABCDEF/B02GHIJKL/xY9zW8vU7tS6rQ5pO4nM3lK2"
HOOK = "https://moni:p%40ss%2Fw0rd@ops.example.com:8443/hooks/Platform/q7w8e9r0t1y2?token=aa%26bb%3Ccc11&format=json"
BASIC = base64.b64encode(b"moni:p@ss/w0rd").decode()
MAIL = "mailtos://oncall:m4il-pa55@mail.example.com/?to=oncall@example.com"
DATABASE = "postgresql://drift:dr1ft%21pass@db.example/monitor?sslmode=require&sslpassword=k3y-pass"
HEADER = "Bearer 0a1b2c3d4e5f"
LOGIN = f"Basic {base64.b64encode(b'ann:an0ther-one').decode()}"
WEBHOOK_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BCRYPT = "$2b$12$C6UzMDM.H6dfI/f/IKcEeO0Qv8vQmNlVvP0hJ3vJq1yZ3x8r7n5kW"
ALL = [KEY, SLACK, HOOK, MAIL, DATABASE, HEADER, LOGIN, WEBHOOK_SECRET, BCRYPT]

PARTS = {
    "key": KEY,
    "Slack's path": "/services/T01ABCDEF/B02GHIJKL/xY9zW8vU7tS6rQ5pO4nM3lK2",
    "Slack's URL": SLACK,
    "Slack's token": "xY9zW8vU7tS6rQ5pO4nM3lK2",
    "Slack's team": "T01ABCDEF",
    "webhook's path": "/hooks/Platform/q7w8e9r0t1y2",
    "webhook's token": "q7w8e9r0t1y2",
    "webhook's word": "Platform",
    "query value": "aa&bb<cc11",
    "query value as it stands": "aa%26bb%3Ccc11",
    "password of a URL": "p@ss/w0rd",
    "user of a URL": "moni",
    "Basic": BASIC,
    "mail password": "m4il-pa55",
    "database password": "dr1ft!pass",
    "database option": "k3y-pass",
    "bearer": "0a1b2c3d4e5f",
    "password of a header": "an0ther-one",
    "signing key": "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "hash": BCRYPT,
}

HINTS = ("webhook's word", "user of a URL", "Slack's team", "query value", "query value as it stands")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", PARTS)
def test_part_of_a_secret_is_hidden_in_every_form(part: str, form: str) -> None:
    """Whatever a server quotes, and however it writes it."""
    quoted = FORMS[form](PARTS[part])
    said = Redactor(map(Secret, ALL)).hide_foreign(f"Cannot GET ({quoted}) here")
    assert said == "Cannot GET (***) here"


@pytest.mark.parametrize("form", BASE64)
@pytest.mark.parametrize("part", [part for part in PARTS if len(PARTS[part]) >= 9])
def test_secret_is_hidden_in_base64(part: str, form: str) -> None:
    """Wherever in it the secret begins."""
    said = Redactor(map(Secret, ALL)).hide_foreign(f"Cannot GET ({BASE64[form](PARTS[part])}) here")
    assert re.fullmatch(r"Cannot GET \((?:x/)?\*\*\*=*\) here", said)


@given(
    st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(list(PARTS)),
    st.sampled_from(list(FORMS)),
    st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), max_size=40),
)
@example("%", "key", "as it is", "")
@example("&#", "hash", "HTML decimal", ";")
@example("\\", "key", "JSON", "\\")
def test_secret_is_hidden_whatever_is_around_it(before: str, part: str, form: str, after: str) -> None:
    """What comes before or after it changes nothing, but for a plain word, which has an end."""
    quoted = FORMS[form](PARTS[part])
    redactor = Redactor(map(Secret, ALL))
    said = redactor.hide_foreign(
        f"{before} {quoted} {after}" if part in HINTS else f"{before}{quoted}{after}"
    )
    assert quoted not in said
    assert redactor.hide_foreign(said) == said or before or after


@given(st.sampled_from([KEY, SLACK, BCRYPT, WEBHOOK_SECRET]), st.integers(13, 60))
def test_secret_that_was_cut_is_hidden(secret: str, size: int) -> None:
    """A server that shortens what it quotes leaves nothing that is worth guessing on from."""
    token = secret.rpartition("/")[2] if "://" in secret else secret
    cut = token[:size]
    assert Redactor([Secret(secret)]).hide_foreign(f"no such key: {cut}… (shortened)") == (
        "no such key: ***… (shortened)"
    )


@pytest.mark.parametrize("size", range(4, 24))
def test_start_of_a_secret_is_hidden_where_a_text_was_cut(size: int) -> None:
    """The answer is read up to a limit, which may fall into a secret."""
    for end in ("", "\ufffd", "…"):
        assert Redactor([Secret(KEY)]).hide_foreign(f"bad key {KEY[:size]}{end}") == f"bad key ***{end}"


LOG = (
    '{"timestamp":"2026-03-01T12:00:00Z","level":"info","event":"sync.completed","connection":"platform-sales",'
    '"account":"acme","instance":"voicelink-monitor","store":"sqlite:///voicelink-monitor.db","numbers":1200,'
    '"reason":"syncs are making no progress","url":"https://ops.example.com/","page":"http://127.0.0.1:8790"}'
)


def test_own_text_keeps_its_words() -> None:
    """Words of a webhook's path or a weak password are hidden in what its server says, not in the log."""
    values = [
        *ALL,
        "https://h/progress/platform/sales",
        "postgresql://monitor:monitor@db/monitor",
        "acme",
        "info",
    ]
    redactor = Redactor(map(Secret, values))
    assert redactor.hide(LOG) == LOG
    assert redactor.hide_foreign("no platform here, monitor") == "no *** here, ***"


@pytest.mark.parametrize("part", [part for part in PARTS if part not in HINTS])
def test_own_text_hides_what_is_surely_secret(part: str) -> None:
    """The last wall: what reached the log all the same goes no further."""
    redactor = Redactor(map(Secret, ALL))
    said = redactor.hide_in({"event": "x", "deep": [{"error": f"<{PARTS[part]}>"}], PARTS[part]: 1, "n": 2})
    assert said == {"event": "x", "deep": [{"error": "<***>"}], "***": 1, "n": 2}


WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        """
        cannot get the answer from server hooks services api v1 ping status error token not found bad request
        unauthorized invalid_payload no_service channel_not_found READY NO_BOT ROUTING_MISSING alert.opened
        delivery.failed http https 127.0.0.1:8790 [::1] 2026-03-01T12:00:00Z application/json events webhook
        """,
    )
)


@given(st.lists(WORDS, max_size=30).map(" ".join))
def test_ordinary_words_are_left_alone(text: str) -> None:
    """What servers usually say stays readable."""
    redactor = Redactor(map(Secret, ["https://ops.example.com/api/v1/hooks/ping?format=json", *ALL]))
    assert redactor.hide_foreign(text) == text
    assert redactor.hide(text) == text


@given(st.text())
def test_text_without_secrets_is_left_alone(text: str) -> None:
    """Who knows no secret changes nothing; and no text makes it fail."""
    assert Redactor().hide_foreign(text) == text
    Redactor(map(Secret, ALL)).hide_foreign(text)


@given(st.text(max_size=60))
def test_any_value_can_be_a_secret(value: str) -> None:
    """Nothing that a config may hold makes it fail; what is long enough is hidden."""
    redactor = Redactor([Secret(value), Secret(f"https://{value}"), Secret(f"scheme://{value}")])
    said = redactor.hide_foreign(f"({value})")
    if len(value) >= 4 and "*" not in value and not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", value):
        assert value not in said


def test_secrets_of_one_file_are_hidden_each() -> None:
    """Where a file holds several, one a line, whoever quotes one of them quotes a secret."""
    redactor = Redactor([Secret(f"{WEBHOOK_SECRET}\nwhsec_{BASIC}")])
    for each in (WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_"), f"whsec_{BASIC}"):
        assert redactor.hide(f"bad key {each}") == "bad key ***"


def test_former_secrets_stay_hidden() -> None:
    """After a rotation messages about the old one may still be under way; in the end it is forgotten."""
    redactor = Redactor([Secret("old-s3cr3t-1")])
    redactor.learn([Secret("old-s3cr3t-2")])
    redactor.learn([Secret("new-s3cr3t-2")])
    redactor.add("next-s3cr3t-3")
    assert redactor.hide("old-s3cr3t-1 old-s3cr3t-2 new-s3cr3t-2 next-s3cr3t-3") == "*** *** *** ***"


def test_line_is_short_and_without_numbers() -> None:
    """A foreign text also loses phone numbers and whatever looks like an API key."""
    said = Redactor([Secret(KEY)]).line(f"key {KEY}\nof +91 80112 23344, rg_live_other", 200)
    assert said == "key *** of ***, ***"
    assert len(Redactor().line("x" * 500, 20)) == 20


HOSTILE = {
    "words": "abc defg " * 7282,
    "one letter": "a" * 65536,
    "starts of a key": "rg_live_" * 8192,
    "percent signs": "%" * 65536,
    "percent-encoded": "%41" * 21845,
    "ampersands": "&" * 65536,
    "entities": "&lt;" * 16384,
    "backslashes": "\\" * 65536,
    "spaces": " " * 65536,
    "lines": " \r\n" * 21845,
    "half escapes": "\\u00" * 16384,
    "base64": base64.b64encode(bytes(range(256)) * 192).decode(),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_time_grows_with_the_text_alone(text: str) -> None:
    """64 KiB against 200 secrets takes a fraction of a second, and twice as much about twice as long."""
    redactor = Redactor(
        Secret(f"https://u{n}:pass{n}word@h/hooks/{n:x}tok{n * 7919:x}en?k={n:032x}") for n in range(200)
    )
    started = time.perf_counter()
    redactor.hide_foreign(text[:8192])
    small_s = time.perf_counter() - started
    started = time.perf_counter()
    redactor.hide_foreign(text)
    assert time.perf_counter() - started < max(40 * small_s, 1.0)

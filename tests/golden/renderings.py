"""What each receiver for people makes of the examples, and where that is kept."""

import json
from collections.abc import Callable
from pathlib import Path

from monitor.drift.alert import AlertBody
from monitor.notify import pagerduty, slack
from monitor.notify.wording import compose, plain_text
from tests.golden.examples import EXAMPLES

HERE = Path(__file__).parent


def _text(body: AlertBody) -> str:
    message = compose(body)
    return f"{message.title}\n\n{plain_text(message)}\n"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


FORMS: dict[str, tuple[str, Callable[[AlertBody], str]]] = {
    "text": ("txt", _text),
    "slack": ("json", lambda body: _json(slack.render(body))),
    "pagerduty": ("json", lambda body: _json(pagerduty.render(body))),
}


def path_of(form: str, example: str) -> Path:
    """Return the file of an example in a form."""
    return HERE / form / f"{example}.{FORMS[form][0]}"


def rendered(form: str, example: str) -> str:
    """Return what the code makes of an example now."""
    return FORMS[form][1](EXAMPLES[example]())


def kept(form: str, example: str) -> str:
    """Return what was read and found good."""
    return path_of(form, example).read_text(encoding="utf-8")

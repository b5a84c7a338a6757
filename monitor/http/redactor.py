"""Secrets kept out of text: what others say to the monitor, and as a last wall what it says itself.

Every secret is taken apart, and its parts are looked for in a text as it is and as it reads once escapes are
undone (percent, HTML, JSON, base64, broken lines), in upper and lower case. Parts are of two kinds:

| parts | hidden in |
| --- | --- |
| sure: keys, passwords, URLs and their paths, long tokens in them; also the start of one | any text |
| hints: words of a URL's path and query, users, passwords that are words | foreign text, as whole words |

So a webhook at /hooks/platform stars no "platform" of the log, but each in what its server answers.
"""

import base64
import binascii
import html
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from monitor.http.text import redact
from monitor.secret import Secret

HIDDEN = "***"

_FORMER = 1000
"""How many secrets that are no longer in use stay hidden."""
_SHORTEST = 4
_SHORTEST_SURE = 6
_SHORTEST_TOKEN = 12
_START = 12
"""So much of a secret's start is hidden wherever it stands; less of it where a text ends."""

_PLAIN_WORD = re.compile(r"[a-z]*(?:[-_.][a-z]*)*|[0-9]{1,11}")
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[a-z]).*")
_SCHEMES = frozenset({"apikey", "basic", "bearer", "digest", "geniekey", "key", "token"})
"""What comes before the secret in an Authorization header, as services use it."""
_ORDINARY = frozenset(
    re.findall(
        r"\w+",
        """
        admin alert alertmanager alerts bots channel channels default discord event events enqueue error false
        format heartbeat hook hooks http https incoming integration integrations json mail message messages
        monitor monitoring notification notifications notify ping post postgres prod public root room rooms
        send service services slack staging status team teams test text true user users voicelink webhook
        webhooks workflow workflows www
        """,
    )
)
"""Words of URLs and user names that give nothing away, and that a text without them could not say."""


class Redactor:
    """Hides what it was told to.

    Args:
        secrets: Those that never change; the others come with `learn`.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._always = frozenset(secret.reveal() for secret in secrets)
        self._current: frozenset[str] = frozenset()
        self._former: deque[str] = deque(maxlen=_FORMER)
        self._lock = threading.Lock()
        self._values: set[str] | None = None
        self._build()

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Hide these from now on; what was hidden before stays so, as messages about it may be under way."""
        current = frozenset(secret.reveal() for secret in secrets)
        with self._lock:
            self._former.extend(self._current - current)
            self._current = current
            self._build()

    def add(self, value: str) -> None:
        """Hide one more value, which is about to be used."""
        with self._lock:
            self._former.append(value)
            self._build()

    def hide(self, text: str) -> str:
        """Return a text of the monitor's own without secrets."""
        return self._words.hidden(text)

    def hide_foreign(self, text: str) -> str:
        """Return a text from outside without secrets or anything that hints at one."""
        return self._all.hidden(text)

    def line(self, text: str, limit: int) -> str:
        """Return a text from outside on one line of at most `limit` characters; see also `redact`."""
        return redact(self.hide_foreign(text), limit)

    def hide_in(self, value: Any) -> Any:
        """Return a value of dicts, lists and texts, with every text in it hidden."""
        match value:
            case str():
                return self.hide(value)
            case dict():
                return {self.hide_in(key): self.hide_in(each) for key, each in value.items()}
            case list() | tuple():
                return [self.hide_in(each) for each in value]
            case _:
                return value

    def _build(self) -> None:
        values = {*self._always, *self._current, *self._former}
        if values == self._values:
            return
        self._values = values
        parts = [part for value in values for part in parts_of(value)]
        sure = {part.text for part in parts if part.sure}
        # Each assigned at once: a thread that reads secrets again may learn while others hide.
        self._words = _Finder(sure, frozenset(), foreign=False)
        self._all = _Finder(sure, {part.text for part in parts if not part.sure}, foreign=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a secret, in lower case; `sure`: never an ordinary word."""

    text: str
    sure: bool


def parts_of(value: str) -> Iterator[Part]:
    """Yield what must not be seen of a secret."""
    # A file may hold several secrets, one a line.
    for piece, explicit in (piece for each in {value, *value.splitlines()} for piece in _pieces(each)):
        text = _lower(piece)
        if len(text) < _SHORTEST:
            continue
        if explicit:
            yield Part(text, sure=len(text) >= _SHORTEST_SURE and not _PLAIN_WORD.fullmatch(text))
        elif text not in _ORDINARY:
            yield Part(text, sure=len(text) >= _SHORTEST_TOKEN and bool(_TOKEN.fullmatch(text)))


def _pieces(value: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a secret, and whether each is a secret by itself."""
    scheme, _, rest = value.partition("://")
    if rest and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        yield from _pieces_of_url(value, scheme.lower())
        return
    kind, _, token = value.partition(" ")
    if token and kind.lower() in _SCHEMES:
        yield token, True
    else:
        yield from ((value, True), (token, False))
    if kind.lower() == "basic":
        user, _, password = _from_base64(token).partition(":")
        yield from ((user, False), (password, True))
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_"), True


def _pieces_of_url(url: str, scheme: str) -> Iterator[tuple[str, bool]]:
    if scheme.startswith("sqlite"):
        return
    yield url, True
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    if userinfo:
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode(), True
    for text, explicit in ((user, False), (password, True)):
        yield from ((text, explicit), (unquote(text), explicit))
    query = parse_qsl(parts.query, keep_blank_values=True)
    if scheme.startswith("postgres"):
        yield from ((text, True) for key, text in query if "pass" in key)
        return
    words = re.split(r"[/;,:@]", parts.path) + [text for _, text in query]
    words += [pair.partition("=")[2] or pair for pair in parts.query.split("&")]
    if not scheme.startswith("http"):
        words += re.split(r"[:]", host)
    words = [text for word in words for text in (word, unquote(word))]
    yield from ((word, False) for word in words)
    if any(_lower(word) not in _ORDINARY and len(word) >= _SHORTEST for word in words):
        whole = parts.path + (f"?{parts.query}" if parts.query else "")
        yield from ((text, True) for text in (parts.path, unquote(parts.path), whole, unquote(whole)))


class _Finder:
    """Finds parts in texts, in time that grows with the text alone."""

    def __init__(self, sure: Iterable[str], hints: Iterable[str], *, foreign: bool) -> None:
        sure = {each for part in sure for each in (part, part.replace(" ", "+"))}
        hints = {each for part in hints for each in (part, part.replace(" ", "+"))}
        tokens = [part for part in sure if "://" not in part]
        self._tokens: dict[str, list[str]] = {}
        for token in tokens:
            if len(token) > _START:
                self._tokens.setdefault(token[:_START], []).append(token)
        self._starts = {
            token[:size] for token in tokens for size in range(_SHORTEST, min(len(token), _START))
        }
        self._foreign = foreign
        found = _alternation({*sure, *self._tokens})
        if hints:
            words = rf"(?<![a-z0-9])(?:{_alternation(hints)})(?![a-z0-9])"
            found = f"{found}|{words}" if found else words
        self._pattern = re.compile(found) if found else None

    def hidden(self, text: str) -> str:
        """Return the text with stars in place of what was found."""
        if self._pattern is None:
            return text
        spans = [span for view in _views(text) for span in self._spans(view)]
        if not spans:
            return text
        kept: list[str] = []
        end = 0
        for start, stop in sorted(spans):
            if start > end or not kept:
                kept += [text[end:start], HIDDEN]
            end = max(end, stop)
        return "".join(kept) + text[end:]

    def _spans(self, view: "_View") -> Iterator[tuple[int, int]]:
        """Yield where in the original text something is found that a view of it shows."""
        text = _lower(view.text)
        for start, end in (*self._matches(text), *(self._odd(text, view.text) if self._foreign else ())):
            yield view.starts[start], view.ends[end - 1]

    def _matches(self, text: str) -> Iterator[tuple[int, int]]:
        if self._pattern is None:
            return
        for found in self._pattern.finditer(text):
            longest = found.end()
            for token in self._tokens.get(found[0][:_START], ()):
                same = _shared(token, text[found.start() : found.start() + len(token)])
                longest = max(longest, found.start() + same)
            yield found.start(), longest

    def _odd(self, text: str, cased: str) -> Iterator[tuple[int, int]]:
        """Yield a start of a secret at the very end, where a text was cut, and base64 that holds one."""
        end = len(text.rstrip("\ufffd…."))
        size = next(
            (size for size in range(_START, _SHORTEST - 1, -1) if text[:end][-size:] in self._starts), 0
        )
        if size and end >= size:
            yield end - size, end
        for run in _BASE64.finditer(cased):
            # A slash before it may belong to it or not: all four ways to group it are tried.
            if any(next(self._matches(_lower(_from_base64(run[0][at:]))), None) for at in range(4)):
                yield run.span()


@dataclass(frozen=True, slots=True)
class _View:
    """A text as it reads, and of each of its characters where it began and ended in the original."""

    text: str
    starts: "range | list[int]"
    ends: "range | list[int]"


_ESCAPE = re.compile(
    r"""(?:%[0-9a-fA-F]{2})+
    | &(?:\#[0-9]{1,7} | \#[xX][0-9a-fA-F]{1,6} | [A-Za-z][A-Za-z0-9]{1,31});?
    | (?:\\u[0-9a-fA-F]{4})+ | \\x[0-9a-fA-F]{2} | \\[\\/"'bfnrt]
    | [\r\n]\s* | <wbr> | [\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2060\ufeff]+""",
    re.VERBOSE,
)
_MARK = re.compile(r"[%&\\<\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2060\ufeff]")
"""One of these is in every escape; most texts have none, and are done at once."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}")
_DEPTH = 3
"""So often are escapes undone, one within the other."""


def _views(text: str) -> Iterator[_View]:
    view = _View(text, range(len(text)), range(1, len(text) + 1))
    for _ in range(_DEPTH):
        yield view
        plain = _unescaped(view)
        if plain is None:
            return
        view = plain
    yield view


def _unescaped(view: _View) -> _View | None:
    """Return a view with every escape undone; None if there is none."""
    texts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    last = 0
    if not _MARK.search(view.text):
        return None
    for found in _ESCAPE.finditer(view.text):
        plain = _plain(found[0])
        if plain == found[0]:
            continue
        start, end = found.span()
        texts += [view.text[last:start], plain]
        starts += [*view.starts[last:start], *[view.starts[start]] * len(plain)]
        ends += [*view.ends[last:start], *[view.ends[end - 1]] * len(plain)]
        last = end
    if not texts:
        return None
    texts.append(view.text[last:])
    return _View("".join(texts), [*starts, *view.starts[last:]], [*ends, *view.ends[last:]])


def _plain(escape: str) -> str:
    """Return what an escape stands for; of a broken line nothing is left."""
    first, second = escape[0], escape[1:2]
    if first == "%":
        raw = bytes.fromhex(escape.replace("%", ""))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    if first == "&":
        return html.unescape(escape)
    if second == "u":
        units = bytes.fromhex(escape.replace("\\u", ""))
        return units.decode("utf-16-be", "replace")
    if second == "x":
        return bytes.fromhex(escape[2:]).decode("latin-1")
    return {"b": "", "f": "", "n": "", "r": "", "t": " "}.get(second, second) if first == "\\" else ""


def _from_base64(text: str) -> str:
    text = text.rstrip("=").translate(_URL_SAFE)
    text = text[:-1] if len(text) % 4 == 1 else text
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except ValueError:
        return ""


_URL_SAFE = str.maketrans("-_", "+/")
_LOWER = str.maketrans({char: char + 32 for char in range(ord("A"), ord("Z") + 1)})


def _lower(text: str) -> str:
    """Return a text of the same length with ASCII letters in lower case."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    shortest = min(len(one), len(other))
    return next((at for at in range(shortest) if one[at] != other[at]), shortest)


def _alternation(words: Iterable[str]) -> str:
    """Return a pattern for the longest of the words: a tree, so that one look at a character drops most."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[:1], []).append(word)
    branches = []
    for group in groups.values():
        prefix = group[0][: _shared(min(group), max(group))]
        rests = {word[len(prefix) :] for word in group}
        more = _alternation(rests - {""})
        optional = "?" if "" in rests else ""
        branches.append(re.escape(prefix) + (f"(?:{more}){optional}" if more else ""))
    return "|".join(branches)

"""What people leave in a value that they paste: quotes, `Bearer`, a line of a script, unseen characters.

Each is told by a sentence that never holds the value. A sentence is the end of "KEY: ".
"""

import re
import unicodedata

_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
_ASSIGNMENT = re.compile(r"export\s|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+=[^=]")
"""How a line of a script or an environment file begins; base64 may end in `=` too, but nothing follows it."""
_UNEXPANDED = re.compile(r"\$\{\w+\}|\$\(|^\$\w+$|^%\w+%$|\{\{")
_PATH = re.compile(r"(~|\.{0,2})/(run|etc|var|home|opt|srv|mnt|root|tmp|usr|secrets?)/")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def in_quotes(value: str) -> bool:
    """Return whether a value stands in quotes that are part of it."""
    return len(value) > 1 and value[0] + value[-1] in _QUOTES


def unexpanded(value: str) -> bool:
    """Return whether a value holds a variable or a template's place that nothing has filled in."""
    return _UNEXPANDED.search(value) is not None


def unseen(value: str) -> str | None:
    """Return the sentence about a character that cannot be seen; None if there is none."""
    found = next((char for char in value if not char.isprintable()), None)
    if found is None:
        return None
    if found in "\r\n\v\f\x85\u2028\u2029":
        return "must not hold line breaks"
    what = unicodedata.name(found, "")
    kind = f"invisible characters like {what.lower()}" if what else "control characters"
    return f"must not hold {kind} (U+{ord(found):04X}): type it anew"


def pasted(value: str) -> str | None:
    """Return the sentence about a secret that is not one as it stands; None if it may be one."""
    if in_quotes(value):
        return (
            "it is in quotes, which are part of it here (docker --env-file and secret files keep them): "
            "remove them"
        )
    if re.match(r"bearer\s", value, re.IGNORECASE):
        return 'leave out "Bearer": the monitor adds it'
    if _ASSIGNMENT.match(value):
        return "it is a whole line of a script or environment file: give only what stands after the ="
    if unexpanded(value):
        return "it is a variable that nothing has filled in: give its value, or a file"
    if _PATH.match(value) or _WINDOWS.match(value):
        return "it is the path of a file: give it as the key that ends in _file"
    return None


def not_a_path(value: str) -> str | None:
    """Return why a file may not be found under what was given as its path; None if nothing shows."""
    if in_quotes(value):
        return "it is in quotes, which are part of it here: remove them"
    if value.startswith("~"):
        return "~ is not expanded: give the whole path"
    if unexpanded(value) or "$" in value:
        return "variables are not expanded here: give the whole path"
    if _WINDOWS.match(value) or "\\" in value:
        return "it is a Windows path: give the path that this machine or container has for it, with /"
    return None

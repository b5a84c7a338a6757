"""The ways in which a server may write what it quotes."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus


def hexadecimal(text: str) -> str:
    """Return a text with every character percent-encoded, in lower case."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent in a path": quote,
    "percent with plus": quote_plus,
    "percent in lower case": lambda text: re.sub(
        "%[0-9A-F]{2}", lambda m: m[0].lower(), quote(text, safe="")
    ),
    "all percent": hexadecimal,
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "HTML": html.escape,
    "HTML decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "JSON with all escaped": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1].replace("/", r"\/"))[1:-1],
    "percent in HTML": lambda text: html.escape(quote(text)),
    "upper case": str.upper,
    "lower case": str.lower,
    "broken lines": lambda text: re.sub("(.{5})(?=.)", "\\1\r\n\t", text),
    "zero-width spaces": "\u200b".join,
}
BASE64: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of more": lambda text: base64.b64encode(f"monitor:{text}!".encode()).decode(),
    "base64 in a path": lambda text: "x/" + base64.b64encode(f"a:{text}".encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"\u00ff?{text}".encode()).decode().rstrip("="),
}

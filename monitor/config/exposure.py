"""What a valid config lays open: the page, secrets on the wire, secrets in files that others read."""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from monitor.config.keys import Path as KeyPath
from monitor.config.keys import at, dotted
from monitor.config.mistakes import in_quotes, unexpanded
from monitor.config.receivers import (
    AlertmanagerConfig,
    AppriseConfig,
    PagerDutyConfig,
    ReceiverConfig,
    SlackConfig,
    WebhookConfig,
)
from monitor.config.settings import Config, WebConfig
from monitor.http.address import Address
from monitor.http.hosts import is_loopback
from monitor.secret import Secret

_NO = re.compile("de|di|ne|fa?|no?|of|0")
"""How a switch in an Apprise URL that is off begins: `parse_bool` of that library."""
_MOUNTED = ("/run/secrets/", "/var/run/secrets/", "/run/credentials/")
"""Where Docker, Podman, Kubernetes and systemd put secrets, for one container or unit alone."""


def exposures(config: Config) -> Iterator[str]:
    """Yield a warning for each thing that a valid config lays open."""
    yield from _page(config.web)
    for path, url, what in _sends_secrets(config):
        if is_cleartext(url):
            yield f"{dotted(path)}: {what} unencrypted over http: use https"
    yield from _unverified(config)
    files = [(path, value.file) for path, value in leaves_of(config) if isinstance(value, Secret)]
    for path, file in [*files, (("web", "tls_key_file"), config.web.tls_key_file)]:
        if file is not None and _is_readable_by_others(file):
            yield f"{dotted(path)}: other users of this machine may read {file}: run chmod 600 on it"
    yield from _unfilled(config)


def exposed_in_file(config: Config, file: Path, origins: Mapping[tuple[str, ...], str]) -> str | None:
    """Return the warning about a config file that holds secrets and that other users really can read.

    Unlike a key file, which only this program has a reason to read, it is worth a warning only if they get
    through to it.

    Args:
        config: What the file made, under the environment.
        file: The file.
        origins: The variables that set keys, by path.
    """
    inside = [
        path
        for path, value in leaves_of(config)
        if isinstance(value, Secret)
        and value.file is None
        and at(path, "", origins) == at(path, "", {})
        and (path != ("store", "url") or urlsplit(value.reveal()).password is not None)
    ]
    if not inside or not _is_readable_by_others(file):
        return None
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in file.resolve().parents):
        return None
    return (
        f"{dotted(inside[0])}: other users of this machine may read {file}, which holds this secret: run "
        "chmod 600 on it, or give the secret in a file of its own"
    )


def _page(web: WebConfig) -> Iterator[str]:
    if is_loopback(web.listen.host):
        return
    if not web.basic_auth_users:
        acts = ", reload and sync" if web.enable_lifecycle else ""
        yield (
            f"web.listen: whoever reaches this address can read phone numbers{acts}: "
            "set web.basic_auth_users, or see to it that only trusted networks reach it"
        )
    elif web.tls_cert_file is None and not web.trusted_proxies:
        yield (
            "web.basic_auth_users: passwords travel unencrypted over http: set web.tls_cert_file and "
            "web.tls_key_file, or name the proxy that does TLS in web.trusted_proxies"
        )


def _unverified(config: Config) -> Iterator[str]:
    for place, receiver in enumerate(config.receivers):
        if isinstance(receiver, AppriseConfig) and receiver.ca_file is None:
            verify = parse_qs(urlsplit(receiver.secret.reveal()).query).get("verify", [""])[-1]
            if _NO.fullmatch(verify.lower()[:2]):
                yield (
                    f"receivers[{place}].url: with verify=no, whoever is in between can read what is sent: "
                    "remove it; ca_file makes a private authority trusted"
                )


def is_cleartext(url: str) -> bool:
    """Return whether others may read what is sent to a URL: plain http to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _sends_secrets(config: Config) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield the URLs with which secrets are sent: path, URL, and what travels."""
    yield ("api", "base_url"), config.api.base_url, "API keys travel"
    if config.heartbeat.secret is not None:
        path = ("heartbeat", _url_key(config.heartbeat.url_file))
        yield path, config.heartbeat.secret.reveal(), "this URL, a secret, travels"
    for place, receiver in enumerate(config.receivers):
        for key, url, what in _sent_to(receiver):
            yield ("receivers", place, *key), url, what


def _sent_to(receiver: ReceiverConfig) -> Iterator[tuple[KeyPath, str, str]]:
    match receiver:
        case AlertmanagerConfig():
            login = receiver.basic_auth or receiver.bearer
            for place, address in enumerate(receiver.urls):
                if login or address.authorization:
                    yield ("urls", place), address.url, "the password or token travels"
        case WebhookConfig():
            url, address = receiver.address.reveal(), Address.of(receiver.address.reveal())
            if receiver.signing or receiver.headers or address.authorization or urlsplit(url).query:
                yield (_url_key(receiver.url_file),), url, "alerts and what authenticates them travel"
        case PagerDutyConfig():
            yield ("url",), receiver.url.url, "the routing key travels"
        case SlackConfig():
            yield (_url_key(receiver.url_file),), receiver.secret.reveal(), "this URL, a secret, travels"
        case _:
            pass  # nothing secret; what Apprise sends is up to the service that its URL names


def _url_key(file: Secret | None) -> str:
    return "url" if file is None else "url_file"


def _is_readable_by_others(file: Path) -> bool:
    """Return whether users other than the owner may read a file that holds a secret.

    A group may, if the file belongs to root: that is how a service gets it. What a container or unit was
    given is its own, whatever its mode: Kubernetes mounts secrets as 0644, Docker as 0444.

    Source: https://www.postgresql.org/docs/current/libpq-ssl.html (permissions of a key file).
    """
    try:
        real = file.resolve(strict=True)
        info = real.stat()
    except (OSError, RuntimeError):  # a loop of links
        return False
    # A volume of Kubernetes keeps its files in `..2026_03_01_12_00_00.123456789`, behind the link `..data`.
    of_a_volume = any(part.startswith("..") for part in real.parts)
    if of_a_volume or any(str(each).startswith(_MOUNTED) for each in (file.absolute(), real)):
        return False
    forbidden = stat.S_IROTH if info.st_uid == 0 else stat.S_IROTH | stat.S_IRGRP
    return bool(info.st_mode & forbidden)


def _unfilled(config: Config) -> Iterator[str]:
    """Yield what holds a variable's name, or quotes, where those could be meant but hardly are."""
    for path, value in leaves_of(config):
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str):
            continue
        if unexpanded(text):
            yield f"{dotted(path)}: it holds a variable's name, which nothing replaces by its value here"
        elif in_quotes(text):
            yield f"{dotted(path)}: it is in quotes, which are part of it: remove them if they are not meant"


def leaves_of(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield everything below a value that is no table, list or map, with its path."""
    match value:
        case BaseModel():
            parts: Any = [*value, *(value.__pydantic_extra__ or {}).items()]
        case dict():
            parts = value.items()
        case tuple() | list():
            parts = enumerate(value)
        case Address():
            yield path, value.url
            if value.authorization is not None:
                yield path, value.authorization
            return
        case _:
            yield path, value
            return
    for key, part in parts:
        yield from leaves_of(part, (*path, key))

"""`healthcheck`: one request to the daemon on this machine, without validating the whole config."""

import http.client
import ssl
import tomllib
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from monitor.cli.shell import shell_of
from monitor.cli.terminal import Format
from monitor.config import find_config_file
from monitor.http.address import Address, safe_url
from monitor.http.hosts import is_loopback
from monitor.secret import read_text, trimmed

UNHEALTHY = 1
_TIMEOUT_S = 5.0
_DEFAULT_LISTEN = "127.0.0.1:8790"
_OK = 200
_HEALTHY, _READY = "/-/healthy", "/-/ready"
_LONGEST_ANSWER = 1000
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is listened on, not what we listen on


def healthcheck(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", help="URL to ask; default: the address of web.listen.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", hidden=True, envvar="VOICELINK_MONITOR_WEB__LISTEN")
    ] = None,
    cert: Annotated[
        str | None, typer.Option("--cert", hidden=True, envvar="VOICELINK_MONITOR_WEB__TLS_CERT_FILE")
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        Format, typer.Option("--format", help="A word for people, or JSON only.")
    ] = Format.TABLE,
) -> None:
    """Check whether the daemon on this machine is healthy, at /-/healthy; if it is not ready, say why.

    The address is that of `web.listen`. If a certificate is configured, https is used without verification,
    as the certificate names the host that others connect to.

    Exit codes:
      0  healthy
      1  unhealthy, or no answer

    Examples:
      voicelink-monitor healthcheck
      voicelink-monitor healthcheck --url http://127.0.0.1:8790/-/healthy
    """
    shell = shell_of(ctx)
    asked = own_url(shell.config_file, listen, cert) if url is None else url
    problem, _ = _ask(asked, verify=url is not None)
    not_ready = None
    if problem is None and asked.endswith(_HEALTHY):
        refused, said = _ask(asked.removesuffix(_HEALTHY) + _READY, verify=url is not None)
        not_ready = (said or refused) if refused else None
    shown = safe_url(asked)
    if format is Format.JSON:
        told = {"healthy": problem is None, "url": shown, "problem": problem, "not_ready": not_ready}
        shell.terminal.json(told)
    elif problem is None:
        shell.terminal.line("healthy" if not_ready is None else f"healthy, but not ready: {not_ready}")
    if problem is not None:
        shell.terminal.note(f"unhealthy: {shown}: {problem}")
        raise typer.Exit(UNHEALTHY)


def own_url(file: Path | None, listen: str | None, cert: str | None) -> str:
    """Return where the daemon of this machine answers, by the config file and the environment."""
    web = _web(file or find_config_file())
    listen, cert = trimmed(listen or ""), trimmed(cert or "")
    host, _, port = (listen or web.get("listen") or _DEFAULT_LISTEN).rpartition(":")
    scheme = "https" if cert or web.get("tls_cert_file") else "http"
    return f"{scheme}://{_ANY.get(host, host)}:{port}{_HEALTHY}"


def _web(file: Path | None) -> dict[str, str]:
    """Return the texts of the config's [web]; none if it cannot be read: the daemon reports that itself."""
    try:
        web = tomllib.loads(read_text(file)).get("web") if file else None
    except (OSError, ValueError, RecursionError):
        return {}
    texts = web.items() if isinstance(web, dict) else ()
    return {key: value for key, value in texts if isinstance(value, str)}


def _ask(url: str, *, verify: bool) -> tuple[str | None, str]:
    """Return what is wrong, None if the daemon answers 200, and what it says itself."""
    try:
        address = Address.of(url)
        parts = urlsplit(address.url)
        login = address.authorization
        connection = _connection(parts, verify=verify)
        try:
            headers = {} if login is None else {"Authorization": login.reveal()}
            connection.request("GET", parts.path or _HEALTHY, headers=headers)
            answer = connection.getresponse()
            said = answer.read(_LONGEST_ANSWER).decode(errors="replace").strip()
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return str(exc) or type(exc).__name__, ""
    return None if answer.status == _OK else f"it answers {answer.status}", said


def _connection(parts: SplitResult, *, verify: bool) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()
    if not verify or is_loopback(host):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)

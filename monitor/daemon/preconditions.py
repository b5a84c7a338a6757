"""What must hold before a daemon starts: one answer for `run`, a reload, `demo` and `check-config`.

A config can be valid and still be of no use here and now: an extra is not installed, a folder does not
exist, a certificate does not fit its key. `examine` finds out by making what a start makes of the config, or,
where that would leave traces, by looking. It takes no port and leaves the store alone, as the daemon may be
running.

It cannot say whether the port is free, whether another daemon has the store open, and whether a PostgreSQL
server answers.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from monitor.clock import SystemClock
from monitor.config import AppriseConfig, Config, Reading, process_environment, read_config
from monitor.config.exposure import exposed_in_file, leaves_of
from monitor.config.keys import Path as KeyPath
from monitor.config.keys import at
from monitor.daemon.descriptors import descriptor_warning, reachable_open_files
from monitor.errors import ConfigError, MonitorError
from monitor.http.certificates import Authorities
from monitor.http.client import Network
from monitor.http.proxies import proxies_of
from monitor.notify.apprise import AppriseReceiver
from monitor.store.database import Database
from monitor.store.file import exposure
from monitor.store.obstacle import obstacle
from monitor.web.server import check_address
from monitor.web.tls import Certificate

T = TypeVar("T")

_EXPIRES_SOON = timedelta(days=14)


def examine(
    path: Path | None, environ: Mapping[str, str] | None = None, *, now: datetime | None = None
) -> Reading:
    """Read a config as `read_config` does, and add what a start with it would stumble over.

    Blocks on the file system, and on DNS if `web.listen` is a name: call it from a thread where a loop runs.
    """
    environ = process_environment() if environ is None else environ
    now = now or SystemClock().now()
    reading = read_config(path, environ, now=now)
    found, around = _Findings(reading.origins), _Findings({})
    network = _network(around, environ)
    config = reading.config
    if config is not None:
        _clients(found, config, network, without=reading.invalid)
        if "store" not in reading.invalid:
            _store(found, config)
        if "web" not in reading.invalid:
            _web(found, config, now)
        if path is not None and (exposed := exposed_in_file(config, path, reading.origins)) is not None:
            found.warnings.append(exposed)
    return replace(
        reading,
        problems=[*reading.problems, *found.problems],
        elsewhere=around.problems,
        warnings=[*reading.warnings, *found.warnings, *around.warnings],
    )


@dataclass(slots=True)
class _Findings:
    """What stands in the way, and what is doubtful."""

    origins: Mapping[tuple[str, ...], str]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def tried(self, path: KeyPath, make: Callable[[], T]) -> T | None:
        """Return what is made for the key at a path; None if that fails, which is a problem."""
        try:
            return make()
        except MonitorError as exc:
            problems = exc.problems if isinstance(exc, ConfigError) else [str(exc)]
            self.problems += [at(path, problem, self.origins) for problem in problems]
            return None


def _network(found: _Findings, environ: Mapping[str, str]) -> Network:
    """Return how others are reached, so far as the environment says it rightly."""
    proxies = found.tried((), lambda: proxies_of(environ))
    authorities = found.tried((), lambda: Authorities(environ))
    if authorities is not None:
        found.warnings += authorities.warnings
    return Network(environ) if proxies is not None and authorities is not None else Network()


def _clients(found: _Findings, config: Config, network: Network, *, without: Container[str]) -> None:
    files = [(path, file) for path, file in leaves_of(config) if path[-1] == "ca_file" and file is not None]
    usable = {
        path
        for path, file in files
        if path[0] not in without
        and found.tried(path, partial(network.authorities.context, file)) is not None
    }
    for place, receiver in enumerate(config.receivers):
        path: KeyPath = ("receivers", place)
        if isinstance(receiver, AppriseConfig) and (receiver.ca_file is None or (*path, "ca_file") in usable):
            found.tried(
                path,
                partial(
                    AppriseReceiver,
                    receiver.name,
                    url=receiver.secret,
                    network=network,
                    ca_file=receiver.ca_file,
                    timeout_s=receiver.timeout.total_seconds(),
                ),
            )


def _store(found: _Findings, config: Config) -> None:
    path = ("store", "url_file" if config.store.url_file is not None else "url")
    database = found.tried(path, lambda: Database(config.store.secret.reveal()))
    if database is not None and database.file is not None:
        problem, warning = obstacle(database.file), exposure(database.file)
        if problem is not None:
            found.problems.append(at(path, problem, found.origins))
        if warning is not None:
            found.warnings.append(at(path, warning, found.origins))


def _web(found: _Findings, config: Config, now: datetime) -> None:
    web = config.web
    found.tried(("web", "listen"), lambda: check_address(web.listen.host, web.listen.port))
    too_few = descriptor_warning(config, reachable_open_files())
    if too_few is not None:
        found.warnings.append(too_few)
    cert_file = web.tls_cert_file
    if cert_file is None:
        return
    certificate = found.tried((), lambda: Certificate(cert_file, web.tls_key_file))
    expires_at = certificate.expires_at() if certificate is not None else None
    if expires_at is not None and expires_at - now < _EXPIRES_SOON:
        verb = "has expired" if expires_at <= now else "expires soon"
        found.warnings.append(
            f"web.tls_cert_file: the certificate in {cert_file} {verb}: it is valid until "
            f"{expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )

"""Apprise: a hundred other services, by their Apprise URL. Best effort.

An optional extra: the library is imported when a receiver of this type is built. It sends in a thread and
reports only success or failure, so every failure is tried again. Its own log lines may quote a URL with
credentials, so they are dropped.

Its plugins send with `requests`, which by itself follows redirects, and takes proxies, certificates and
passwords (`.netrc`) from wherever the environment says. During a delivery it does as `_Outbound` says.
Plugins for other protocols (mail, MQTT, XMPP, …) follow no redirects and use no proxy, but there is no way
to hand them authorities, so `ca_file` is refused for them.

Library: https://github.com/caronc/apprise
"""

import asyncio
import importlib
import logging
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from monitor.errors import ConfigError, DeliveryError, OutOfResources, Refusal, Resource, few_descriptors_left
from monitor.http.client import Network
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.wording import Tone, compose, plain_text
from monitor.secret import Secret

_TYPES = {
    Tone.CRITICAL: "failure",
    Tone.WARNING: "warning",
    Tone.INFO: "info",
    Tone.ACKNOWLEDGED: "info",
    Tone.RECOVERED: "success",
    Tone.CLOSED: "info",
}


class AppriseReceiver:
    """Sends each message to one Apprise URL.

    Args:
        name: Its name in the config.
        url: The Apprise URL; read at each try.
        network: Proxies and certificates.
        ca_file: Authorities to trust instead of the system's.
        timeout_s: Seconds for one try.
        library: The module to import.

    Raises:
        ConfigError: The extra is not installed, the URL is not exactly one that Apprise supports, or its
            service has no use for `ca_file`.
        StartError: `ca_file` cannot be read.
    """

    def __init__(
        self,
        name: str,
        *,
        url: Secret,
        network: Network,
        ca_file: Path | None = None,
        timeout_s: float,
        library: str = "apprise",
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._url = url
        self._ca_file = ca_file
        self._outbound = _Outbound(
            network=network, trusted=network.authorities.path(ca_file), verified=ca_file is not None
        )
        self._library = _load(name, library)
        self._service()

    async def send(self, delivery: Delivery) -> str:
        """Send the message; return that it was accepted.

        Raises:
            DeliveryError: It was not accepted, whatever the reason (`RETRY`), or the URL that its file now
                holds is unusable (`FAILING`).
            OutOfResources: It was not accepted, and this process has few descriptors left.
        """
        message = compose(body_of(delivery))
        title, text, kind = message.title, plain_text(message), _TYPES[message.tone]
        try:
            async with asyncio.timeout(self.timeout_s):
                accepted = await asyncio.to_thread(self._notify, title, text, kind)
        except TimeoutError as exc:
            raise DeliveryError(Refusal.RETRY, "timed out") from exc
        except ConfigError as exc:
            raise DeliveryError(Refusal.FAILING, str(exc)) from exc
        if not accepted:
            if few_descriptors_left():
                raise OutOfResources(Resource.DESCRIPTORS)
            raise DeliveryError(Refusal.RETRY, "not accepted (Apprise gives no reason)")
        return "accepted"

    def _notify(self, title: str, text: str, kind: str) -> bool:
        _OUTBOUND.set(self._outbound)  # in the context of this call's thread; Apprise hands it on to its own
        accepted = self._service().notify(
            body=text,
            title=title,
            notify_type=kind,
            body_format="text",
            interpret_escapes=False,
            timeout=self.timeout_s,
        )
        return bool(accepted)

    def _service(self) -> Any:
        """Return a new Apprise with the URL as its file holds it now.

        Raises:
            ConfigError: It is not exactly one that Apprise supports, or has no use for `ca_file`. Never
                quotes it.
        """
        asset = self._library.AppriseAsset(
            app_id="voicelink-monitor", async_mode=False, interpret_emojis=False, secure_logging=True
        )
        service = self._library.Apprise(asset=asset)
        if not service.add(self._url.reveal()):
            raise ConfigError([f"receiver {self.name!r}: url is not one that Apprise supports"])
        if len(service) != 1:
            raise ConfigError([f"receiver {self.name!r}: url holds several URLs; give each its own receiver"])
        [plugin] = service
        if self._ca_file is not None and not _sends_by_http(plugin):
            raise ConfigError(
                [f"receiver {self.name!r}: ca_file works only with services that Apprise reaches over HTTPS"]
            )
        # Whatever `cto` and `rto` in the URL say, its thread must not outlast the delivery.
        plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, self.timeout_s)
        plugin.socket_read_timeout = min(plugin.socket_read_timeout, self.timeout_s)
        return service


def _load(name: str, library: str) -> Any:
    try:
        module = importlib.import_module(library)
    except ImportError as exc:
        wanted = "pip install 'voicelink-drift-monitor[apprise]'"
        raise ConfigError([f'receiver {name!r}: type "apprise" needs an extra; run: {wanted}']) from exc
    logging.getLogger("apprise").disabled = True
    _take_over_requests()
    return module


def _sends_by_http(plugin: Any) -> bool:
    return any(hasattr(sys.modules[kind.__module__], "requests") for kind in type(plugin).__mro__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outbound:
    """How one delivery may travel.

    `trusted` is the file or folder of the authorities; `verified`: even if the URL says `verify=no`.
    """

    network: Network
    trusted: str
    verified: bool

    def settings(self, url: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what `requests` is to send with; `asked` is what the plugin and the library want."""
        proxy = self.network.proxies.of(httpx.URL(url))
        unverified = asked.get("verify") is False and not self.verified
        return asked | {
            "allow_redirects": False,
            "proxies": {} if proxy is None else {"all": proxy.secret_url},
            "verify": False if unverified else self.trusted,
        }


_OUTBOUND: ContextVar[_Outbound] = ContextVar("monitor_apprise_outbound")


def _take_over_requests() -> None:
    """Have `requests.get`, `requests.post` and so on send as `_Outbound` says, while there is one.

    Plugins call these functions. Each makes a session and takes none from outside, so the class of that
    session is replaced. Anything else that uses the library goes on as before.
    """
    sessions: Any = importlib.import_module("requests.sessions")
    if sessions.Session.__module__ == __name__:
        return
    usual, adapter = sessions.Session, sessions.HTTPAdapter

    class Adapter(adapter):  # type: ignore[misc,valid-type]  # known once the extra is there
        def cert_verify(self, conn: Any, _url: str, verify: Any, cert: Any) -> None:
            # By the address alone, the library would not check an https proxy of http addresses.
            super().cert_verify(conn, "https:", verify, cert)

    class Session(usual):  # type: ignore[misc,valid-type]  # as above
        def __init__(self) -> None:
            super().__init__()
            if _OUTBOUND.get(None) is not None:
                self.trust_env = False
                self.mount("http://", Adapter())

        def send(self, request: Any, **asked: Any) -> Any:
            outbound = _OUTBOUND.get(None)
            return super().send(request, **(outbound.settings(request.url, asked) if outbound else asked))

    sessions.Session = Session

"""Apprise: a hundred other services, by their Apprise URL. Best effort.

An optional extra: the library is imported when a receiver of this type is built. It sends in a thread and
reports only success or failure, so every failure is tried again. Its own log lines may quote a URL with
credentials, so they are dropped.

Library: https://github.com/caronc/apprise
"""

import asyncio
import importlib
import logging
from typing import Any

from monitor.errors import ConfigError, DeliveryError, OutOfResources, Refusal, Resource, few_descriptors_left
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.wording import Tone, compose, plain_text
from monitor.secret import Secret

_TYPES = {
    Tone.CRITICAL: "failure",
    Tone.WARNING: "warning",
    Tone.INFO: "info",
    Tone.RECOVERED: "success",
    Tone.CLOSED: "info",
}


class AppriseReceiver:
    """Sends each message to one Apprise URL.

    Args:
        name: Its name in the config.
        url: The Apprise URL; read at each try.
        timeout_s: Seconds for one try.
        library: The module to import.

    Raises:
        ConfigError: The extra is not installed, or the URL is not exactly one that Apprise supports.
    """

    def __init__(self, name: str, *, url: Secret, timeout_s: float, library: str = "apprise") -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._url = url
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
            ConfigError: It is not exactly one that Apprise supports. Never quotes it.
        """
        asset = self._library.AppriseAsset(
            app_id="voicelink-monitor", async_mode=False, interpret_emojis=False, secure_logging=True
        )
        service = self._library.Apprise(asset=asset)
        if not service.add(self._url.reveal()):
            raise ConfigError([f"receiver {self.name!r}: url is not one that Apprise supports"])
        if len(service) != 1:
            raise ConfigError([f"receiver {self.name!r}: url holds several URLs; give each its own receiver"])
        return service


def _load(name: str, library: str) -> Any:
    try:
        module = importlib.import_module(library)
    except ImportError as exc:
        wanted = "pip install voicelink-drift-monitor[apprise]"
        raise ConfigError([f'receiver {name!r}: type "apprise" needs an extra; run: {wanted}']) from exc
    logging.getLogger("apprise").disabled = True
    return module

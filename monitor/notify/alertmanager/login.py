"""How to log in at an Alertmanager behind a proxy or with its own web config."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from monitor.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A bearer token, or a user name and its password; read at each post."""

    username: str = ""
    secret: Secret
    bearer: bool = False

    def headers(self) -> Mapping[str, str]:
        """Return the header that a request needs. Source: RFC 6750 and RFC 7617."""
        if self.bearer:
            return {"authorization": f"Bearer {self.secret.reveal()}"}
        return {"authorization": f"Basic {self._basic()}"}

    def hidden(self) -> list[str]:
        """Return what an answer must not bring into a log."""
        return [self.secret.reveal()] if self.bearer else [self.secret.reveal(), self._basic()]

    def _basic(self) -> str:
        return base64.b64encode(f"{self.username}:{self.secret.reveal()}".encode()).decode("ascii")

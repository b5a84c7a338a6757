"""The HTTP client that the API and the receivers are asked with."""

from monitor.http.client import USER_AGENT, Network


async def test_every_request_says_who_asks() -> None:
    """Receivers see the monitor's name in their logs, as the API does."""
    async with Network().client(max_connections=1) as http:
        assert http.headers["User-Agent"] == USER_AGENT

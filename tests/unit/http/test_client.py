"""The HTTP client that the API and the receivers are asked with."""

from monitor.http.client import USER_AGENT, build_http


async def test_every_request_says_who_asks() -> None:
    """Receivers see the monitor's name in their logs, as the API does."""
    async with build_http(ca_file=None, max_connections=1) as http:
        assert http.headers["User-Agent"] == USER_AGENT

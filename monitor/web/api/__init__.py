"""The JSON API under `/api/v1`: one table of questions, which both the routes and the OpenAPI come from."""

from monitor.web.api.routes import api_routes
from monitor.web.api.table import Sources

__all__ = ["Sources", "api_routes"]

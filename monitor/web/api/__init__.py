"""The JSON API under `/api/v1`.

A new question is a method and a row of the table in `routes.py`. Its parameters are a model in
`parameters.py`, its return type is in `answers.py` or a row of the store, its example (of a list: one
item) is in `examples.json`. FastAPI checks and describes the parameters; `openapi.py` adds the answers.
"""

from monitor.web.api.routes import api_routes

__all__ = ["api_routes"]

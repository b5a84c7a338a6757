"""The pages for people: rendered on the server, self-contained, and complete without scripts.

A new page is one function and one row of the table in `routes.py`, with its template in `../templates` (what
several pages show is in `parts.html`); its query parameters are read in `filters.py`.
"""

from monitor.web.pages.forms import form_routes
from monitor.web.pages.routes import page_routes
from monitor.web.pages.site import Pages

__all__ = ["Pages", "form_routes", "page_routes"]

"""The pages for people: rendered on the server, with nothing from elsewhere, and whole without scripts."""

from monitor.web.pages.forms import form_routes
from monitor.web.pages.routes import page_routes
from monitor.web.pages.site import Pages

__all__ = ["Pages", "form_routes", "page_routes"]

"""The metrics of the connections and of the monitor itself."""

from monitor.metrics.connections import ConnectionView
from monitor.metrics.exporter import Metrics

__all__ = ["ConnectionView", "Metrics"]

"""What Prometheus reads: the connections' gauges and counters, and the monitor's own."""

from monitor.metrics.connections import ConnectionView
from monitor.metrics.exporter import Metrics

__all__ = ["ConnectionView", "Metrics"]

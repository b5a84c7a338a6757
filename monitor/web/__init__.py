"""The web side: metrics, probes, and the pages for people."""

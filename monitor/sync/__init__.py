"""The data path: what is due is claimed, fetched, judged, stored and announced."""

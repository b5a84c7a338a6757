"""Runs the journal again, with the rules of then or with those of another config."""

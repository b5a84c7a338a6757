"""HTTP as every part of the program uses it: one client, one translation of foreign errors, Retry-After."""

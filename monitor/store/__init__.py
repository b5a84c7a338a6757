"""State: the database, its tables, and one named function for each query."""

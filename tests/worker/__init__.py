"""A small Functions host around the library of Azure's own Python worker: what the app does there, seen here."""

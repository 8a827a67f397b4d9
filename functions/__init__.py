"""Triggers: parse, authorize, call a use case, shape the answer."""

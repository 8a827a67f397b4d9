"""Adapters: one folder per outside system, each implementing a port of `domain/`."""

"""What stops the host from starting."""


class HostError(Exception):
    """The app, its host.json or its settings cannot be served; the text says which and why."""

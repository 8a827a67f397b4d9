"""Traces by OpenTelemetry. Nothing here is imported while no exporter is configured."""

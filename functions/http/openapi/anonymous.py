"""The operations that need no credentials, as the OpenAPI document describes them."""

from __future__ import annotations

from functions.http.openapi.components import Json, header_refs, problem_ref

_JSON = "application/json"


def _anonymous(operation_id: str, summary: str, description: str, responses: Json) -> Json:
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "description": description,
            "tags": ["Operations"],
            "security": [],
            "responses": responses,
        }
    }


def _shown(description: str, media_type: str, schema: Json, **headers: Json) -> Json:
    return {"description": description, "headers": headers, "content": {media_type: {"schema": schema}}}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


OPERATIONS_SCHEMAS: Json = {
    "Liveness": {
        "type": "object",
        "required": ["status", "python"],
        "properties": {
            "status": {"type": "string", "const": "live"},
            "python": {
                "type": "string",
                "description": "Version that the app runs on, by which a deployment is checked",
                "examples": ["3.12"],
            },
        },
    },
    "Readiness": {
        "type": "object",
        "required": ["status", "dependencies"],
        "properties": {
            "status": {"type": "string", "enum": ["ready", "unavailable"]},
            "dependencies": {
                "type": "object",
                "description": "State of each dependency: `ok`, or the error",
                "additionalProperties": {"type": "string"},
                "examples": [{"database": "ok", "queue": "ok", "tables": "ok", "secrets": "ok"}],
            },
        },
    },
}

OPERATIONS_PATHS: Json = {
    "/api/health/live": _anonymous(
        "healthLive",
        "Check liveness",
        "Tells whether the process runs; checks no dependency.",
        {"200": _shown("The process runs.", _JSON, _ref("Liveness")), "500": problem_ref(500)},
    ),
    "/api/health/ready": _anonymous(
        "healthReady",
        "Check readiness",
        "Checks the database, the queue, the table store and the secret store.",
        {
            "200": _shown("All dependencies answer.", _JSON, _ref("Readiness")),
            "500": problem_ref(500),
            "503": _shown(
                "At least one dependency does not answer; see `dependencies`.",
                _JSON,
                _ref("Readiness"),
                **header_refs("Retry-After"),
            ),
        },
    ),
    "/api/openapi.json": _anonymous(
        "openapi",
        "Get the OpenAPI document",
        "OpenAPI 3.1, in JSON.",
        {"200": _shown("The document.", _JSON, {"type": "object"}), "500": problem_ref(500)},
    ),
    "/api/docs": _anonymous(
        "docs",
        "Get the API reference",
        "A page with a form to try each operation.",
        {"200": _shown("The page.", "text/html", {"type": "string"}), "500": problem_ref(500)},
    ),
    "/api/dashboard": _anonymous(
        "dashboard",
        "Get the dashboard",
        "A page that shows deliveries, integrations, API keys and syncs; it asks the user for a token.",
        {"200": _shown("The page.", "text/html", {"type": "string"}), "500": problem_ref(500)},
    ),
}

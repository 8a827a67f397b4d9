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
        "required": ["status"],
        "properties": {"status": {"type": "string", "const": "live"}},
    },
    "Readiness": {
        "type": "object",
        "required": ["status", "dependencies"],
        "properties": {
            "status": {"type": "string", "enum": ["ready", "unavailable"]},
            "dependencies": {
                "type": "object",
                "description": "Each dependency: `ok`, or what is wrong with it",
                "additionalProperties": {"type": "string"},
                "examples": [{"database": "ok", "queue": "ok", "tables": "ok", "secrets": "ok"}],
            },
        },
    },
}

OPERATIONS_PATHS: Json = {
    "/api/health/live": _anonymous(
        "healthLive",
        "Is the process up?",
        "Looks at nothing else.",
        {"200": _shown("It is.", _JSON, _ref("Liveness")), "500": problem_ref(500)},
    ),
    "/api/health/ready": _anonymous(
        "healthReady",
        "Can it serve?",
        "Asks the database, the queue, the table store and the secret store.",
        {
            "200": _shown("Every dependency answers.", _JSON, _ref("Readiness")),
            "500": problem_ref(500),
            "503": _shown(
                "At least one does not; see which.",
                _JSON,
                _ref("Readiness"),
                **header_refs("Retry-After"),
            ),
        },
    ),
    "/api/openapi.json": _anonymous(
        "openapi",
        "This description",
        "OpenAPI 3.1.",
        {"200": _shown("The document.", _JSON, {"type": "object"}), "500": problem_ref(500)},
    ),
    "/api/docs": _anonymous(
        "docs",
        "The same for people",
        "One page with forms to try each operation.",
        {"200": _shown("The page.", "text/html", {"type": "string"}), "500": problem_ref(500)},
    ),
    "/api/dashboard": _anonymous(
        "dashboard",
        "The dashboard",
        "One page that shows deliveries, integrations, keys and syncs as they are; it asks for a token of its own.",
        {"200": _shown("The page.", "text/html", {"type": "string"}), "500": problem_ref(500)},
    ),
}

"""What the server offers as an OpenAPI 3.1 description, made of the bodies that requests have."""

from collections.abc import Mapping
from typing import Any

from charlm.serving.api.schema import Body

_ERROR = {
    "description": "What is wrong, in OpenAI's form.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "error": {
                        "type": "object",
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    },
}


def description(
    version: str, bodies: Mapping[str, Body], reads: Mapping[str, str], *, has_key: bool
) -> dict[str, Any]:
    """The description: ``bodies`` of what is posted, by path, and what is read by GET."""
    paths: dict[str, Any] = {}
    for path, body in bodies.items():
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.name}"}}}
        paths[path] = {
            "post": {
                "summary": body.told,
                "requestBody": {"required": True, "content": content},
                "responses": _responses("application/json"),
            }
        }
    for path, told in reads.items():
        kind = "text/plain" if path == "/metrics" else "application/json"
        operation: dict[str, Any] = {"summary": told, "responses": _responses(kind)}
        if "{name}" in path:
            name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
            operation["parameters"] = [name]
        paths[path] = {"get": operation}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "charlm serve", "version": version},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {body.name: body.schema() for body in bodies.values()}},
    }
    if has_key:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return found


def _responses(kind: str) -> dict[str, Any]:
    return {
        "200": {"description": "The answer.", "content": {kind: {}}},
        "default": _ERROR,
    }

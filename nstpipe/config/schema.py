"""The JSON Schema of pipeline.yaml, for editors."""

from __future__ import annotations

from typing import Any

from nstpipe.config.models import Pipeline

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of a file as it is written: with short forms, `defaults`, `matrix` and the user's own x- keys."""
    schema = Pipeline.model_json_schema()
    definitions = schema["$defs"]
    for definition in (schema, *definitions.values()):
        if definition.get("additionalProperties") is False:
            definition["patternProperties"] = {"^x-": True}
    for name, field in (("Style", "images"), ("StyleImage", "path")):
        long_form = definitions[name]
        definitions[name] = {
            "description": long_form.pop("description"),
            "anyOf": [{"type": "string", "minLength": 1, "description": f"Short for {field}."}, long_form],
        }
    job = definitions["Job"]
    job["properties"]["matrix"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
        "description": "One job for each combination of these values; {key} stands for the value in the job's texts.",
    }
    required = job.pop("required")
    # A key that `defaults` gives need not be in the job; only the name is a job's own for certain.
    definitions["JobDefaults"] = {**job, "description": "Any job key; a job overrides it."}
    definitions["Job"] = {**job, "required": [key for key in required if key == "name"]}
    schema["properties"]["defaults"] = {"$ref": "#/$defs/JobDefaults"}
    return {"$schema": SCHEMA_ID, "title": "pipeline.yaml", **{key: value for key, value in schema.items() if key != "title"}}

"""Makes the JSON Schema of pipeline.yaml, which editors use."""

from __future__ import annotations

from typing import Any

from nstpipe.config.engines import ENGINE_TRAITS, ENGINES_WITH_KEYS
from nstpipe.config.models import Pipeline

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"

_PLACEHOLDER = {
    "type": "string",
    "pattern": r"\$\{|\{[A-Za-z_][A-Za-z0-9_-]*\}",
    "description": "${VAR} from the environment, or {key} of the job's matrix.",
}


def json_schema() -> dict[str, Any]:
    """Return the schema of a file as it is written, with short forms, `defaults`, `matrix` and the user's own x- keys."""
    schema = Pipeline.model_json_schema()
    definitions = schema["$defs"]
    # `defaults` and the job may each give a part of a style or an engine; only what they make together has to be whole.
    for name in ("Style", *(model.__name__ for model in ENGINES_WITH_KEYS.values())):
        definitions[name].pop("required")
    for definition in (schema, *definitions.values()):
        for key, value in definition["properties"].items():
            definition["properties"][key] = _fillable(value)
        if definition.get("additionalProperties") is False:
            definition["patternProperties"] = {"^x-": True}
    # `keep` is a text, as the short form of a style is.
    style_of_region = definitions["Region"]["properties"]["style"]
    definitions["Region"]["properties"]["style"] = {
        "$ref": "#/$defs/RegionStyle",
        "description": style_of_region["description"],
    }
    for name, field in (("Style", "images"), ("RegionStyle", "images"), ("StyleImage", "path")):
        long_form = definitions[name]
        definitions[name] = {
            "description": long_form.pop("description"),
            "anyOf": [{"type": "string", "minLength": 1, "description": f"Short for {field}."}, long_form],
        }
    cluster = schema["properties"]["cluster"]
    cluster["anyOf"].insert(0, {"type": "string", "minLength": 1, "description": "Short for address or kind."})
    job = definitions["Job"]
    engine = job["properties"]["engine"]
    short = {"type": "string", "enum": list(ENGINE_TRAITS), "description": "Short for name."}
    job["properties"]["engine"] = {
        "description": engine["description"],
        "default": engine["default"],
        "anyOf": [short, *engine["oneOf"], _PLACEHOLDER],
    }
    plain = [name for name in ENGINE_TRAITS if name not in ENGINES_WITH_KEYS]
    definitions["PlainEngine"]["properties"]["name"] |= {"anyOf": [{"type": "string", "enum": plain}, _PLACEHOLDER]}
    job["properties"]["matrix"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
        "patternProperties": {"^x-": True},
        "description": "One job for each combination of these values; {key} stands for the value in the job's texts.",
    }
    required = job.pop("required")
    # A key that `defaults` gives need not be in the job; only the name is a job's own for certain.
    definitions["JobDefaults"] = {**job, "description": "Any job key; a job overrides it."}
    definitions["Job"] = {**job, "required": [key for key in required if key == "name"]}
    schema["properties"]["defaults"] = {"$ref": "#/$defs/JobDefaults"}
    return {"$schema": SCHEMA_ID, "title": "pipeline.yaml", **{key: value for key, value in schema.items() if key != "title"}}


def _fillable(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key's value that also allows a placeholder, if it does not allow any text already."""
    if "properties" in value or "$ref" in value or "oneOf" in value:
        return value
    if value.get("type") == "array":
        return {**value, "items": _fillable(value["items"])}
    if value.get("type") == "object":  # layers, by name
        names = {"anyOf": [value["propertyNames"], {"pattern": "^x-"}]}
        values = _fillable(value["additionalProperties"])
        return {**value, "propertyNames": names, "additionalProperties": values, "patternProperties": {"^x-": True}}
    if "anyOf" in value:
        return {**value, "anyOf": [*value["anyOf"], _PLACEHOLDER]}
    if value.get("type") == "string" and not value.keys() & {"enum", "const", "pattern"}:
        return value
    about = {key: part for key, part in value.items() if key in ("title", "description", "default")}
    rule = {key: part for key, part in value.items() if key not in about}
    return {**about, "anyOf": [rule, _PLACEHOLDER]}

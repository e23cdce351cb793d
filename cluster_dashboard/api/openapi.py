"""Completes ninja's OpenAPI description: problem details, public reading, the job types' parameters."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from cluster_dashboard.api.problems import CONTENT_TYPE, ProblemDetails
from scheduler.catalogue import catalogue

REF: Final = "#/components/schemas/"

#: Problems that operations answer with, and when.
ALWAYS: Final = {503: "The database is away or locked"}
WITH_INPUT: Final = {422: "A field is wrong; `errors` says which one and what it takes"}
WITH_BODY: Final = {400: "The body is not JSON", 413: "The body is too large"}
PROTECTED: Final = {401: "No token, or a wrong one", 403: "Not a staff account, or no CSRF token"}
NOT_FOUND: Final = {404: "There is no such thing"}
CONFLICT: Final = {"cancel_job": {409: "The job has already ended"}, "submit_jobs": {409: "The name is taken"}}


def complete(schema: dict[str, Any]) -> None:
    schemas = schema["components"].setdefault("schemas", {})
    problem = ProblemDetails.model_json_schema(ref_template=REF + "{model}")
    schemas.update(problem.pop("$defs"))
    schemas["ProblemDetails"] = problem
    _offer_job_types(schemas)
    _offer_filter_by_type(schema["paths"]["/api/jobs"]["get"]["parameters"])
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if method == "get" and settings.ENVIRONMENT.public_read:
                operation["security"].append({})
            for status, meaning in _problems(path, operation).items():
                operation["responses"][status] = {
                    "description": meaning,
                    "content": {CONTENT_TYPE: {"schema": {"$ref": f"{REF}ProblemDetails"}}},
                }


def _problems(path: str, operation: dict[str, Any]) -> dict[int, str]:
    has_body, in_path = "requestBody" in operation, "{" in path
    return {
        **ALWAYS,
        **PROTECTED,
        **(WITH_BODY if has_body else {}),
        **(WITH_INPUT if has_body or operation["parameters"] else {}),
        **(NOT_FOUND if in_path else {}),
        **CONFLICT.get(operation["operationId"], {}),
    }


def _offer_job_types(schemas: dict[str, Any]) -> None:
    """One form of a submission for each job type, with that type's parameters."""
    base = schemas["SubmitJobs"]
    forms = []
    for job_type in catalogue().values():
        params = job_type.Params.model_json_schema(ref_template=REF + "{model}")
        schemas.update(params.pop("$defs", {}))
        schemas[job_type.Params.__name__] = params
        form = {
            **base,
            "title": f"Submit {job_type.name}",
            "properties": {
                **base["properties"],
                "type": {"const": job_type.name, "type": "string", "description": job_type.summary},
                "params": {"$ref": f"{REF}{job_type.Params.__name__}"},
            },
        }
        schemas[f"SubmitJobs_{job_type.name}"] = form
        forms.append({"$ref": f"{REF}SubmitJobs_{job_type.name}"})
    schemas["SubmitJobs"] = {"description": base.get("description", ""), "oneOf": forms}


def _offer_filter_by_type(parameters: list[dict[str, Any]]) -> None:
    for parameter in parameters:
        if parameter["name"] == "type":
            parameter["schema"] = {"type": "string", "enum": list(catalogue())}
            parameter["description"] = "Types that jobs of the past had are known too"

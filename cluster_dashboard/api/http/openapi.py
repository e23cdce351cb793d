"""Completes ninja's OpenAPI description: problem details, public reading, the job types' parameters."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from cluster_dashboard.api.http.problems import CONTENT_TYPE, ProblemDetails
from cluster_dashboard.api.schemas import SubmitJob, SubmitJobs, SubmitMany
from scheduler import parameters
from scheduler.catalogue import catalogue
from scheduler.job_type import JobType

REF: Final = "#/components/schemas/"

#: Problems that operations answer with, and their meaning.
ALWAYS: Final = {503: "The database is unavailable or locked"}
WITH_INPUT: Final = {422: "A field is wrong; `errors` lists the fields and what each accepts"}
WITH_BODY: Final = {400: "The body is not JSON", 413: "The body is too large"}
PROTECTED: Final = {
    401: "The token is missing or wrong",
    403: "Not allowed for this token or account, or the CSRF token is missing",
}
NOT_FOUND: Final = {404: "The id or index is unknown"}
TOO_OFTEN: Final = {
    429: "Too many changes by this user or token (CONTROLS_PER_MINUTE); send it again after Retry-After seconds"
}
NO_ROOM: Final = {503: "The database is unavailable or locked, or there is no room for more jobs (`reason`)"}
OF_OPERATION: Final = {
    "submit_jobs": {**NO_ROOM, 409: "A name is taken, or another request with the same Idempotency-Key is in progress"},
    "cancel_job": {409: "The job has already ended"},
    "run_again": {**NO_ROOM, 422: "Its type is no longer installed, or no GPU has enough memory"},
    "patch_control": TOO_OFTEN,
    "patch_gpu": TOO_OFTEN,
    "inject_fault": {**TOO_OFTEN, 409: "The worker of this GPU is silent, or it has no job process to hit"},
}


def complete(schema: dict[str, Any]) -> None:
    schemas = schema["components"].setdefault("schemas", {})
    for model in (ProblemDetails, SubmitJob, SubmitJobs):
        found = model.model_json_schema(ref_template=REF + "{model}")
        schemas.update(found.pop("$defs", {}))
        schemas[model.__name__] = found
    _offer_submissions(schemas)
    paths = schema["paths"]
    paths["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"] = {
        "oneOf": [{"$ref": f"{REF}SubmitJobs"}, {"$ref": f"{REF}SubmitMany"}]
    }
    _offer_filter_by_type(paths["/api/jobs"]["get"]["parameters"])
    _describe_stream(paths["/api/jobs/{job_id}/events"]["get"]["responses"])
    for path, operations in paths.items():
        for method, operation in operations.items():
            _drop_null(operation["parameters"])
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
        **OF_OPERATION.get(operation["operationId"], {}),
    }


def _offer_submissions(schemas: dict[str, Any]) -> None:
    """One schema of a submission for each job type, with that type's parameters: alone, and as one of many."""
    alone, one_of_many = schemas["SubmitJobs"], schemas["SubmitJob"]
    for job_type in catalogue().values():
        params = parameters.schema(job_type.Params, ref_template=REF + "{model}")
        schemas.update(params.pop("$defs", {}))
        schemas[f"Params_{job_type.name}"] = params
        schemas[f"SubmitJobs_{job_type.name}"] = _form(alone, job_type)
        schemas[f"SubmitJob_{job_type.name}"] = _form(one_of_many, job_type)
    schemas["SubmitJobs"] = _any_of_the_forms(alone, "SubmitJobs")
    schemas["SubmitJob"] = _any_of_the_forms(one_of_many, "SubmitJob")
    many = SubmitMany.model_json_schema(ref_template=REF + "{model}")
    many.pop("$defs")
    schemas["SubmitMany"] = many


def _form(base: dict[str, Any], job_type: JobType[Any]) -> dict[str, Any]:
    return {
        **base,
        "title": f"Submit {job_type.name}",
        "properties": {
            **base["properties"],
            "type": {"const": job_type.name, "type": "string", "description": job_type.summary},
            "params": {"$ref": f"{REF}Params_{job_type.name}"},
        },
    }


def _any_of_the_forms(base: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "description": base.get("description", ""),
        "oneOf": [{"$ref": f"{REF}{name}_{job_type}"} for job_type in catalogue()],
    }


def _offer_filter_by_type(parameters: list[dict[str, Any]]) -> None:
    for parameter in parameters:
        if parameter["name"] == "type":
            parameter["schema"] = {"type": "string", "enum": list(catalogue())}
            parameter["description"] = "Former types that jobs in the database have are accepted too"


def _drop_null(parameters: list[dict[str, Any]]) -> None:
    """A query or a header cannot be null; it is left out instead."""
    for parameter in parameters:
        options = parameter["schema"].pop("anyOf", [])
        given = [option for option in options if option.get("type") != "null"]
        if len(given) == 1:
            parameter["schema"].update(given[0])
        elif options:
            parameter["schema"]["anyOf"] = options


def _describe_stream(responses: dict[int, Any]) -> None:
    responses[200] = {
        "description": "Events `job` (JSON as in GET /api/jobs/{job_id}) and `progress`, until the job has ended",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    responses[204] = {"description": "The job has ended, and the client has seen its last event (Last-Event-ID)"}

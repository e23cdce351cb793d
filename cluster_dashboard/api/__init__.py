"""The REST API. Reading is public where PUBLIC_READ is true; all else needs a token or a session with permission."""

from __future__ import annotations

from typing import Any, NoReturn

from ninja import NinjaAPI
from ninja.errors import ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from cluster_dashboard.api import control, dead_letters, faults, generator, gpus, jobs, one_job
from cluster_dashboard.api.http import openapi
from cluster_dashboard.api.http.docs import OwnHostDocs, for_readers
from cluster_dashboard.api.http.json_body import StrictParser
from cluster_dashboard.api.http.permissions import CONTROL
from cluster_dashboard.api.http.problems import answer_with_problems
from cluster_dashboard.api.http.validation import invalid_input


class ClusterApi(NinjaAPI):
    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**kwargs)
        openapi.complete(schema)
        return schema

    def validation_error_from_error_contexts(self, error_contexts: list[ValidationErrorContext[Any]]) -> NoReturn:
        raise invalid_input(error_contexts)

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__


api = ClusterApi(
    title="GPU cluster",
    version="1",
    description="Jobs, GPUs and the load of the cluster. Times are UTC; errors are problem details (RFC 9457). "
    "Words such as priorities, states and presets are accepted in any case.",
    urls_namespace="api",
    docs=OwnHostDocs(),
    docs_decorator=for_readers,
    parser=StrictParser(),
    # The default of operations that name no right of their own.
    auth=CONTROL,
)
answer_with_problems(api)
for _subject in (jobs, one_job, gpus, faults, control, generator, dead_letters):
    api.add_router("", _subject.router)

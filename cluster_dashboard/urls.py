"""Every address of the dashboard."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from cluster_dashboard import health
from cluster_dashboard.metrics.view import metrics

urlpatterns = [
    path(
        "admin/failure-rates/",
        RedirectView.as_view(pattern_name="admin:scheduler_rollup_changelist", query_string=True),
    ),
    path("admin/", admin.site.urls),
    path("api/", include("cluster_dashboard.api.urls")),
    path("metrics", metrics, name="metrics"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("", include("cluster_dashboard.web.urls")),
]

handler400 = "cluster_dashboard.web.errors.bad_request"
handler403 = "cluster_dashboard.web.errors.forbidden"
handler404 = "cluster_dashboard.web.errors.not_found"
handler500 = "cluster_dashboard.web.errors.server_error"

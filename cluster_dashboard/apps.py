from django.apps import AppConfig


class ClusterDashboardConfig(AppConfig):
    name = "cluster_dashboard"
    verbose_name = "API access"

    def ready(self) -> None:
        from cluster_dashboard import checks, user_names  # noqa: F401, PLC0415 (registers the checks)

        user_names.reserve()

from django.apps import AppConfig


class ClusterDashboardConfig(AppConfig):
    name = "cluster_dashboard"
    verbose_name = "API access"

"""Of the yardstick that keeps its results: the cluster's own database, and nothing else of the cluster."""

from cluster_dashboard.settings import DATABASES, DEFAULT_AUTO_FIELD, SECRET_KEY, TIME_ZONE, USE_TZ

INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results"]

__all__ = ["DATABASES", "DEFAULT_AUTO_FIELD", "INSTALLED_APPS", "SECRET_KEY", "TIME_ZONE", "USE_TZ"]

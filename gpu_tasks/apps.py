from django.apps import AppConfig


class GpuTasksConfig(AppConfig):
    name = "gpu_tasks"

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    name = "scheduler"
    verbose_name = "GPU cluster"

    def ready(self) -> None:
        from scheduler.loops import checks  # noqa: F401, PLC0415 (registers them)

"""The job types that come with the cluster, one module each; `JOB_TYPES` in settings.py names them."""

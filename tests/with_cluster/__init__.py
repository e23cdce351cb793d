"""The real cluster: `manage.py up` with all its processes, in a state folder of its own."""

"""The product's settings in a state folder of the tests' own, whatever the developer's environment says."""

import atexit
import os
import shutil
import tempfile

from cluster_dashboard.environment import Environment

for _name in Environment.model_fields:
    os.environ.pop(_name.upper(), None)
    os.environ.pop(f"{_name.upper()}_FILE", None)
os.environ["STATE_DIR"] = tempfile.mkdtemp(prefix="gpu-cluster-tests-")
os.environ["API_TOKEN"] = "token-of-the-tests-0123456789"
os.environ["SEED"] = "7"
atexit.register(shutil.rmtree, os.environ["STATE_DIR"], ignore_errors=True)

from cluster_dashboard.settings import *  # noqa: E402, F403

# Hashing a password takes a tenth of a second on purpose; tests need none of it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

"""Users' own code: job types in a folder that is mounted, packages in a base image of their choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.with_cluster.api import Api, story
from tests.with_docker.project import Project, docker

BASE = "gpu-cluster-tests-base"
IMAGE = "gpu-cluster-tests-own"

#: What a user's base image may look like: theirs is nvidia/cuda or pytorch/pytorch with Python 3.12 or later.
BASE_DOCKERFILE = """\
FROM python:3.13-slim
RUN echo 'ANSWER = 42' > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/their_package.py"
"""


def test_a_job_type_of_the_mounted_folder_runs(project: Project, api: Api) -> None:
    job = api.wait_for_job(api.submit_one("countdown", params={"steps": 3}), seconds=60)

    assert job["state"] == "succeeded", story(job)
    assert job["result"] == {"counted": 3}


def test_the_mounted_folder_cannot_be_written(project: Project) -> None:
    written = project.exec("gpu-0", "touch", "/opt/own/new", check=False)

    assert written.returncode != 0
    assert "Read-only file system" in written.stderr


@pytest.fixture
def own_image(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "Dockerfile").write_text(BASE_DOCKERFILE)
    docker("build", "-q", "-t", BASE, str(tmp_path), seconds=300)
    arguments = ["--build-arg", f"BASE_IMAGE={BASE}", "-f", str(ROOT / "docker" / "Dockerfile")]
    docker("build", "-q", "-t", IMAGE, *arguments, str(ROOT), seconds=600)
    yield IMAGE
    docker("image", "rm", IMAGE, BASE)


def test_packages_of_a_base_image_can_be_used_beside_ours(own_image: str) -> None:
    code = "import celery, numpy, their_package, gpu_tasks; print(their_package.ANSWER)"

    assert docker("run", "--rm", "--entrypoint", "python", own_image, "-c", code).split() == ["42"]

"""What can be checked of the deployment's files where no engine runs."""

from __future__ import annotations

import json
import re
import runpy
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cluster_dashboard.environment import Environment
from tests.project import ROOT

MONITORING = ROOT / "docker" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text().replace("!reset ", ""))


def names_of_series(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:gpu_cluster_\w+|DCGM_FI_\w+)", expression))


def made_series() -> str:
    """The source that makes them; it has each name without the prefix and the counters' suffix."""
    return "".join(path.read_text() for path in (ROOT / "cluster_dashboard" / "metrics").glob("*.py"))


def expressions() -> dict[str, str]:
    alerts = {
        rule["alert"]: rule["expr"]
        for group in read_yaml(MONITORING / "alerts.yml")["groups"]
        for rule in group["rules"]
    }
    panels = {
        f"{path.name}: {panel['title']} {target['refId']}": target["expr"]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    }
    return alerts | panels


@pytest.mark.parametrize(("where", "expression"), expressions().items(), ids=list(expressions()))
def test_alerts_and_panels_ask_for_series_that_the_cluster_makes(where: str, expression: str) -> None:
    wanted = names_of_series(expression)
    known = made_series()

    assert wanted or where == "ClusterPageAway"
    for name in wanted:
        assert f'"{name.removeprefix("gpu_cluster_").removesuffix("_total")}"' in known, f"{where}: {name}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_of_a_dashboard_do_not_overlap(path: Path) -> None:
    seen: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & seen, panel["title"]
        assert at["x"] + at["w"] <= 24
        seen |= cells


def test_compose_passes_every_setting_on() -> None:
    """A variable of .env.example that compose keeps to itself would be set in vain."""
    own = {
        "WEB_PORT",
        "FLOWER_PORT",
        "BIND_HOST",
        "STATE_DIR",
        "REDIS_URL",
        "REDIS_PREFIX",
        "DATABASE_URL",
        "LOG_FORMAT",
    }
    secret = {"API_TOKEN", "SECRET_KEY", "ADMIN_PASSWORD", "FLOWER_PASSWORD", "SEED"}
    elsewhere = {"GPU_DEVICE", "GPU_OFFSET"}

    compose = read_yaml(ROOT / "docker-compose.yml")

    names = {name.upper() for name in Environment.model_fields}
    assert names - own - secret - elsewhere - set(compose["x-settings"]) == set()
    assert secret <= set(compose["services"]["secrets"]["environment"])


def test_secrets_are_drawn_once_and_written_the_same_again(tmp_path: Path) -> None:
    make = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]

    def tree() -> dict[str, str]:
        return {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    make([str(tmp_path)], {"ADMIN_PASSWORD": "a password of mine"})
    first = tree()
    make([str(tmp_path)], {"ADMIN_PASSWORD": "another one"})

    assert tree() == first
    assert first["web/admin_password"].strip() == "a password of mine"
    values = [text for name, text in first.items() if name.startswith("values/") and name != "values/seed"]
    assert len(set(values)) == len(values)
    assert not any(value.strip() in first["redis/users.acl"] for value in values)


def test_a_service_s_folder_is_closed_to_other_users(tmp_path: Path) -> None:
    make = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]

    make([str(tmp_path)], {})

    for role in ("init", "scheduler", "beat", "gpu", "web", "flower", "values"):
        assert (tmp_path / role).stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o777 == 0o400 for path in (tmp_path / role).glob("*"))


def test_each_role_of_the_database_has_its_own_password_and_nobody_gets_the_superuser_s(tmp_path: Path) -> None:
    make = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]

    make([str(tmp_path)], {})

    urls = {path.parent.name: path.read_text() for path in tmp_path.glob("*/database_url")}
    users = {service: url.removeprefix("postgres://").split(":")[0] for service, url in urls.items()}
    assert users == {
        "init": "cluster_owner",
        "web": "cluster_web",
        "scheduler": "cluster_scheduler",
        "gpu": "cluster_worker",
    }
    superusers = (tmp_path / "values" / "database_password").read_text().strip()
    holders = {path.parent.name for path in tmp_path.rglob("*") if path.is_file() and superusers in path.read_text()}
    assert holders == {"values", "postgres"}


def test_each_worker_gets_a_folder_and_what_it_kept_before_moves_there(tmp_path: Path) -> None:
    make = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]
    state = tmp_path / "state"
    (state / "witness").mkdir(parents=True)
    (state / "witness" / "gpu-9.jsonl").write_text("it saw")
    (state / "spool" / "gpu-9").mkdir(parents=True)
    (state / "spool" / "gpu-9" / "4-1.json").write_text("a result")

    for _ in range(2):
        make([str(tmp_path / "secrets")], {"STATE_DIR": str(state), "GPU_OFFSET": "8"})

    own = state / "workers" / "gpu-1"
    assert (own / "witness" / "gpu-9.jsonl").read_text() == "it saw"
    assert (own / "spool" / "gpu-9" / "4-1.json").read_text() == "a result"
    assert len(list((state / "workers").iterdir())) == 8
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state / "workers").iterdir())


def test_a_worker_mounts_its_own_folder_and_no_other() -> None:
    compose = read_yaml(ROOT / "docker-compose.yml")
    workers = {name: service for name, service in compose["services"].items() if name.startswith("gpu-")}

    assert len(workers) == 8
    for name, service in workers.items():
        mounts = [mount for mount in service["volumes"] if not isinstance(mount, str)]
        assert {(mount["source"], mount["volume"]["subpath"]) for mount in mounts} == {
            ("secrets", "gpu"),
            ("state", f"workers/{name}"),
        }


def test_rotated_secrets_are_new_in_every_file_that_holds_them(tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]
    root = str(tmp_path)
    main([root], {})
    before = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    main([root, "rotate", "api_token", "broker_gpu"], {})

    changed = {str(path) for path, text in before.items() if (tmp_path / path).read_text() != text}
    assert changed == {
        *("values/api_token", "web/api_token", "init/api_token"),
        *("values/broker_gpu", "gpu/redis_url", "redis/users.acl"),
    }


@pytest.mark.parametrize("names", [[], ["seed"], ["api_token", "pasword"], ["--all", "api_token"]])
def test_what_cannot_be_rotated_is_named_and_changes_nothing(tmp_path: Path, names: list[str]) -> None:
    main = runpy.run_path(str(ROOT / "docker" / "make_secrets.py"))["main"]
    root = str(tmp_path)
    main([root], {})
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(SystemExit, match="database_worker"):
        main([root, "rotate", *names], {})

    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_image_may_copy_every_file_that_it_names() -> None:
    """.dockerignore lists what the build sees; a file that is missing there ends the build."""
    listed = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:].rstrip("/") for line in listed if line.startswith("!")]
    copied = [
        word
        for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("--")
    ]

    assert [path for path in copied if not any(fnmatch(path, each) for each in allowed)] == []
    assert len(copied) > 8

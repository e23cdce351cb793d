"""Makes the deployment's secrets: one value each, once, and from them the files that each service reads. And the
state folder of each GPU worker, which that worker's service alone mounts.

Runs before everything else (service `secrets`), needs nothing but Python, and is safe to repeat: values that are
there stay, the files are written again. Each service sees its own folder of the volume and no other.

    make_secrets.py ROOT                                        make them
    make_secrets.py ROOT export ADDRESS [REDIS POSTGRES]        print what GPU workers of another host need, who reach
                                                                this one at ADDRESS and at these ports
    make_secrets.py ROOT rotate NAME... | --all                 new values; docker/rotate does it for a running project
    make_secrets.py ROOT import                                 on the other host: read that from standard input
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

#: The cluster's roles that talk to the broker: each has its own user there.
BROKER_USERS: Final = ("scheduler", "beat", "gpu", "web", "flower")

#: The database's roles beside the superuser; docker/roles.sql makes them.
DATABASE_ROLES: Final = ("owner", "web", "scheduler", "worker")

#: Only this cluster's keys; no FLUSHALL, CONFIG, DEBUG, SHUTDOWN. INFO: to check the policy. All channels: Celery
#: subscribes to patterns, and a pattern is allowed only if exactly that pattern is listed here.
BROKER_RIGHTS: Final = "~gpucluster:* &* +@all -@admin -@dangerous +info"

#: What is drawn. A value is kept in values/NAME; removing that file and running this again replaces it.
GENERATED: Final[dict[str, Callable[[], str]]] = {
    "secret_key": lambda: secrets.token_urlsafe(48),
    "api_token": lambda: secrets.token_urlsafe(32),
    "admin_password": lambda: secrets.token_urlsafe(12),
    "flower_password": lambda: secrets.token_urlsafe(16),
    "seed": lambda: str(secrets.randbelow(2**31)),
    "grafana_password": lambda: secrets.token_urlsafe(16),
    "database_password": lambda: secrets.token_urlsafe(32),
    **{f"database_{role}": lambda: secrets.token_urlsafe(32) for role in DATABASE_ROLES},
    "broker_health": lambda: secrets.token_urlsafe(32),
    "broker_operator": lambda: secrets.token_urlsafe(32),
    **{f"broker_{user}": lambda: secrets.token_urlsafe(32) for user in BROKER_USERS},
}

#: What `rotate` replaces. The seed is no secret; Grafana reads its password only at its first start, and so does
#: PostgreSQL the superuser's, with which nobody signs in later.
ROTATED: Final = tuple(sorted(set(GENERATED) - {"seed", "grafana_password", "database_password"}))

#: Which folder holds which values under their own names; the URLs and the broker's users come on top.
READ_BY: Final[dict[str, tuple[str, ...]]] = {
    "init": ("secret_key", "api_token", "admin_password", "flower_password", "seed"),
    "scheduler": ("seed",),
    "beat": (),
    "gpu": ("seed",),
    "web": ("secret_key", "api_token", "admin_password"),
    "flower": ("flower_password",),
}
#: As which role of the database each one signs in.
DATABASE_ROLE_OF: Final = {"init": "owner", "scheduler": "scheduler", "gpu": "worker", "web": "web"}

#: How many workers the compose files have.
WORKERS: Final = 8

#: What a GPU worker reads.
OF_WORKERS: Final = ("gpu/redis_url", "gpu/database_url", "gpu/seed")


def main(words: list[str], environment: Mapping[str, str]) -> None:
    os.umask(0o077)
    match words:
        case [root]:
            make(Path(root), environment)
            make_worker_folders(environment)
        case [root, "export", address]:
            export(Path(root), address, "6379", "5432")
        case [root, "export", address, redis, postgres]:
            export(Path(root), address, redis, postgres)
        case [root, "rotate", *names]:
            rotate(Path(root), ROTATED if names == ["--all"] else names)
        case [root, "import"]:
            import_for_workers(Path(root), json.load(sys.stdin))
            make_worker_folders(environment)
        case _:
            sys.exit(__doc__)


def rotate(root: Path, names: Sequence[str]) -> None:
    """Draws new values and rewrites the files. An unknown name changes nothing."""
    unknown = [name for name in names if name not in ROTATED]
    if unknown or not names:
        said = f"{unknown[0]!r} is not accepted; expected:" if unknown else "at least one of"
        sys.exit(f"NAME: {said} {', '.join(ROTATED)}, or --all alone")
    for name in names:
        write(root / "values" / name, GENERATED[name](), folder_mode=0o700, mode=0o400)
    make(root, {})


def export(root: Path, address: str, redis: str, postgres: str) -> None:
    texts = {name: (root / name).read_text().strip() for name in OF_WORKERS}
    texts["gpu/redis_url"] = texts["gpu/redis_url"].replace("@redis:6379", f"@{address}:{redis}")
    texts["gpu/database_url"] = texts["gpu/database_url"].replace("@postgres:5432", f"@{address}:{postgres}")
    json.dump(texts, sys.stdout)


def import_for_workers(root: Path, texts: Mapping[str, str]) -> None:
    for name in OF_WORKERS:
        write(root / name, texts[name], folder_mode=0o700, mode=0o400)


def make(root: Path, environment: Mapping[str, str]) -> None:
    values = make_values(root / "values", environment)
    for path, text in files(values).items():
        # The servers run as users of their own images: their folders, which only they see, are open to any user.
        is_ours = path.split("/")[0] in READ_BY
        write(root / path, text, folder_mode=0o700 if is_ours else 0o755, mode=0o400 if is_ours else 0o444)


def make_worker_folders(environment: Mapping[str, str]) -> None:
    """One for each worker's service, below STATE_DIR. What an earlier version kept in one folder moves there."""
    if not environment.get("STATE_DIR"):
        return
    state, offset = Path(environment["STATE_DIR"]), int(environment.get("GPU_OFFSET") or 0)
    for service in range(WORKERS):
        folder, gpu = state / "workers" / f"gpu-{service}", f"gpu-{service + offset}"
        for subfolder in ("witness", "spool"):
            (folder / subfolder).mkdir(mode=0o700, parents=True, exist_ok=True)
        for kept in (f"witness/{gpu}.jsonl", f"spool/{gpu}"):
            if (state / kept).exists() and not (folder / kept).exists():
                (state / kept).rename(folder / kept)


def make_values(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What is there, or else the environment's (ADMIN_PASSWORD, ...), or else newly drawn."""
    values = {}
    for name, draw in GENERATED.items():
        path = folder / name
        if not path.exists():
            write(path, environment.get(name.upper(), "").strip() or draw(), folder_mode=0o700, mode=0o400)
        values[name] = path.read_text().strip()
    return values


def files(values: Mapping[str, str]) -> dict[str, str]:
    """The path of each file below the root, and what it holds."""
    found = {f"{role}/{name}": values[name] for role, names in READ_BY.items() for name in names}
    for user in BROKER_USERS:
        found[f"{user}/redis_url"] = f"redis://{user}:{quote(values[f'broker_{user}'], safe='')}@redis:6379/0"
    for user, role in DATABASE_ROLE_OF.items():
        password = quote(values[f"database_{role}"], safe="")
        found[f"{user}/database_url"] = f"postgres://cluster_{role}:{password}@postgres:5432/cluster"
    # The superuser's, at the first start alone: docker/roles.sql takes it away.
    found["postgres/password"] = values["database_password"]
    for role in DATABASE_ROLES:
        found[f"roles/{role}"] = values[f"database_{role}"]
    found["grafana/password"] = values["grafana_password"]
    found["redis/users.acl"] = broker_users(values)
    found["redis/health_password"] = values["broker_health"]
    found["redis/operator_password"] = values["broker_operator"]
    return found


def broker_users(values: Mapping[str, str]) -> str:
    """The server's ACL file: passwords as SHA-256 only, nobody without one."""
    rights = {
        "operator": "~* &* +@all",
        "health": "resetchannels ~gpucluster:health +set",
        **dict.fromkeys(BROKER_USERS, BROKER_RIGHTS),
    }
    lines = ["user default off"]
    lines += [
        f"user {user} on #{sha256(values[f'broker_{user}'].encode()).hexdigest()} {words}"
        for user, words in rights.items()
    ]
    return "\n".join(lines)


def write(path: Path, text: str, *, folder_mode: int, mode: int) -> None:
    """All or nothing: a service that starts meanwhile reads the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(folder_mode)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with fresh.open("w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(mode)
    fresh.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)

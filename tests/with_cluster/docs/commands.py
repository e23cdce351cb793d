"""The commands of the documentation that a test runs, as the pages show them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`shows`: a pattern that its standard output matches somewhere. `code`: its exit status."""

    page: str
    text: str
    shows: str = ""
    code: int = 0


def commands_in(text: str) -> list[str]:
    """Each command of the page's blocks, without its comment; lines that go on are joined."""
    blocks = "\n".join(re.findall(r"^```(?:\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    lines = re.sub(r"\\\n\s*", "", blocks).splitlines()
    return [re.sub(r"\s+#\s.*$", "", line).strip() for line in lines if line.strip()]


COMMANDS: Final = [
    Command(
        page="README.md",
        text="gpuc submit matrix --priority high --param size=512 --count 3 --wait",
        shows=r"3 succeeded",
    ),
    Command(page="README.md", text="gpuc job 1", shows=r"succeeded"),
    Command(page="README.md", text="TOKEN=$(gpuc token create me --scope submit)"),
    Command(page="README.md", text="gpuc verify", shows=r"PASS"),
    Command(page="docs/job-types.md", text="gpuc submit --help", shows=r"fault_injection"),
    Command(page="docs/cli.md", text="gpuc submit sleep --param seconds=2 --priority high", shows=r"submitted 1"),
    Command(page="docs/cli.md", text="gpuc jobs --state failed --limit 50"),
    Command(page="docs/cli.md", text="gpuc status", shows=r"GPU"),
    Command(page="docs/cli.md", text="gpuc gpus", shows=r"\b1\b"),
    Command(page="docs/cli.md", text="gpuc events", shows=r"token|rate|GPU"),
    Command(page="docs/cli.md", text="gpuc rate high", shows=r"25 jobs"),
    Command(page="docs/cli.md", text="gpuc deadletters"),
    Command(page="docs/cli.md", text="gpuc completion bash", shows=r"complete"),
    Command(
        page="docs/api.md",
        text='curl localhost:8080/api/jobs -H "$A" -H "$J" '
        """-d '{"type": "sleep", "params": {"seconds": 3}, "count": 100}'""",
        shows=r'"ids"',
    ),
    Command(
        page="docs/api.md",
        text="""curl -X PATCH localhost:8080/api/control -H "$A" -H "$J" -d '{"preset": "high"}'""",
        shows=r'"preset": ?"high"',
    ),
    Command(page="docs/load.md", text="gpuc rate 30", shows=r"30 jobs"),
    Command(page="docs/load.md", text="gpuc rate pause", shows=r"paused"),
    Command(page="docs/gpus.md", text="gpuc drain 3"),
    Command(page="docs/gpus.md", text="gpuc gpus", shows=r"\b3\b"),
    Command(page="docs/gpus.md", text="gpuc undrain 3"),
    Command(page="docs/chaos.md", text="gpuc inject worker_hung --gpu 3 --seconds 15", shows=r"GPU 3: worker hung"),
    Command(page="docs/guarantees.md", text="gpuc verify", shows=r"PASS"),
    Command(page="docs/operations.md", text="gpuc token revoke ci", shows=r"revoked ci"),
    Command(page="docs/operations.md", text="grep cluster_ready var/log/cluster.log", shows=r"web="),
    Command(page="docs/deployment.md", text="manage.py check --deploy", shows=r"no issues"),
    Command(page="docs/security.md", text="manage.py check --deploy", shows=r"no issues"),
    Command(page="docs/metrics.md", text="curl -s localhost:8080/metrics | grep gpu_cluster_up", shows=r"broker.* 1"),
    Command(page="docs/architecture.md", text="ls var/run/", shows=r"gpu-0\.pid"),
]

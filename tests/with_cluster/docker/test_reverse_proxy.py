"""The proxies of docker/proxy as they are, but for certificate and ports, in front of a cluster with HTTPS=true."""

from __future__ import annotations

import itertools
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from tests.conftest import program
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster, free_ports

NAME = "gpus.example.org"
GPU_COUNT = 1
ENVIRONMENT = {"HTTPS": "true", "ALLOWED_HOSTS": NAME}

#: A fragment of nginx.conf, as Debian's main file includes it.
NGINX = """\
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {fragment}
}}
"""

CADDY = """\
{{
    admin off
    http_port {http}
    https_port {https}
    storage file_system {folder}
}}
{fragment}
"""


@dataclass(frozen=True, kw_only=True)
class Ports:
    http: int
    https: int
    web: int


@dataclass(frozen=True)
class Certificate:
    """Made for the name by ourselves, so that it is the only one to trust."""

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / "gpus.pem"

    @property
    def key(self) -> Path:
        return self.folder / "gpus.key"

    def make(self) -> None:
        name = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
        files = ["-keyout", self.key, "-out", self.chain]
        command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name, *files]
        subprocess.run(command, check=True, capture_output=True)

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.chain))


def example(name: str, changes: dict[str, str]) -> str:
    """The project's file; each change is of something that stands there once."""
    text = (ROOT / "docker" / "proxy" / name).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, ports: Ports, certificate: Certificate) -> list[str]:
    fragment = example(
        "nginx.conf",
        {
            "listen 80;": f"listen 127.0.0.1:{ports.http};",
            "listen 443 ssl;": f"listen 127.0.0.1:{ports.https} ssl;",
            "/etc/ssl/gpus.pem": str(certificate.chain),
            "/etc/ssl/gpus.key": str(certificate.key),
            "127.0.0.1:8080": f"127.0.0.1:{ports.web}",
        },
    )
    # The test's folder is root's where root runs it.
    user = "user root;" if os.getuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(folder=folder, user=user, fragment=fragment))
    return [program("nginx"), "-c", str(path), "-e", f"{folder}/error.log"]


def caddy(folder: Path, ports: Ports, certificate: Certificate) -> list[str]:
    fragment = example(
        "Caddyfile",
        {
            f"{NAME} {{": f"{NAME} {{\n\ttls {certificate.chain} {certificate.key}\n\tbind 127.0.0.1",
            "127.0.0.1:8080": f"127.0.0.1:{ports.web}",
        },
    )
    path = folder / "Caddyfile"
    path.write_text(CADDY.format(folder=folder, http=ports.http, https=ports.https, fragment=fragment))
    return [program("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]


class Proxy:
    def __init__(self, ports: Ports, trusted: ssl.SSLContext) -> None:
        self.plain, self.url = f"http://{NAME}:{ports.http}", f"https://{NAME}:{ports.https}"
        self.trusted = trusted

    def client(self, **headers: str) -> httpx.Client:
        """With a memory for cookies, as a browser has one."""
        return httpx.Client(base_url=self.url, verify=self.trusted, headers=headers, timeout=15)


PROXIES: dict[str, Callable[[Path, Ports, Certificate], list[str]]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module", params=PROXIES)
def installed(request: pytest.FixtureRequest) -> str:
    """Asked for first: without it no cluster is started."""
    program(request.param)
    return request.param


@pytest.fixture(scope="module")
def proxy(installed: str, running_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(installed)
    http, https = free_ports(2)
    ports, certificate = Ports(http=http, https=https, web=running_cluster.web_port), Certificate(folder)
    certificate.make()
    log = folder / "log"
    resolve = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch, log.open("wb") as output:
        # The name is this machine's, for this process alone.
        patch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **named: resolve("127.0.0.1" if host == NAME else host, *rest, **named),
        )
        # Where Caddy keeps what it has.
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        process = subprocess.Popen(PROXIES[installed](folder, ports, certificate), stdout=output, stderr=output)
        proxy = Proxy(ports, certificate.trusted())

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with proxy.client() as client:
                    return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, 30, log.read_text)
            yield proxy
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def staff(proxy: Proxy, running_cluster: Cluster) -> Iterator[httpx.Client]:
    """Signed in by the form, as a browser sends it."""
    with proxy.client(Origin=proxy.url, Referer=f"{proxy.url}/login") as client:
        assert client.get("/login").status_code == 200
        form = {
            "csrfmiddlewaretoken": client.cookies["gpu_cluster_csrf"],
            "username": "admin",
            "password": running_cluster.secret("ADMIN_PASSWORD"),
        }
        signed_in = client.post("/login", data=form)
        assert (signed_in.status_code, signed_in.headers["Location"]) == (302, "/"), signed_in.text
        yield client


@pytest.fixture
def script(proxy: Proxy, running_cluster: Cluster) -> Iterator[httpx.Client]:
    with proxy.client(Authorization=f"Bearer {running_cluster.secret('API_TOKEN')}") as client:
        yield client


def test_http_is_sent_to_https_whatever_it_says_of_itself(proxy: Proxy) -> None:
    for headers in ({}, {"X-Forwarded-Proto": "https"}):
        answer = httpx.get(f"{proxy.plain}/jobs?state=failed", headers=headers)
        target = urlsplit(answer.headers["Location"])

        assert answer.status_code in {301, 308}
        assert (target.scheme, target.hostname, target.path, target.query) == ("https", NAME, "/jobs", "state=failed")


def test_a_visitor_s_own_header_is_not_passed_on(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert client.get("/", headers={"X-Forwarded-Proto": "http"}).status_code == 200


def test_browsers_are_told_to_stay_with_https(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert client.get("/login").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_cookies_are_sent_by_https_only(staff: httpx.Client) -> None:
    kept = {cookie.name: cookie for cookie in staff.cookies.jar}

    assert set(kept) == {"gpu_cluster_session", "gpu_cluster_csrf"}
    assert all(cookie.secure for cookie in kept.values())


def test_who_signed_in_steers_and_sees_no_link_that_leads_nowhere(staff: httpx.Client) -> None:
    changed = staff.patch(
        "/api/control", json={"paused": True}, headers={"X-CSRFToken": staff.cookies["gpu_cluster_csrf"]}
    )
    page = staff.get("/")

    assert (changed.status_code, changed.json()["paused"]) == (200, True)
    assert "admin" in page.text
    # Flower's port is not behind the proxy.
    assert "Flower" not in page.text


def test_another_site_s_form_is_refused(staff: httpx.Client) -> None:
    form = {"csrfmiddlewaretoken": staff.cookies["gpu_cluster_csrf"]}

    assert staff.post("/logout", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
    assert staff.post("/logout", data=form).status_code == 302


def test_live_view_comes_through(proxy: Proxy) -> None:
    with connect(f"wss://{NAME}:{urlsplit(proxy.url).port}/ws/live", origin=proxy.url, ssl=proxy.trusted) as live:
        messages = (json.loads(live.recv(timeout=10)) for _ in itertools.count())
        numbers = [each["seq"] for each in itertools.islice((m for m in messages if m["type"] == "snapshot"), 3)]

    assert numbers == sorted(set(numbers))


def test_a_job_s_events_come_when_they_happen(script: httpx.Client) -> None:
    submitted = script.post("/api/jobs", json={"type": "sleep", "params": {"seconds": 3}})
    seen: list[tuple[str, float]] = []
    with script.stream("GET", f"/api/jobs/{submitted.json()['ids'][0]}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: ") and "state" in (job := json.loads(line.removeprefix("data: "))):
                seen.append((job["state"], time.monotonic()))

    # The first moment of each state.
    at = dict(reversed(seen))
    assert seen[-1][0] == "succeeded"
    # What is buffered comes all at once, at the end.
    assert at["succeeded"] - at["running"] > 2


def test_as_much_as_the_api_takes_gets_through(script: httpx.Client) -> None:
    answer = script.post("/api/jobs", content=b'{"type": "' + b"x" * 7_900_000 + b'"}')

    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_health_checks_and_prometheus_need_no_proxy(running_cluster: Cluster) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx.get(f"{running_cluster.url}{path}").status_code == 200
    assert httpx.get(f"{running_cluster.url}/login").status_code == 301


def test_the_start_shows_the_address_that_browsers_use(running_cluster: Cluster) -> None:
    assert f"https://{NAME}/admin/" in running_cluster.output()

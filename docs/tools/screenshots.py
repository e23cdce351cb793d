"""`make screenshots`: the moving picture of the README, taken from a cluster that runs for it.

The slider goes up, a worker is killed, its job is requeued and runs elsewhere, and `gpuc verify` passes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from shutil import which
from time import monotonic, sleep
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from docs.tools.pages import ROOT
from tests.with_browser.conftest import ARGUMENTS, BROWSERS
from tests.with_cluster.api import events_of
from tests.with_cluster.cluster import Cluster

TARGET: Final = ROOT / "docs" / "rehearsal.webp"
BYTES_MAXIMUM: Final = 3_000_000
GPUS: Final = 8
#: CSS pixels of the page in the picture; GitHub shows it about 830 wide.
WIDTH, HEIGHT, CAPTION_HEIGHT = 1090, 945, 74
#: Before the first frame: the lanes show the last five minutes.
WARM_UP_SECONDS: Final = 200
#: The page redraws twice a second.
FRAME_SECONDS: Final = 0.5
#: The job whose worker is killed.
JOB: Final[dict[str, Any]] = {
    "type": "sleep",
    "params": {"seconds": 24},
    "priority": "critical",
    "name": "train-vision-model",
}

CAPTION: Final = """<style>body {{ margin: 0; background: #0b0d12; font: 17px/1.5 'DejaVu Sans Mono', monospace;
padding: 11px 20px; white-space: pre }} b {{ color: #e8eaf0 }} i {{ font-style: normal; color: {color} }}
</style><b>{words}</b>
<i>{below}</i>"""
GREY, GREEN = "#9aa3b2", "#3fcf8e"


@dataclass(slots=True)
class Film:
    """Frames of the page with a caption below, and how long each is shown."""

    page: Page
    caption_page: Page
    caption: Image.Image = field(init=False)
    frames: list[Image.Image] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def say(self, words: str, below: str, color: str = GREY) -> None:
        self.caption_page.set_content(CAPTION.format(words=words, below=below, color=color))
        self.caption = shot(self.caption_page)

    def take(self, shown_seconds: float = FRAME_SECONDS) -> None:
        whole = Image.new("RGB", (WIDTH, HEIGHT + CAPTION_HEIGHT))
        whole.paste(shot(self.page), (0, 0))
        whole.paste(self.caption, (0, HEIGHT))
        self.frames.append(whole)
        self.seconds.append(shown_seconds)

    def run(self, seconds: float, *, speed: float = 1) -> None:
        """A frame each half second, shown `speed` times as fast as it happened."""
        end = monotonic() + seconds
        while (started := monotonic()) < end:
            self.take(FRAME_SECONDS / speed)
            sleep(max(0.0, FRAME_SECONDS - (monotonic() - started)))

    def run_until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = monotonic() + seconds
        while not condition():
            if monotonic() > end:
                raise SystemExit(f"make screenshots: after {seconds:g} s it still waits for {condition.__name__}")
            self.run(FRAME_SECONDS, speed=2)

    def save(self, path: Path) -> None:
        first, *others = self.frames
        durations = [round(1000 * seconds) for seconds in self.seconds]
        options: dict[str, Any] = {"duration": durations, "loop": 0, "quality": 80, "method": 4, "minimize_size": True}
        first.save(path, save_all=True, append_images=others, **options)


def shot(page: Page) -> Image.Image:
    return Image.open(BytesIO(page.screenshot())).convert("RGB")


@contextmanager
def opened_browser() -> Iterator[Browser]:
    path = next((found for name in BROWSERS if (found := which(name))), None)
    if path is None:
        raise SystemExit(f"make screenshots: needs Chromium; install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def open_live_page(browser: Browser, cluster: Cluster) -> Page:
    context = browser.new_context(
        base_url=cluster.url, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark", reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto("/login?next=/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(cluster.secret("ADMIN_PASSWORD"))
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{cluster.url}/")
    return page


def gpuc(cluster: Cluster, *arguments: str) -> list[str]:
    """The lines of its output."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "gpuc"), *arguments],
        cwd=ROOT,
        env={**os.environ, **cluster.environment},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip().splitlines()


def raise_the_load(film: Film) -> None:
    film.say("The load goes up", "the slider sets how many jobs per minute the generator submits")
    film.run(1)
    slider = film.page.locator("#rate")
    slider.focus()
    for _ in range(8):
        for _ in range(4):
            slider.press("ArrowRight")
        film.take(0.25)
    film.run(1.5)


def kill_a_worker(film: Film, cluster: Cluster, job_id: int) -> None:
    def job() -> dict[str, Any]:
        return cluster.api.job(job_id)

    def job_is_requeued() -> bool:
        return bool(events_of(job(), "requeued"))

    def job_runs_again() -> bool:
        return len(events_of(job(), "started")) > 1

    name, gpu = JOB["name"], job()["gpu"]
    film.say(f"{name} runs on GPU {gpu}", "its worker is killed next")
    film.run(2)
    command = f"$ kill -9 $(cat var/run/gpu-{gpu}.pid)"
    film.say(command, "the worker is gone")
    cluster.kill(f"gpu-{gpu}")
    film.run_until(job_is_requeued, 20)
    film.say(command, f"{name} is requeued; the worker is back")
    film.run_until(job_runs_again, 30)
    if job()["gpu"] == gpu:
        raise SystemExit(f"make screenshots: {name} runs on GPU {gpu} again, since no other GPU was free; run it again")
    film.say(command, f"{name} runs on GPU {job()['gpu']}, attempt {job()['attempt']}", GREEN)
    film.run(3)


def prove_it(film: Film, cluster: Cluster, job_id: int) -> None:
    cluster.api.wait_for_job(job_id, "succeeded", seconds=60)
    film.say("$ gpuc verify", "")
    film.take()
    film.say("$ gpuc verify", gpuc(cluster, "verify")[0], GREEN)
    film.take(4)


def main() -> None:
    environment = {"JOB_RATE": "9", "SEED": "11", "GENERATOR_CONFIG": "demo"}
    with opened_browser() as browser, Cluster(gpus=GPUS, environment=environment) as cluster:
        page = open_live_page(browser, cluster)
        caption = browser.new_page(viewport={"width": WIDTH, "height": CAPTION_HEIGHT})
        sleep(WARM_UP_SECONDS)
        # From here on nothing breaks but what is broken in the picture.
        cluster.api.change_control(fault_profile="none")
        film = Film(page=page, caption_page=caption)
        job_id = cluster.api.submit_one(**JOB)
        cluster.api.wait_for_job(job_id, "running", seconds=60)
        raise_the_load(film)
        kill_a_worker(film, cluster, job_id)
        prove_it(film, cluster, job_id)
    film.save(TARGET)
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {len(film.frames)} frames, {sum(film.seconds):.1f} s, {size / 1e6:.2f} MB")
    if size > BYTES_MAXIMUM:
        raise SystemExit(f"make screenshots: {size} bytes are more than {BYTES_MAXIMUM}")


if __name__ == "__main__":
    main()

"""Whatever a job leaves in its process, the next job starts from the same state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from scheduler.rules.states import JobState
from tests.build import story
from tests.with_database.scripts import ScriptWorker, script_worker

pytestmark = [
    pytest.mark.usefixtures("gpus", "control"),
    pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session"),
]

REPORT = "import os, script; result = {'state': script.state(), 'pid': os.getpid()}"

#: What a job does, and whether its process can run the next job.
PUT_BACK = {
    "alarm": "import signal; signal.setitimer(signal.ITIMER_REAL, 0.05)",
    "alarm with a handler": """
        import signal
        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    """,
    "blocked alarm that is pending": """
        import signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while signal.SIGALRM not in signal.sigpending():
            time.sleep(0.001)
    """,
    "traceback that ends the process": "import faulthandler; faulthandler.dump_traceback_later(0.05, exit=True)",
    "handlers": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGUSR1, print)",
    "soft limits": """
        import resource
        for limit, value in ((resource.RLIMIT_CPU, 10_000), (resource.RLIMIT_NOFILE, 10), (resource.RLIMIT_FSIZE, 0)):
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    """,
    "environment": "import os, time; os.environ.clear(); os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
    "pin": "import os; os.environ['CUDA_VISIBLE_DEVICES'] = '5'",
    "folder": "import os, tempfile; os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd())",
    "umask": "import os; os.umask(0)",
    "streams": "import io, sys; sys.stdout = io.StringIO(); sys.stderr = None",
    "files of the streams": "import os; os.close(1); os.open('/dev/full', os.O_WRONLY); os.close(2)",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "paths and hooks": "import sys; sys.path.clear(); sys.argv.append('x'); sys.excepthook = print",
    "interpreter": "import gc, sys; sys.setrecursionlimit(500); gc.disable(); gc.set_threshold(1, 1, 1)",
    "warnings and logs": """
        import logging, warnings
        warnings.simplefilter("error")
        logging.basicConfig(force=True, level=logging.DEBUG, filename="/dev/null")
        logging.disable(logging.CRITICAL)
    """,
    "processor affinity": "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "thread that ends soon": "import threading; threading.Timer(0.02, print).start()",
}
NEW_PROCESS = {
    "thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "child": "import subprocess; subprocess.Popen(['sleep', '600'])",
    "open file": "import sys, tempfile; sys.kept = tempfile.TemporaryFile()",
    "lost rights": "import ctypes; no_new_privs = 38; ctypes.CDLL(None).prctl(no_new_privs, 1, 0, 0, 0)",
    "closed descriptors": "import os; os.closerange(3, 200)",
}


@pytest.fixture
def scripts(redis: Redis, tmp_path: Path) -> Iterator[ScriptWorker]:
    with script_worker(redis, tmp_path) as worker:
        yield worker


def test_what_a_job_changes_is_put_back(scripts: ScriptWorker) -> None:
    before = scripts.run(REPORT).result

    for name, code in PUT_BACK.items():
        left = scripts.run(code)
        assert (left.state, left.error) == (JobState.SUCCEEDED, ""), name
        # Longer than what was left to fire.
        after = scripts.run(f"import time; time.sleep(0.1)\n{REPORT}").result
        assert after["state"] == before["state"], name
        assert after["pid"] == before["pid"], f"{name}: {scripts.worker.tail()}"


@pytest.mark.parametrize("name", NEW_PROCESS)
def test_what_cannot_be_put_back_gets_a_new_process(scripts: ScriptWorker, name: str) -> None:
    before = scripts.run(REPORT).result

    left = scripts.run(NEW_PROCESS[name])
    assert (left.state, left.error) == (JobState.SUCCEEDED, "")
    next_one = scripts.run(REPORT)

    assert next_one.result["state"] == before["state"]
    assert next_one.result["pid"] != before["pid"], scripts.worker.tail()
    assert [event[1] for event in story(next_one)] == ["submitted", "started", "succeeded"]
    assert [event[1] for event in story(left)] == ["submitted", "started", "succeeded"]


def test_random_numbers_of_a_job_do_not_depend_on_the_jobs_before_it(scripts: ScriptWorker) -> None:
    drawing = """
        import decimal, random, numpy
        decimal.getcontext().prec = 5
        result = {"seed": context.seed, "random": random.random(), "numpy": numpy.random.random()}
    """
    looking = """
        import decimal, random, numpy
        drawn = random.random(), numpy.random.random()
        random.seed(context.seed)
        numpy.random.seed(context.seed % 2**32)
        expected = random.random(), numpy.random.random()
        result = {"prec": decimal.getcontext().prec, "same": drawn == expected}
    """
    first = scripts.run(drawing)
    second = scripts.run(drawing)

    assert first.result != second.result
    assert scripts.run(looking).result == {"prec": 28, "same": True}

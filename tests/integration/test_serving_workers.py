"""Workers of the decision API over a real Redis alone: ready once it answers, restarted when blocked, drained."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import settings_on_free_ports
from demo_product import product_with
from running import poll
from test_serving import Api, is_running
from test_serving import running as running_api

from firstmile.local.process import find
from firstmile.local.stack import Stack

N_REQUESTS = 12
N_SHOWN = 30
AIMED = "experiments: [{name: aimed, when: {request.page: /aimed}, arms: [{name: all, kind: champion, share: 1}]}]"


@dataclass
class World:
    """A served API with two workers, and its Redis."""

    api: Api
    stack: Stack

    @property
    def redis_pid(self) -> int:
        """Of the server."""
        found = find(self.stack.run_folder, "redis")
        assert found is not None
        return found.pid

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return [p for p in self.api.children() if is_worker(p)]

    def ready_status(self) -> int:
        """Of /readyz, 0 while nobody listens."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.api.base}/readyz", timeout=5).status_code
        return 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("workers")
    serving = {"workers": 2, "model_wait_s": 0.0, "budget_ms": 8_000.0, "feature_timeout_ms": 3_000.0}
    serving |= {"max_lag_ms": 10_000.0, "max_in_flight": 64}
    product = product_with(folder, experiments=AIMED)
    settings = settings_on_free_ports(folder / "home", serving=serving, product=product)
    stack = Stack(settings, with_parent=True)
    stack.up(["redis"])
    stopped = World(Api(None, settings, Path()), stack)  # type: ignore[arg-type]  # not served yet
    os.kill(stopped.redis_pid, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
        try:
            command = ("bentoml", "serve", "blocking_service:Personalization")
            with running_api(settings, settings.home, *command, ready="Service Personalization initialized") as api:
                yield World(api, stack)
        finally:
            with contextlib.suppress(AssertionError):
                os.kill(stopped.redis_pid, signal.SIGCONT)
            stack.down()


def test_worker_is_ready_once_the_store_has_answered_and_stays_so(world: World) -> None:
    poll(lambda: world.ready_status() == 503, what="a worker that is up and not ready")
    assert httpx.get(f"{world.api.base}/livez").status_code == 200
    os.kill(world.redis_pid, signal.SIGCONT)
    poll(lambda: {world.ready_status() for _ in range(6)} == {200}, what="ready workers")


def test_exposure_of_an_aimed_experiment_is_counted_in_its_arm_whichever_worker_hears_of_it(world: World) -> None:
    address, key = world.api.base, world.api.settings.serving.api_key.get_secret_value()
    asked_of: set[str] = set()
    for i in range(N_SHOWN):  # each by a connection of its own: any worker may take it
        answer = world.api.post(f"shown-{i}", context={"page": "/aimed"})
        asked_of.add(answer["experiment"]["token"][:4])
        body = {"request_id": answer["request_id"], "user_id": f"shown-{i}", "token": answer["experiment"]["token"]}
        shown = httpx.post(f"{address}/api/exposure", json=body, headers={"Authorization": f"Bearer {key}"})
        assert shown.status_code == 202
    page = httpx.get(f"{address}/metrics").text
    counted = [line for line in page.splitlines() if line.startswith("firstmile_exposures_total")]
    assert counted == [f'firstmile_exposures_total{{arm="all",experiment="aimed"}} {N_SHOWN:.1f}']
    assert len(asked_of) == 1  # one signing key


def test_blocked_worker_is_ended_with_its_stacks_in_the_log_while_the_other_answers(world: World) -> None:
    poll(lambda: len(world.workers()) == 2, what="two workers")
    before = {p.pid for p in world.workers()}
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(httpx.get, f"{world.api.base}/api/block", timeout=60)
        poll(lambda: "blocked from here on" in world.api.log.read_text(), what="a worker that takes nothing")
        answers = []
        while not blocked.done():
            answers.append(world.api.post("u1")["rung"])
            threading.Event().wait(0.02)  # the API has a rate limit
        with pytest.raises(httpx.TransportError):
            blocked.result()
    assert answers
    assert len(before & {p.pid for p in world.workers()}) == 1
    assert "in block" in world.api.log.read_text()  # the stack of who did it
    poll(lambda: len(world.workers()) == 2, what="another worker")
    poll(lambda: {world.ready_status() for _ in range(6)} == {200}, what="ready workers")


def test_requests_in_flight_at_sigterm_are_all_answered(world: World) -> None:
    poll(lambda: len(world.workers()) == 2, what="two workers")  # one may just be starting anew
    workers = world.workers()
    os.kill(world.redis_pid, signal.SIGSTOP)  # so that answers take as long as a read may
    try:
        with ThreadPoolExecutor(N_REQUESTS) as pool:
            asked = [pool.submit(world.api.post, f"drained-{i}") for i in range(N_REQUESTS)]
            poll(lambda: n_accepted(workers) >= N_REQUESTS, what="all requests accepted")
            os.kill(world.api.process.pid, signal.SIGTERM)
            answers = [a.result()["reasons"] for a in asked]
    finally:
        os.kill(world.redis_pid, signal.SIGCONT)
    assert len(answers) == N_REQUESTS
    assert world.api.process.wait(30) == 0
    poll(lambda: not any(is_running(p) for p in workers), what="the workers' end")


def is_worker(process: psutil.Process) -> bool:
    """Whether it answers; not so once it has ended, though its supervisor has not looked yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return is_running(process) and "_bentoml_impl.worker.service" in process.cmdline()
    return False


def n_accepted(workers: list[psutil.Process]) -> int:
    """Connections to clients that these processes hold."""
    found = 0
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            port = {c.laddr.port for c in worker.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
            found += sum(
                c.status == psutil.CONN_ESTABLISHED and c.laddr.port in port for c in worker.net_connections("tcp")
            )
    return found

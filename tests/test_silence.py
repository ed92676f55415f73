"""Others that do not answer, or answer nonsense, are waited for with an end."""

import socket
import time
from datetime import timedelta

import pytest
import torch

from profilesearch.errors import UsageError
from profilesearch.scoring.engines import open_engine
from profilesearch.scoring.engines import ray as engine
from profilesearch.tasks import parallel


@pytest.mark.full
def test_a_silent_cluster_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(engine, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        for prefix in ("", "ray://"):
            with pytest.raises(UsageError, match="there is no Ray cluster at"):
                open_engine("ray", address=prefix + address)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2", "RANK": "5"}, "RANK must be from 0 to 1, got '5'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be from 1 to 4096, got '0'"),
        ({"WORLD_SIZE": "two"}, "got 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK must be"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "99999"}, "MASTER_PORT must be from 1 to 65535"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR"),
    ],
)
def test_an_environment_that_torchrun_did_not_set_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said), parallel.joined(torch.device("cpu")):
        pass


@pytest.mark.full
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_alone_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with (
        pytest.raises(UsageError, match=r"WORLD_SIZE is 2, but (?i:.*timed out).*; start processes with torchrun"),
        parallel.joined(torch.device("cpu"), timedelta(seconds=1)),
    ):
        pass
    assert time.monotonic() - start < 20

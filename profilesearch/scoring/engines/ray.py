"""Workers of a Ray cluster, on this machine or many (Moritz et al. 2018, arXiv 1712.05889)."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.networks.groups import IntArray
from profilesearch.scoring.engines.base import Engine, Task, remembered
from profilesearch.scoring.names import NO_RAY, RAY
from profilesearch.scoring.score import Scorer

ANSWER_S = 10.0
"""How long a cluster may take for its first word."""
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
"""How both sides of HTTP/2 begin (RFC 9113, section 3.4)."""
RETRIES = 3
"""How often a score is given to another worker when its worker died."""


class RayEngine(Engine):
    """Scores in the workers of a Ray cluster, which holds every scorer once a machine, in its object store.

    Args:
        workers: Processes of a cluster that is started here; ignored for a running one.
        address: Of a running cluster, such as `ray://host:10001` or `auto`; starts one on this machine where None, that
            no other machine can reach. A running cluster's machines need this package installed.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """

    name = RAY

    def __init__(self, workers: int, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # scoring is the work, not something beside it
        if address is None:
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as there, all of Ray then listens on loopback alone
        try:
            import ray  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(NO_RAY) from error
        self._ray = ray
        if address is not None:
            _check_reachable(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            quiet |= {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(address=address or "local", **quiet)  # `local`: whatever RAY_ADDRESS says
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _nobody(address) from error
        self._score = ray.remote(max_retries=RETRIES)(_score)
        self._stored: dict[str, Any] = {}

    def scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Yields scores as they come."""
        ray = self._ray
        try:
            yield from self._scores(scorers, tasks)
        except ray.exceptions.RayTaskError:
            raise  # what scoring itself says
        except ray.exceptions.WorkerCrashedError as error:
            raise UsageError(
                "Ray workers die again and again, perhaps for lack of memory; give each more of it"
            ) from error
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise UsageError(
                "the Ray cluster is gone; every score so far is in the ledger, so give the same command once there is "
                "a cluster again"
            ) from error

    def _scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        ray = self._ray
        for place, _ in tasks:
            scorer = scorers[place]
            if scorer.digest not in self._stored:
                self._stored[scorer.digest] = ray.put(scorer)
        pending = {}
        for index, (place, widths) in enumerate(tasks):
            digest = scorers[place].digest
            # In a list, a reference travels as it is; a worker resolves it only if the scorer is new to it.
            pending[self._score.remote(digest, [self._stored[digest]], widths)] = index
        while pending:
            for done in ray.wait(list(pending))[0]:
                yield pending.pop(done), ray.get(done)

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Finds out in seconds that nobody at HOST:PORT speaks as Ray does, which itself may try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # such as `auto`
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                connection.sendall(_HELLO)
                if connection.recv(len(_SETTINGS))[3:4] != _SETTINGS[3:4]:
                    raise ConnectionError("what listens there is no Ray")
    except (OSError, OverflowError) as error:  # OverflowError: a port beyond 65535
        raise _nobody(address) from error


def _nobody(address: str | None) -> UsageError:
    return UsageError(
        f"there is no Ray cluster at {address}; start one with `ray start --head`, or leave `address` out"
    )


def _score(digest: str, reference: Sequence[Any], widths: IntArray) -> float:
    import ray  # noqa: PLC0415  an extra

    return remembered(digest, lambda: ray.get(reference[0])).score(widths)

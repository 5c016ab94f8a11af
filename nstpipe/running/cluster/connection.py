"""Connects to a Dask cluster, or starts one. `distributed` is imported only when a pipeline asks for a cluster."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstpipe.config.cluster import Cluster, Tls
from nstpipe.errors import MachineError
from nstpipe.planning.requirements import check_cluster_packages
from nstpipe.system.hardware import THREADS_VARIABLE, threads_of_slot

if TYPE_CHECKING:
    from distributed import Client, Security

CONNECT_SECONDS = 30.0
"""Seconds after which a scheduler that does not answer counts as out of reach."""

CLOSE_SECONDS = 5.0

RESTART_SECONDS = 1.0
"""How soon a worker on this machine that was killed is started again."""

_CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
}


_NOT_OPTIONS = frozenset(
    {"self", "args", "kwargs", "job_cls", "n_workers", "loop", "asynchronous", "security", "base_class_kwargs", "job_kwargs"}
)
"""Arguments of dask-jobqueue that are no settings of a user."""


def security_of(tls: Tls | None) -> Security | None:
    """Return the certificates in Dask's form; None for what Dask's own configuration says.

    Raises:
        MachineError: A file cannot be read.
    """
    if tls is None:
        return None
    from distributed import Security

    for path in (tls.ca, tls.cert, tls.key):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise MachineError(
                f"cluster.tls: {path} cannot be read: {error.strerror}.", "Give the path of a file in PEM."
            ) from error
    return Security(
        require_encryption=True,
        tls_ca_file=str(tls.ca),
        tls_client_cert=str(tls.cert),
        tls_client_key=str(tls.key),
        tls_worker_cert=str(tls.cert),
        tls_worker_key=str(tls.key),
        tls_scheduler_cert=str(tls.cert),
        tls_scheduler_key=str(tls.key),
    )


class Connection:
    """A client of a cluster, and the cluster itself if it was started here.

    Args:
        cluster: The settings.
        workers: How many workers to start, if they are started here.

    Attributes:
        client: Dask's client.

    Raises:
        MachineError: The scheduler cannot be reached, or the cluster cannot be started.
    """

    client: Client

    def __init__(self, cluster: Cluster, workers: int) -> None:
        check_cluster_packages(cluster)
        self._until_closed = ExitStack()
        self._until_closed.enter_context(_silent_log())
        try:
            self.client = self._client(cluster, workers)
        except MachineError:
            self.close()
            raise
        except Exception as error:
            self.close()
            said = str(error).strip() or type(error).__name__
            raise MachineError(
                f"cluster: {cluster} cannot be used: {said if said[:2].isupper() else said[:1].lower() + said[1:]}".rstrip(".")
                + ".",
                "Look whether the scheduler runs and can be reached from here, or run without a cluster.",
            ) from error

    def _client(self, cluster: Cluster, workers: int) -> Client:
        from distributed import Client, LocalCluster, Security

        security = security_of(cluster.tls)
        to: Any = str(cluster.address)
        if to.startswith("tls://") and not (security or Security()).get_tls_config_for_role("client").get("ca_file"):
            raise MachineError(
                f"cluster: {to} needs certificates.", "Give them as cluster.tls, or in Dask's own configuration."
            )
        if cluster.is_here:
            host = "127.0.0.1"
            to = LocalCluster(n_workers=0, host=host, dashboard_address=None, security=security, silence_logs=logging.CRITICAL)
            self._until_closed.callback(_quietly, to.close, timeout=CLOSE_SECONDS)
            for number in range(workers):
                self._start_worker(to.scheduler_address, cluster.tls, f"local-{number + 1}", threads_of_slot(workers))
        elif cluster.kind is not None:
            to = _batch_cluster(cluster, security)
            self._until_closed.callback(_quietly, to.close, timeout=CLOSE_SECONDS)
            to.adapt(minimum_jobs=workers, maximum_jobs=workers)  # a job that reached its time limit is replaced
        elif cluster.scheduler_file is not None:
            client = Client(
                scheduler_file=str(_readable(cluster.scheduler_file)),
                security=security,
                timeout=CONNECT_SECONDS,
                set_as_default=False,
            )
            self._until_closed.callback(_quietly, client.close, timeout=CLOSE_SECONDS)
            return client
        client = Client(to, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
        self._until_closed.callback(_quietly, client.close, timeout=CLOSE_SECONDS)
        return client

    def _start_worker(self, address: str, tls: Tls | None, name: str, threads: int) -> None:
        command = [sys.executable, "-m", "nstpipe", "worker", address, "--name", name, "--tasks", "1", "--no-nanny"]
        if tls is not None:
            command += ["--tls-ca", str(tls.ca), "--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]
        # The worker finds modules where this process does.
        places = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": places, THREADS_VARIABLE: str(threads)}
        self._until_closed.callback(_LocalWorker(command, environment).end)

    def close(self) -> None:
        """Leave the cluster, and end what was started here."""
        self._until_closed.close()


@contextmanager
def _silent_log() -> Iterator[None]:
    """Mark a block in which Dask logs nothing: it tells of each lost connection with tracebacks. nstpipe says what matters.

    The environment variable DASK_LOGGING__DISTRIBUTED brings it back.
    """
    import distributed  # sets its levels when it is imported

    if os.environ.get("DASK_LOGGING__DISTRIBUTED"):
        yield
        return
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == distributed.__name__]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _LocalWorker:
    """A worker on this machine, which is started again when it was killed.

    Args:
        command: Its command.
        environment: Its environment.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._is_ending = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=os.name != "nt",  # Ctrl-C is for this process, which decides what ends when
        )

    def _watch(self) -> None:
        while not self._is_ending.wait(RESTART_SECONDS):
            if self._process.poll() is not None:
                self._process = self._start()

    def end(self) -> None:
        """End the worker. The process that paints for it ends by itself."""
        self._is_ending.set()
        self._thread.join()
        self._process.kill()
        self._process.wait()


def _quietly(close: Any, **options: Any) -> None:
    with suppress(Exception):  # what was to be closed is gone already
        close(**options)


def _readable(path: Path) -> Path:
    try:
        path.read_bytes()
    except OSError as error:
        raise MachineError(
            f"cluster: {path} cannot be read: {error.strerror}.",
            f"Start the scheduler with `dask scheduler --scheduler-file {path}`.",
        ) from error
    return path


def _batch_cluster(cluster: Cluster, security: Security | None) -> Any:
    """Return a cluster of dask-jobqueue, without workers yet."""
    import dask_jobqueue

    assert cluster.kind is not None
    made = getattr(dask_jobqueue, _CLASSES[cluster.kind])
    known = [
        name
        for kind in (dask_jobqueue.core.JobQueueCluster, *made.job_cls.__mro__[:-1])
        for name in inspect.signature(kind.__init__).parameters
        if name
        not in ("self", "args", "kwargs", "job_cls", "n_workers", "loop", "asynchronous", "security", "base_class_kwargs")
    ]
    unknown = [name for name in cluster.options if name not in known]
    if unknown:
        raise MachineError(
            f"cluster.{unknown[0]}: unknown key of kind {cluster.kind}.",
            f"Known here are {', '.join(sorted(dict.fromkeys(known)))}; `workers` of the pipeline says how many jobs.",
        )
    return made(**{"security": security, **cluster.options} if security is not None else cluster.options)

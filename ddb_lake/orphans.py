"""Runs whose process has died without a word, as when it was killed: found, and failed so that they are retried.

Dagster's own monitoring can't see that where it starts runs as processes of the same machine: it would keep such a
run, and the pool's place with it, until the longest run time is over.

A process id alone proves nothing: ids are reused, and on another host or in another container the same id is
another process or none. So each run records which process executes it, see `record_process`. A run is failed only
if that record proves its process gone; all others are left to Dagster's run monitoring. Runs from before a restart of
the machine are among those: hosts that are cloned from one image share host name and machine id, so that a run of
another boot may just as well be another host's, and alive.
"""

import json
import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg
from dagster._core.events import EngineEventData

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

PROCESS = "ddb_lake/process"
"""Under which name of the engine event's metadata the process of a run is recorded."""

_PID = "pid"
"""The same for the process id alone, as Dagster's own engine events have it."""


@dataclass(frozen=True)
class Process:
    """One process of one boot of one host.

    Args:
        host: The host's name.
        machine: The machine's id (`/etc/machine-id`), or "" where there is none, as in most containers.
        boot: The boot's id (Linux, macOS), or "" where the system has none.
        namespace: The namespace that the id is valid in (Linux; each container has its own), or "".
        pid: The process id.
        started: When it was started, as the system has it: tells it from later processes of the same id.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "Process | None":
        """Return this very process, or None where the system does not say when it was started."""
        started = _started(os.getpid())
        if started is None:
            return None
        return cls(
            host=socket.gethostname(),
            machine=_text("/etc/machine-id"),
            boot=_boot(),
            namespace=_namespace(),
            pid=os.getpid(),
            started=started,
        )

    @classmethod
    def parse(cls, text: str) -> "Process | None":
        """Read what `to_json` wrote; None for anything else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self))

    def is_gone(self, here: "Process") -> bool:
        """Tell whether the process is proven to have ended, as seen from the process `here`."""
        if not self.boot:
            return False  # nothing else tells hosts of one name apart
        same = (self.host, self.machine, self.boot, self.namespace)
        return same == (here.host, here.machine, here.boot, here.namespace) and self._has_ended()

    def _has_ended(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's; perhaps a later one of that id
        started = _started(self.pid)
        return started is not None and started != self.started


def record_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Record in a run's events that this process executes it."""
    process = Process.current()
    if process is None:
        return
    instance.report_engine_event(
        f"Process {process.pid} of {process.host} executes the run.",
        run,
        EngineEventData(
            {_PID: dg.MetadataValue.text(str(process.pid)), PROCESS: dg.MetadataValue.text(process.to_json())}
        ),
    )


def fail_orphans(instance: dg.DagsterInstance, location: str) -> list[str]:
    """Fail a code location's runs whose process is proven gone; Dagster's run retries execute them again.

    Does nothing where runs are launched elsewhere, such as on Kubernetes: those launchers check their runs' health.

    Args:
        instance: The Dagster instance.
        location: The name of the code location.

    Returns:
        The ids of the runs that were failed.
    """
    here = Process.current()
    if here is None or not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    failed: list[str] = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK)):
        if run.remote_job_origin is None or run.remote_job_origin.location_name != location:
            continue
        process = _process_of(instance, run.run_id)
        if process is None or not process.is_gone(here):
            continue
        # Read again: it may have ended as it should since it was listed, and its process with it.
        current = instance.get_run_by_id(run.run_id)
        if current is not None and current.status in _AT_WORK:
            instance.report_run_failed(
                current, f"its process {process.pid} is gone without having ended the run; it was killed"
            )
            failed.append(run.run_id)
    return failed


def _process_of(instance: dg.DagsterInstance, run_id: str) -> Process | None:
    """Return the process that a run's events record; None unless Dagster names the same one as the run's."""
    recorded: list[Process] = []
    named: set[int] = set()
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = record.event_log_entry.dagster_event
        metadata = event.engine_event_data.metadata if event else {}
        if PROCESS in metadata:
            process = Process.parse(str(metadata[PROCESS].value))
            recorded += [] if process is None else [process]
        elif _PID in metadata and (pid := str(metadata[_PID].value)).isdecimal():
            named.add(int(pid))
    # An executor may run each step in a process of its own, which ends long before the run does.
    return recorded[-1] if recorded and all(each.pid in named for each in recorded) else None


def _started(pid: int) -> str | None:
    """Return when a process was started, as the system has it; None without such a process."""
    if Path("/proc/self/stat").exists():
        # "pid (name) state …": the name may hold anything, and the 22nd field is the start, in ticks since the boot
        # (Linux: proc_pid_stat).
        return stat.rpartition(")")[2].split()[19] if (stat := _text(f"/proc/{pid}/stat")) else None
    return _output("ps", "-o", "lstart=", "-p", str(pid)) or None


def _boot() -> str:
    """Return the id that the system gave itself when it started, or "" where it has none."""
    return _text("/proc/sys/kernel/random/boot_id") or _output("sysctl", "-n", "kern.bootsessionuuid")


def _namespace() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""


def _output(*command: str) -> str:
    """Return what a command prints, or "" where it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _text(path: str) -> str:
    """Return a small file's text, or "" where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

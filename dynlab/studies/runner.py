"""Run a study: from its specification to whole results of all its stages in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dynlab.devices import check_device, resolve_device
from dynlab.studies.plan import with_estimates
from dynlab.studies.running.display import StudyDisplay
from dynlab.studies.running.executors import DaskWorkers, InProcess, Workers
from dynlab.studies.running.scheduling import GRACE_SECONDS, run_tasks
from dynlab.studies.running.summary import Summary
from dynlab.studies.specification import Study
from dynlab.studies.stage import Stage
from dynlab.studies.study_data import StudyData
from dynlab.studies.study_tasks import CHECKPOINT_SECONDS, StudyTasks, tasks_of


def run_study(
    study: Study,
    data: StudyData,
    folder: Path,
    *,
    stages: Sequence[Stage],
    workers: Workers | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    display: StudyDisplay | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    grace_seconds: float = GRACE_SECONDS,
    on_begin: Callable[[], None] | None = None,
) -> Summary:
    """Do what is not done yet of a study.

    Trainings that can go on together form one ensemble in this process, where its members have processes of their own,
    and on a GPU. In processes with one thread each of them is a task of its own. The weights are the same, bit by bit,
    on the CPU of a machine.

    Args:
        study: Its specification.
        data: Its data sets (`load_study_data`).
        folder: Where the study is kept; it is made if need be. One run at a time may work there.
        stages: Each after those that it needs, such as `dynlab.studies.stages.STAGES`.
        workers: Where to compute; in this process if not given. They are closed at the end.
        device: Where trainings and stages compute: "cpu", "cuda", "cuda:1", or "auto" for CUDA where there is some.
            With Dask each worker sees for itself what "auto" is. For CUDA, what computes there goes only to workers
            with the resource GPU, and waits for one if need be; for "auto" if a worker has it when the run begins.
        data_dir: As in `load_dataset`; workers read the data sets from there.
        display: Where to say what happens (`dynlab.studies.running.display`).
        checkpoint_seconds: How often trainings write checkpoints, at least 0.
        grace_seconds: How long tasks may take to end in order after SIGINT or SIGTERM, at least 0.
        on_begin: Called once the folder belongs to this run.

    Returns:
        What was done. Failures do not raise; they are listed there, in `failures.json` and, with tracebacks, in
        `failures/`.

    Raises:
        InputError: If there is no such device, another run works in the folder, it cannot be written to, or the
            scheduler of Dask is gone for good.
    """
    workers = InProcess() if workers is None else workers
    asked = study_tasks(
        study, data, stages, workers, device=device, data_dir=data_dir, checkpoint_seconds=checkpoint_seconds
    )
    tasks = with_estimates(asked.tasks, data)
    if isinstance(workers, DaskWorkers) and any(task.resources for task in tasks) and not workers.offers("GPU"):
        (display or StudyDisplay(None)).say("no worker has the resource GPU yet: what computes on CUDA waits for one")
    return run_tasks(
        tasks, folder, workers, title=study.title, display=display, grace_seconds=grace_seconds, on_begin=on_begin
    )


def study_tasks(
    study: Study,
    data: StudyData,
    stages: Sequence[Stage],
    workers: Workers,
    *,
    device: str = "auto",
    data_dir: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> StudyTasks:
    """The tasks of a study as `run_study` would do them; arguments and errors are the same."""
    if isinstance(workers, DaskWorkers):
        check_device(device)
        # Once for the whole run: what is submitted while the worker with the GPU is being replaced waits for the next.
        on_gpu = device.partition(":")[0] == "cuda" or (device == "auto" and workers.offers("GPU"))
        together = on_gpu
    else:
        device = str(resolve_device(device))
        on_gpu = device != "cpu"
        together = on_gpu or isinstance(workers, InProcess)
    return tasks_of(
        study,
        data,
        stages,
        device=device,
        on_gpu=on_gpu,
        together=together,
        data_dir=data_dir,
        checkpoint_seconds=checkpoint_seconds,
    )

"""`reinduce train`: seeds of arms, one after another or shared by several processes."""

import argparse
import dataclasses
import hashlib
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from reinduce.config.arm_contents import modules_of_arm
from reinduce.config.job_specs import ArmSpec, digest, read_spec, require
from reinduce.config.task_definition import read_task
from reinduce.model.checkpoint import checkpoint_path, seed_names
from reinduce.model.transformer import Transformer
from reinduce.tables import write_rows
from reinduce.trace import sources
from reinduce.trace.files import sha256
from reinduce.trace.manifest import StageOutputs
from reinduce.train.accumulator import check_divisible
from reinduce.train.compiled import choose_losses
from reinduce.train.loop import train
from reinduce.train.optimizer import learning_rate
from reinduce.train.preemption import EXIT_STATUS, Preempted, StopRequest, handle_signals
from reinduce.train.processes import (
    SINGLE_PROCESS,
    ProcessGroup,
    check_started_once,
    is_worker,
    join_process_group,
    launch,
    select_device,
)

log = logging.getLogger(__name__)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of one job."""
    parser.add_argument("arm", type=Path, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--source-checkpoint", type=Path, help="for a graft: the checkpoint whose layers are copied")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and tables go")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--processes", type=int, default=1, help="on each machine; on GPUs, one GPU each")
    parser.add_argument("--nodes", type=int, default=1, help="machines of a SLURM job")


def run_train(*jobs: argparse.Namespace) -> list[StageOutputs]:
    """Train; for each job write the log and the run's row.

    Several processes share one job's batches; of several jobs each process takes its own.

    Args:
        jobs: arguments of the jobs. Device, processes and nodes are those of the first.

    Returns:
        What each job read and wrote; empty for processes that did not write.

    Raises:
        ValueError: if the task's data do not fit the arm's model, or devices are missing.
        SystemExit: with status `preemption.EXIT_STATUS` if training was stopped and can be resumed.
    """
    device, processes, nodes = jobs[0].device, jobs[0].processes, jobs[0].nodes
    if processes * nodes > 1 and not is_worker():
        check_started_once(nodes)
        select_device(device, processes)
        if len(jobs) == 1:
            check_divisible(read_spec(ArmSpec, jobs[0].arm).train, processes * nodes)
        status = launch(sys.argv[1:], processes, nodes)
        if status:
            raise SystemExit(status)
        return []
    device = select_device(device, processes)
    group = join_process_group(processes * nodes, device)
    alone = len(jobs) > 1 or group.size == 1
    if not alone and group.rank > 0:
        # One process logs the progress that all share.
        logging.getLogger().setLevel(logging.WARNING)
    own = jobs[group.rank :: group.size] if len(jobs) > 1 else jobs
    steps = sum(read_spec(ArmSpec, job.arm).train.steps for job in own)
    made = []
    try:
        with handle_signals() as stop:
            for job in own:
                made.append(train_seed(job, steps, device, SINGLE_PROCESS if alone else group, stop))
    except Preempted as preempted:
        log.warning("%s; run again to go on from there", preempted)
        raise SystemExit(EXIT_STATUS) from None
    # Until all are done, each process keeps its `resume` folder: a failure of another would remove its results.
    group.barrier()
    if not alone and group.rank > 0:
        return []
    facts = {"processes": group.size, "nodes": nodes}
    return [dataclasses.replace(one, details=one.details | facts) for one in made]


def train_seed(
    job: argparse.Namespace, steps: int, device: str, group: ProcessGroup, stop: StopRequest
) -> StageOutputs:
    """Train one seed and write its tables.

    Args:
        job: the job's arguments.
        steps: training steps of all jobs of this process.
        device: cpu, or e.g. cuda:0.
        group: the processes that share the job.
        stop: true once training must stop.

    Returns:
        What the job read and wrote.

    Raises:
        ValueError: if the task's data or the graft's checkpoint do not fit the arm.
    """
    arm, task = read_spec(ArmSpec, job.arm), read_task(job.data / "task.json")
    for name, found in task.model_fields().items():
        wanted = getattr(arm.model, name)
        require(found == wanted, f"{job.arm}: the model's {name} is {wanted}, that of {job.data} is {found}")
    source = job.source_checkpoint
    require(
        (source is None) == (arm.graft is None),
        f"{job.arm}: --source-checkpoint is {source or 'missing'}, but the arm has {'a' if arm.graft else 'no'} graft",
    )
    stream = task.training_stream(job.data, job.seed)
    read = [job.data / "task.json", *(job.data / name for name in sorted(task.training_files))]
    read += [source] if source else []
    modules = modules_of_arm("train", arm, task, None)
    history = train(
        arm,
        job.seed,
        stream.batch,
        job.out,
        device,
        stream.vectors,
        source,
        choose_losses(arm, steps),
        group,
        stop,
        fingerprint(read, modules, device),
    )
    keys = {"study": arm.study, "arm": arm.arm, "seed": job.seed}
    kind = torch.device(device).type
    run = keys | {
        "task": arm.task,
        "config_digest": digest(arm),
        "parameters": sum(p.numel() for p in Transformer(arm.model).parameters()),
        "steps": arm.train.steps,
        "tokens": arm.train.steps * tokens_per_step(arm),
        "device": kind,
    }
    kept = arm.train.checkpoints.steps(arm.train.steps)
    outputs = [checkpoint_path(job.out / "checkpoints", step) for step in kept]
    if group.rank == 0:
        outputs.append(write_rows("train_log", log_rows(arm, keys, history), job.out / "train_log.parquet"))
        outputs.append(write_rows("runs", [run], job.out / "run.parquet"))
    device_name = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    return StageOutputs(
        manifest=job.out / "manifest.json",
        inputs=[job.arm, *read],
        outputs=outputs,
        details={"seeds": seed_names(arm, job.seed), "device": device_name, "threads": torch.get_num_threads()},
        scratch=job.out / "resume",
        modules=modules,
    )


def tokens_per_step(arm: ArmSpec) -> int:
    """Return the number of tokens whose losses make up a training step."""
    return arm.train.batch_size * (arm.model.n_ctx - 1)


def log_rows(arm: ArmSpec, keys: dict, history: dict[str, torch.Tensor]) -> Iterable[dict]:
    """Make the rows of `train_log`, one a step.

    Args:
        arm: the arm.
        keys: the run's study, arm and seed.
        history: name of a column → its value at each step.

    Returns:
        The rows.
    """
    columns = {name: values.tolist() for name, values in history.items()}
    return (
        keys
        | {"step": step, "tokens": step * tokens_per_step(arm), "learning_rate": learning_rate(arm.train, step)}
        | {name: values[step] for name, values in columns.items()}
        for step in range(arm.train.steps)
    )


def fingerprint(read: Iterable[Path], modules: Iterable[str], device: str) -> str:
    """Identify everything that a training's numbers depend on beside its arm.

    Args:
        read: the files that the training reads.
        modules: the modules of the arm's task and clamps.
        device: cpu, or e.g. cuda:0; its kind counts.

    Returns:
        A hash of the files, the sources, torch's version and the kind of device.
    """
    own = sources.digest("reinduce.train", *modules)
    parts = [*map(sha256, read), own, torch.__version__, torch.device(device).type]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

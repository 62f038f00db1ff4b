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
from reinduce.config.specs import ArmSpec, digest, read_spec, require
from reinduce.config.task_definition import read_task
from reinduce.model.checkpoint import checkpoint_path, seed_names
from reinduce.model.transformer import Transformer
from reinduce.tables import write_rows
from reinduce.trace import sources
from reinduce.trace.files import sha256
from reinduce.trace.manifest import StageOutputs
from reinduce.train.loop import check_shared, learning_rate, train
from reinduce.train.processes import Team, check_started_once, device_of, join, start, within
from reinduce.train.short import losses_for
from reinduce.train.stop import STATUS, Stop, Stopped, listening

log = logging.getLogger(__name__)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arm", type=Path, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--donor", type=Path, help="for a graft: the checkpoint it is taken from")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and tables go")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--processes", type=int, default=1, help="on each machine, with a GPU each if on GPUs")
    parser.add_argument("--nodes", type=int, default=1, help="how many machines of a SLURM job")


def run_train(*jobs: argparse.Namespace) -> list[StageOutputs]:
    """Train; for each job write the log and the run's row.

    Several processes share one job's batches; of several jobs each process takes its own.
    Raises ValueError if the task's data do not fit the arm's model, or devices are missing,
    and SystemExit with status `stop.STATUS` if it was told to stop and can go on later.
    """
    device, processes, nodes = jobs[0].device, jobs[0].processes, jobs[0].nodes
    if processes * nodes > 1 and not within():
        check_started_once(nodes)
        device_of(device, processes)
        if len(jobs) == 1:
            check_shared(read_spec(ArmSpec, jobs[0].arm).train, processes * nodes)
        status = start(sys.argv[1:], processes, nodes)
        if status:
            raise SystemExit(status)
        return []
    device = device_of(device, processes)
    team = join(processes * nodes, device)
    alone = len(jobs) > 1 or team.size == 1
    if not alone and team.rank > 0:
        # Progress is told once.
        logging.getLogger().setLevel(logging.WARNING)
    own = jobs[team.rank :: team.size] if len(jobs) > 1 else jobs
    steps = sum(read_spec(ArmSpec, job.arm).train.steps for job in own)
    made = []
    try:
        with listening() as stop:
            for job in own:
                made.append(train_seed(job, steps, device, Team() if alone else team, stop))
    except Stopped as stopped:
        log.warning("%s; run again to go on from there", stopped)
        raise SystemExit(STATUS) from None
    # What a failure of the others would take from this one lies in its `resume` until all are done.
    team.wait()
    if not alone and team.rank > 0:
        return []
    facts = {"processes": team.size, "nodes": nodes}
    return [dataclasses.replace(one, details=one.details | facts) for one in made]


def train_seed(job: argparse.Namespace, steps: int, device: str, team: Team, stop: Stop) -> StageOutputs:
    """Train one seed and write its tables; `steps`: of all that this process trains."""
    arm, task = read_spec(ArmSpec, job.arm), read_task(job.data / "task.json")
    for name, found in task.model_fields().items():
        wanted = getattr(arm.model, name)
        require(found == wanted, f"{job.arm}: the model's {name} is {wanted}, that of {job.data} is {found}")
    require(
        (job.donor is None) == (arm.graft is None),
        f"{job.arm}: --donor names {job.donor or 'no checkpoint'}, but the arm has {'a' if arm.graft else 'no'} graft",
    )
    stream = task.training_stream(job.data, job.seed)
    read = [job.data / "task.json", *(job.data / name for name in sorted(task.training_files))]
    read += [job.donor] if job.donor else []
    modules = modules_of_arm("train", arm, task, None)
    history = train(
        arm,
        job.seed,
        stream.batch,
        job.out,
        device,
        stream.vectors,
        job.donor,
        losses_for(arm, steps),
        team,
        stop,
        made_of(read, modules, device),
    )
    keys = {"study": arm.study, "arm": arm.arm, "seed": job.seed}
    kind = torch.device(device).type
    run = keys | {
        "task": arm.task,
        "config_digest": digest(arm),
        "parameters": sum(p.numel() for p in Transformer(arm.model).parameters()),
        "steps": arm.train.steps,
        "tokens": arm.train.steps * tokens_a_step(arm),
        "device": kind,
    }
    kept = arm.train.checkpoints.steps(arm.train.steps)
    outputs = [checkpoint_path(job.out / "checkpoints", step) for step in kept]
    if team.rank == 0:
        outputs.append(write_rows("train_log", log_rows(arm, keys, history), job.out / "train_log.parquet"))
        outputs.append(write_rows("runs", [run], job.out / "run.parquet"))
    named = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    return StageOutputs(
        manifest=job.out / "manifest.json",
        inputs=[job.arm, *read],
        outputs=outputs,
        details={"seeds": seed_names(arm, job.seed), "device": named, "threads": torch.get_num_threads()},
        scratch=job.out / "resume",
        modules=modules,
    )


def tokens_a_step(arm: ArmSpec) -> int:
    """Tokens whose losses a step is made of."""
    return arm.train.batch * (arm.model.context - 1)


def log_rows(arm: ArmSpec, keys: dict, history: dict[str, torch.Tensor]) -> Iterable[dict]:
    """Rows of `train_log`, one a step."""
    columns = {name: values.tolist() for name, values in history.items()}
    return (
        keys
        | {"step": step, "tokens": step * tokens_a_step(arm), "learning_rate": learning_rate(arm.train, step)}
        | {name: values[step] for name, values in columns.items()}
        for step in range(arm.train.steps)
    )


def made_of(read: Iterable[Path], modules: Iterable[str], device: str) -> str:
    """Names all that a training's numbers depend on beside its arm: data, sources, torch, and the kind of device."""
    parts = [
        *map(sha256, read),
        sources.digest("reinduce.train", *modules),
        torch.__version__,
        torch.device(device).type,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

"""Which runs share a job, and which resources jobs request."""

import pytest

from reinduce.cluster import jobs
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, GraftSpec, ModelSpec, TrainSpec
from reinduce.config.load import load
from reinduce.config.resolved import Run
from reinduce.config.user_config import Cluster

LONG = {"d_model": 256, "steps": 1000}


def run(name="paper/a", seeds=3, graft=None, d_model=16, steps=10, grad_accum_steps=1) -> Run:
    study, arm = name.split("/")
    model = ModelSpec(n_layers=1, d_model=d_model, n_heads=1, vocab_size=50, n_ctx=64)
    train = TrainSpec(
        steps=steps,
        batch_size=16,
        learning_rate=1e-3,
        grad_accum_steps=grad_accum_steps,
        checkpoints=CheckpointSpec(every={0: 5}),
    )
    return Run(ArmSpec(study=study, arm=arm, task="t", model=model, train=train, graft=graft), range(seeds), None, None)


def grouped(cluster=None, **runs: dict) -> list[tuple]:
    """Return (name, arms, whether a job runs all seeds) of every group; arms are named a, b, … or other__a."""
    named = {f"{name.replace('__', '/')}" if "__" in name else f"paper/{name}": spec for name, spec in runs.items()}
    groups = jobs.group_jobs({name: run(name, **spec) for name, spec in named.items()}, cluster or Cluster())
    return [(group.name, [arm.split("/")[1] for arm in group.runs], group.all_seeds) for group in groups]


def test_short_arms_of_a_study_share_a_job_as_long_as_the_job_stays_short():
    few = {"seeds": 8}
    assert grouped(a=few, b=few, c=few, other__a=few, d=few) == [
        ("paper/short1", ["a", "b", "c"], True),
        ("other/a", ["a"], True),
        ("paper/d", ["d"], True),
    ]


def test_long_arms_have_a_job_for_each_seed():
    assert grouped(a={}, b=LONG, c={}) == [("paper/short1", ["a", "c"], True), ("paper/b", ["b"], False)]


def test_a_grafted_arm_shares_no_job_with_the_arm_of_its_graft():
    grafted = {"graft": GraftSpec(arm="a", layer=0)}
    assert [arms for _, arms, _ in grouped(a={}, b=grafted, c=grafted, d={})] == [["a", "d"], ["b", "c"]]


@pytest.mark.parametrize(
    ("spec", "cluster", "all_seeds", "processes", "nodes"),
    [
        (LONG, {}, False, 1, 1),
        (LONG, {"max_gpus_per_node": 4}, True, 3, 1),
        (LONG, {"max_gpus_per_node": 2, "max_nodes": 2}, True, 2, 1),
        ({}, {"max_gpus_per_node": 4}, True, 1, 1),
        (LONG | {"grad_accum_steps": 8}, {}, False, 1, 1),
        (LONG | {"grad_accum_steps": 8}, {"max_gpus_per_node": 4}, False, 4, 1),
        (LONG | {"grad_accum_steps": 8}, {"max_gpus_per_node": 3}, False, 2, 1),
        (LONG | {"grad_accum_steps": 8}, {"max_gpus_per_node": 4, "max_nodes": 4}, False, 4, 2),
        (LONG | {"grad_accum_steps": 2}, {"max_gpus_per_node": 4, "max_nodes": 4}, False, 2, 1),
        ({"grad_accum_steps": 2}, {"max_gpus_per_node": 1, "max_nodes": 2}, False, 1, 2),
    ],
)
def test_gpus_share_each_batch_that_has_parts_and_train_separate_seeds_otherwise(
    spec, cluster, all_seeds, processes, nodes
):
    [group] = jobs.group_jobs({"paper/a": run(**spec)}, Cluster(**cluster))
    assert group.all_seeds == all_seeds
    assert jobs.count_processes(group, Cluster(**cluster)) == processes
    assert jobs.count_nodes(group, Cluster(**cluster)) == nodes


def requested(spec=LONG, attempt=1, **cluster) -> dict:
    """Return the resources that a training job requests at an attempt."""
    [group] = jobs.group_jobs({"paper/a": run(**spec)}, Cluster(**cluster))
    resources = jobs.estimate_training_resources(group, Cluster(**cluster))
    return {name: value(None, attempt=attempt) if callable(value) else value for name, value in resources.items()}


def test_gpu_jobs_request_gpus_and_never_tasks():
    request = requested(
        device="gpu", max_gpus_per_node=2, gpu_type="a100", account="us", partition="cpu", gpu_partition="fast"
    )
    assert (request["gpu"], request["gpu_model"], request["processes"]) == (2, "a100", 2)
    assert (request["slurm_account"], request["slurm_partition"]) == ("us", "fast")
    assert not {"tasks", "mpi", "slurm_extra", "gres"} & set(request)
    assert not {"gpu", "gpu_model", "slurm_account"} & set(requested(device="cpu", gpu_type="a100"))


def test_each_of_several_machines_has_one_task():
    request = requested(LONG | {"grad_accum_steps": 8}, device="gpu", max_gpus_per_node=4, max_nodes=2, gpu_type="a100")
    assert (request["nodes"], request["tasks"], request["mpi"]) == (2, 2, "srun")
    assert request["slurm_extra"] == "--gpus-per-node=a100:4 --ntasks-per-node=1"
    assert "gpu" not in request and "gpu_model" not in request


def test_each_attempt_has_twice_the_memory_and_time_up_to_the_limit():
    first, second, third = (requested(attempt=attempt, max_hours=1.0) for attempt in (1, 2, 3))
    assert second["mem_mb"] == 2 * first["mem_mb"] and third["mem_mb"] == 4 * first["mem_mb"]
    assert second["runtime"] == min(60, 2 * first["runtime"]) and requested(attempt=9, max_hours=1.0)["runtime"] == 60


def test_larger_arms_request_more():
    small, wide, longer = requested(), requested(LONG | {"d_model": 1024}), requested(LONG | {"steps": 100_000})
    assert wide["mem_mb"] > small["mem_mb"] and wide["runtime"] > small["runtime"]
    assert longer["mem_mb"] == small["mem_mb"] and longer["runtime"] > small["runtime"]
    assert requested(time_multiplier=3.0)["runtime"] == pytest.approx(3 * small["runtime"], abs=2)


def test_the_cluster_scale_requests_gpus_and_config_yaml_overrides_it():
    assert load({"scale": "cluster"}).cluster == Cluster(device="gpu", max_gpus_per_node=4)
    given = load({"scale": "cluster", "cluster": {"max_gpus_per_node": 8, "account": "us"}}).cluster
    assert given == Cluster(device="gpu", max_gpus_per_node=8, account="us")

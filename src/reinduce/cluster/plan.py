"""What each rule of the workflow reads, writes and runs, computed from the resolved configuration.

The files in workflow/rules give Snakemake what this module computes. It does not import Snakemake, so that every part
can be tested alone. Paths come from `reinduce.config.layout`, job groups and resources from `reinduce.cluster.jobs`.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from reinduce.cluster.jobs import JobGroup, estimate_training_resources, group_jobs, resources_for
from reinduce.cluster.planned_rule import PlannedRule, name_rule
from reinduce.cluster.stage_files import STAGE_SPECS, STAGE_TABLE, list_arguments, list_outputs
from reinduce.commands import JOB_SEPARATOR, stage_module
from reinduce.config import layout
from reinduce.config.arm_contents import modules_of_arm
from reinduce.config.job_specs import ArmSpec
from reinduce.config.resolved import Resolved, Run
from reinduce.config.task_definition import TaskDefinition
from reinduce.trace.sources import study_modules, transitive_sources


def package_versions(task: TaskDefinition) -> dict[str, str]:
    """Return the versions of installed packages that determine the data of a task.

    Args:
        task: the task.

    Returns:
        Package → version, for the packages that the task names.
    """
    return {name: metadata.version(name) for name in task.packages() if list(metadata.Distribution.discover(name=name))}


@dataclass(frozen=True)
class Plan:
    """The rules, files and commands of the workflow for one resolved configuration."""

    resolved: Resolved

    @cached_property
    def results(self) -> str:
        """The folder of all results."""
        return self.resolved.results.as_posix()

    @cached_property
    def groups(self) -> list[JobGroup]:
        """The groups of runs that share jobs."""
        return group_jobs(self.resolved.runs, self.resolved.cluster)

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        """The study and name of every figure."""
        return [(study, figure) for study, content in self.resolved.studies.items() for figure in content.figures]

    def log_file(self, stage: str, name: str) -> str:
        """Return the path of the log of a stage's job."""
        return f"{self.results}/logs/{stage}/{name}.log"

    def benchmark_file(self, stage: str, name: str) -> str:
        """Return the path of the file with the time and memory of a stage's job."""
        return f"{self.results}/benchmarks/{stage}/{name}.tsv"

    def shell_command(self, command: str, arguments: str) -> str:
        """Return the shell command of a rule.

        Args:
            command: a command of `reinduce`.
            arguments: its arguments, as a template that Snakemake fills in.

        Returns:
            A template with the arguments that every command takes (the rule, its wildcards, the log, further folders
            of studies) and these ones. The common arguments come first, because a command may have several jobs, and
            they belong to the first.
        """
        folders = shlex.join(self.resolved.study_folders).replace("{", "{{").replace("}", "}}")
        studies = f" --studies {folders}" if folders else ""
        return f"reinduce {command} --rule {{params.rule:q}} {{wildcards}}{studies} --log {{log:q}} {arguments}"

    def resources(self, megabytes: float, minutes: float) -> dict:
        """Return the resources of a job on one core: memory and time at its first attempt, then twice as much."""
        return resources_for(self.resolved.cluster, megabytes, minutes)

    def stage_sources(self, command: str, group: JobGroup | None = None) -> list[Path]:
        """List the source files whose edits make the results of a command out of date.

        Args:
            command: a command of `reinduce`.
            group: the runs that the command is applied to, if it is applied to a job group.

        Returns:
            The modules that the command imports, those that declare the arms' tasks, metrics and interventions, and
            the templates in the command's folder.
        """
        module = stage_module(command)
        runs = group.runs.values() if group else ()
        declaring = [name for run in runs for name in modules_of_arm(command, run.arm, run.task, run.settings)]
        templates = sorted(Path("src", *module.split("."), "templates").glob("*"))
        return [*transitive_sources(module, *dict.fromkeys(declaring)), *templates]

    def data_rules(self) -> list[PlannedRule]:
        """Plan one rule for each task: the rule that makes its data."""
        return [self._plan_data(task) for task in self.resolved.tasks]

    def group_rules(self, stage: str) -> list[PlannedRule]:
        """Plan the rules of a stage, one for each job group that has arms for it.

        Args:
            stage: train, score, ablate or attribute.
        """
        table = STAGE_TABLE.get(stage)
        groups = [
            group if table is None else group.select_runs(lambda run: run.unavailable_reason(table) is None)
            for group in self.groups
        ]
        return [self._plan_group(stage, group) for group in groups if group is not None]

    def series_rules(self) -> list[PlannedRule]:
        """Plan one rule for each study, task and look: the runs that the look adds are compared with each other."""
        runs: dict[tuple[str, str, int], list[tuple[Run, Path]]] = {}
        for name, run in self.resolved.runs.items():
            if run.unavailable_reason("loss_components") is None:
                for look, seeds in enumerate(run.blocks, start=1):
                    found = runs.setdefault((run.arm.study, run.arm.task_name, look), [])
                    found += [(run, folder) for folder in layout.seed_folders(self.results, name, seeds)]
        return [self._plan_series(*which, found) for which, found in runs.items()]

    def figure_rules(self) -> list[PlannedRule]:
        """Plan one rule for each figure."""
        return [self._plan_figure(study, figure) for study, figure in self.figures]

    def list_score_files(self) -> list[Path]:
        """List the scores of every checkpoint of every run."""
        return [
            file
            for name, run in self.resolved.runs.items()
            for folder in layout.seed_folders(self.results, name, run.seeds)
            for file in layout.score_files(folder, run.arm)
        ]

    def list_evidence(self, study: str, claim: str, look: int) -> list[Path]:
        """List the files that a claim and its control read at a look.

        Raises:
            ValueError: if there is no such claim, or no such look at it.
        """
        content = self._find_claim(f"{study}.{claim}")
        if not 1 <= look <= len(content["looks"]):
            raise ValueError(f"{study}.{claim} has {len(content['looks'])} looks, not {look}")
        return layout.evidence_files(
            self.results, content, look, {key: run.arm for key, run in self.resolved.runs.items()}
        )

    def list_looks(self, study: str, claim: str, find: Callable[[int], str]) -> list[str]:
        """List the files of the looks at a claim: as many as it takes until more seeds can change nothing.

        Args:
            study: the claim's study.
            claim: its name.
            find: returns the file of a look that may be followed by another once it was taken.

        Raises:
            ValueError: if there is no such claim.
        """
        name = f"{study}.{claim}"
        last = len(self._find_claim(name)["looks"])
        files: list[str] = []
        for look in range(1, last):
            files.append(find(look))
            if not json.loads(Path(files[-1]).read_text())["is_open"]:
                return files
        return [*files, layout.look_file(self.results, name, last).as_posix()]

    def _find_claim(self, name: str) -> Mapping[str, Any]:
        if name not in self.resolved.claims:
            raise ValueError(f"no claim {name}; there are: {', '.join(self.resolved.claims)}")
        return self.resolved.claims[name]

    def list_data_files(self, tasks: Iterable[str]) -> list[Path]:
        """List the files of the data of tasks, each once."""
        files = (layout.data_files(self.results, task, self.resolved.tasks[task]) for task in tasks)
        return list(dict.fromkeys(file for each in files for file in each))

    def list_source_checkpoints(self, group: JobGroup, seed: int) -> list[Path]:
        """List the checkpoints from which runs of a job take their graft.

        Args:
            group: the runs that share the job.
            seed: the seed of the job, if each seed has its own job.
        """
        runs = [(run.arm, each) for run, each in group.iterate_seeds(seed) if run.arm.graft is not None]
        return [self._find_source_checkpoint(arm, each) for arm, each in runs]

    def format_jobs(self, stage: str, group: JobGroup, seed: int) -> list[str]:
        """List the arguments with which a stage's command is called for a job.

        Args:
            stage: train, score, ablate or attribute.
            group: the runs that share the job.
            seed: the seed of the job, if each seed has its own job.

        Returns:
            The arguments of each arm and seed, with a separator between them.
        """
        arguments: list[str] = []
        for run, each in group.iterate_seeds(seed):
            source = self._find_source_checkpoint(run.arm, each) if run.arm.graft else None
            arguments += [JOB_SEPARATOR, *map(str, list_arguments(stage, self.results, run.arm, each, source))]
        return arguments[1:]

    def _plan_data(self, task: str) -> PlannedRule:
        definition = self.resolved.tasks[task]
        return PlannedRule(
            name=name_rule("data", task),
            label=task,
            inputs={
                "task": f"{self.results}/data/{task}/task.json",
                "user_files": definition.user_files(),
                "sources": [*transitive_sources(stage_module("data"), definition.module)],
            },
            outputs=self.list_data_files([task]),
            log=self.log_file("data", task),
            benchmark=self.benchmark_file("data", task),
            params={
                "rule": name_rule("data", task),
                "out": lambda wildcards, output: Path(output[0]).parent.as_posix(),
                # The command does not read this: with other versions Snakemake makes the data again.
                "versions": package_versions(definition),
            },
        )

    def _plan_group(self, stage: str, group: JobGroup) -> PlannedRule:
        return PlannedRule(
            name=name_rule(stage, group.name),
            label=group.job_name("{wildcards.seed}"),
            inputs=self._list_inputs(stage, group),
            outputs=self._list_files(group, lambda folder, run: list_outputs(stage, folder, run)),
            log=self.log_file(stage, group.job_name()),
            benchmark=self.benchmark_file(stage, group.job_name()),
            params={
                "rule": name_rule(stage, group.name),
                "jobs": lambda wildcards: self.format_jobs(stage, group, int(wildcards.get("seed", 0))),
            },
            resources=estimate_training_resources(group, self.resolved.cluster) if stage == "train" else {},
            core_seconds=group.core_seconds,
        )

    def _plan_series(self, study: str, task: str, look: int, runs: list[tuple[Run, Path]]) -> PlannedRule:
        name = f"{study}.{task}.look{look}"
        tables = ("token_losses", "trajectories")
        scores = [file for run, folder in runs for t in tables for file in layout.run_table_files(t, folder, run.arm)]
        outputs = [
            file
            for run, folder in runs
            for table in layout.SERIES_TABLES
            for file in layout.run_table_files(table, folder, run.arm)
        ]
        return PlannedRule(
            name=name_rule("series", name),
            label=name,
            inputs={"scores": scores, "sources": self.stage_sources("series")},
            outputs=outputs,
            log=self.log_file("series", name),
            benchmark=self.benchmark_file("series", name),
            params={
                "rule": name_rule("series", name),
                "options": [
                    *("--look", look),
                    *("--out", layout.series_folder(Path(self.results, study), task).as_posix()),
                    *("--runs", *(f"{folder.as_posix()}/score" for _, folder in runs)),
                ],
            },
        )

    def _plan_figure(self, study: str, figure: str) -> PlannedRule:
        name, content = f"{study}.{figure}", self.resolved.studies[study].figures[figure]
        notebook = f"{self.resolved.folders[study]}/figures/{figure}.py"
        arms = content.reads or {study: list(self.resolved.studies[study].arms)}
        names, tables = [f"{key}/{arm}" for key in arms for arm in arms[key]], list(content.tables)
        runs = {key: (self.resolved.runs[key].arm, self.resolved.runs[key].seeds) for key in names}
        return PlannedRule(
            name=name_rule("figure", name),
            label=name,
            inputs={
                "tables": layout.drawn_files(self.results, tables, runs),
                "notebook": notebook,
                "sources": [*self.stage_sources("figure"), *transitive_sources(*study_modules(Path(notebook)))],
            },
            outputs=[Path(self.results, "figures", f"{name}.{ending}") for ending in ("ipynb", "html")],
            log=self.log_file("figure", name),
            benchmark=self.benchmark_file("figure", name),
            params={
                "rule": name_rule("figure", name),
                "options": lambda wildcards, output: [
                    # The folder of results is two above a figure, which is figures/<name>.html.
                    *("--results", Path(output[0]).parents[1].as_posix()),
                    *("--study", study),
                    *("--scale", self.resolved.config.scale),
                    *("--reads", *names),
                    *("--tables", *tables),
                ],
            },
            report_entry={
                "caption": str(Path(self.resolved.folders[study], "figures", f"{figure}.rst").resolve()),
                "category": content.category,
                "labels": {"study": study, "figure": content.title},
            },
        )

    def _list_files(self, group: JobGroup, find: Callable[[Path, Run], list[Path]]) -> list[Path]:
        """List the files that `find` gives for the folder and the run of each seed of a job."""
        return [file for run, folder in group.list_run_folders(self.results) for file in find(folder, run)]

    def _list_inputs(self, stage: str, group: JobGroup) -> dict[str, object]:
        inputs: dict[str, object] = {
            "specs": [f"{self.results}/{name}/{spec}.json" for name in group.runs for spec in STAGE_SPECS[stage]],
            "data": self.list_data_files(run.arm.task for run in group.runs.values()),
            "sources": self.stage_sources(stage, group),
        }
        if stage != "train":
            inputs["checkpoints"] = self._list_files(
                group, lambda folder, run: layout.checkpoint_files(folder, run.arm)
            )
        elif any(run.arm.graft for run in group.runs.values()):
            inputs["grafts"] = lambda wildcards: self.list_source_checkpoints(group, int(wildcards.get("seed", 0)))
        if stage == "ablate":
            # The scores of the last checkpoint select heads, the trajectories give the window of the phase change.
            inputs["scores"] = self._list_files(group, lambda folder, run: layout.score_files(folder, run.arm)[-1:])
            inputs["windows"] = self._list_files(group, lambda folder, run: [folder / "score/trajectories.parquet"])
        return inputs

    def _find_source_checkpoint(self, arm: ArmSpec, seed: int) -> Path:
        source = self.resolved.runs[f"{arm.study}/{arm.graft.arm}"]
        # Seeds of one look only, so that a later look changes no seed's graft.
        block = next((seeds for seeds in source.blocks if seed in seeds), source.seeds)
        return layout.source_checkpoint_file(self.results, arm, seed, source.arm, block)

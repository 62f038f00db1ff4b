"""The commands of the command line: the module of each, and what a command line of several jobs looks like."""

# Command → (its module, what it does). A module is imported only if its command is called, so that a machine with
# nothing but torch and pyarrow can train, and judging needs no torch.
COMMANDS = {
    "check": ("reinduce.cluster.resolve", "check the whole configuration and print which runs it asks for"),
    "schemas": ("reinduce.config.command", "write the schemas of the configuration files"),
    "register": (
        "reinduce.config.command",
        "register claims that are new or were amended, before their seeds are judged",
    ),
    "docs": ("reinduce.config.pages", "write the pages of metrics and terms from the declarations"),
    "data": ("reinduce.data.command", "make a task's data and frozen evaluation sets"),
    "train": ("reinduce.train.command", "train seeds of an arm"),
    "score": ("reinduce.score.command", "score every checkpoint of an arm's runs"),
    "series": ("reinduce.score.series", "components of all runs' per-token losses"),
    "ablate": ("reinduce.ablate.command", "ablate the heads of a run"),
    "attribute": ("reinduce.attribute.command", "attribute logits to the heads of a run"),
    "look": ("reinduce.judge.command", "judge one claim by the seeds of a look"),
    "judge": ("reinduce.judge.command", "write one claim's verdict from the looks at it"),
    "ledger": ("reinduce.judge.command", "join all verdicts in one table"),
    "figure": ("reinduce.report.command", "execute one figure's notebook"),
    "index": ("reinduce.report.command", "write the report's front page"),
    "show": ("reinduce.report.command", "print the ledger"),
    "trace": ("reinduce.replay.trace_command", "show where a claim's number comes from"),
    "replay": ("reinduce.replay.command", "run the workflow again in another folder and compare"),
    "crate": ("reinduce.replay.crate", "export a run as a Workflow Run RO-Crate"),
    "compare": ("reinduce.replay.command", "compare results with other results or with the reference"),
    "reference": ("reinduce.replay.command", "write the reference with which other runs are compared"),
}

JOB_SEPARATOR = "+"
"""Separates the jobs of one command that share a process, because starting a process takes longer than a short job."""


def stage_module(command: str) -> str:
    """Name the module whose imports determine the results of a command.

    Returns:
        The package of the command's module, if no other command has a module in it; otherwise the module.
    """
    module, _ = COMMANDS[command]
    package = module.rpartition(".")[0]
    others = {other for other, _ in COMMANDS.values() if other.rpartition(".")[0] == package}
    return package if others == {module} else module

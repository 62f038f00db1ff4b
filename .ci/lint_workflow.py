"""Run `snakemake --lint` without its check that every rule names a conda environment or a container.

All rules call this project's own command, which is installed with the sources in the environment that Snakemake
itself runs in (envs/lock.txt). An environment for each rule would lack that command; docs/log.md has the details.
"""

from snakemake.cli import main
from snakemake.linting.rules import RuleLinter

del RuleLinter.lint_missing_software_definition
main(["--lint"])

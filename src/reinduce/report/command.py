"""The report's commands: `figure`, `index` and `show`."""

import argparse
from pathlib import Path

from reinduce.report import ledger
from reinduce.trace.chain import Chain, refusal_file
from reinduce.trace.files import write_text
from reinduce.trace.manifest import StageOutputs
from reinduce.trace.sources import study_modules
from reinduce.trace.tree import build_tree, format_tree


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce figure`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("source", metavar="SOURCE.py", type=Path, help="the figure's script in percent format")
    parser.add_argument("--results", required=True, type=Path, help="folder of results")
    parser.add_argument("--study", required=True, help="study whose runs are plotted")
    parser.add_argument("--scale", required=True, help="scale of the runs")
    parser.add_argument("--reads", required=True, nargs="+", help="arms that are plotted, as study/arm")
    parser.add_argument("--tables", required=True, nargs="+", help="tables that are plotted")
    parser.add_argument("--out-ipynb", required=True, type=Path, help="executed notebook to write")
    parser.add_argument("--out-html", required=True, type=Path, help="page to write")


def run_figure(args: argparse.Namespace) -> StageOutputs:
    """Execute one figure's notebook and write it with its page.

    Args:
        args: Those of `add_figure_arguments`.

    Returns:
        Files read and written.

    Raises:
        FileNotFoundError: The script does not exist.
        ValueError: A cell fails; the notebook up to there is kept beside the log, or beside the output without a log.
    """
    from reinduce.report import notebooks, read

    beside = args.log if getattr(args, "log", None) else args.out_ipynb
    executed = Path(beside).with_suffix(".failed.ipynb")
    parameters = {"results": args.results.as_posix(), "study": args.study, "scale": args.scale}
    notebooks.make_figure(args.source, parameters, executed, args.out_ipynb, args.out_html)
    return StageOutputs(
        manifest=args.out_ipynb.with_suffix(".manifest.json"),
        inputs=[args.source, *read.list_figure_inputs(args.results, args.reads, args.tables)],
        outputs=[args.out_ipynb, args.out_html],
        details={"parameters": parameters},
        modules=study_modules(args.source),
    )


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce index`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("ledger", metavar="LEDGER_JSON", type=Path, help="the ledger of all claims")
    parser.add_argument("--figures", nargs="*", default=[], type=Path, help="figure pages to link")
    parser.add_argument("--out", required=True, type=Path, help="front page to write")


def run_index(args: argparse.Namespace) -> StageOutputs:
    """Write the report's front page, and the page of seeds beside it.

    Args:
        args: Those of `add_index_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: The ledger is malformed.
        Refused: The ledger, a figure or what they were made from cannot be trusted.
    """
    from reinduce.report import index, seeds

    folder = args.out.parent
    chain, content = Chain(folder), ledger.read_ledger(args.ledger)
    chain.verify([str(args.ledger), *map(str, args.figures)])
    names = [f"{row['study']}.{row['claim']}" for row in content["claims"]]
    trees = {name: build_tree(chain, [(folder / "claims" / f"{name}.json").as_posix()])[0] for name in names}
    traces = {name: "\n".join(format_tree(tree)) for name, tree in trees.items()}
    write_text(args.out, index.render_index(content, args.figures, folder, traces))
    page = write_text(folder / "seeds.html", seeds.render_seeds(content))
    return StageOutputs(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.ledger, *args.figures],
        outputs=[args.out, page],
    )


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce show`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("--results", type=Path, help="folder of results (default: that of the configuration)")
    parser.add_argument("--strict", action="store_true", help="also refuse results of uncommitted sources")


def run_show(args: argparse.Namespace) -> None:
    """Print the ledger as a table, and the path of the report.

    Args:
        args: Those of `add_show_arguments`.

    Raises:
        ValueError: There are no results, or the ledger is malformed.
        Refused: Settings, sources or data have changed since the ledger was made; the ledger is printed first.
    """
    from reinduce.config.load import as_given
    from reinduce.config.resolved import settings

    resolved, cli_overrides = as_given(args.results)
    results = resolved.results
    print(format_results(results))
    chain = Chain(results, settings=settings(resolved), cli_overrides=cli_overrides, strict=args.strict)
    # The front page is made from the ledger and from every figure, so verifying it verifies all of them.
    chain.verify([(results / "index.html").as_posix()])


def format_results(results: Path) -> str:
    """Format the ledger, the path of the report, and a warning if the ledger is outdated.

    Args:
        results: Folder of results.

    Returns:
        Lines of text.

    Raises:
        FileNotFoundError: There is no ledger.
        ValueError: The ledger is malformed.
    """
    text = ledger.format_ledger(ledger.read_ledger(results / "ledger.json"), results / "index.html")
    refusal = refusal_file(results)
    warning = f"\nTHIS LEDGER IS OUTDATED: it could not be made again because evidence was refused, see {refusal}"
    return text + (warning if refusal.is_file() else "")

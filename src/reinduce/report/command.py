"""The report's commands: `figure`, `index` and `show`."""

import argparse
from pathlib import Path

from reinduce.report import ledger
from reinduce.trace.chain import Chain, refusal_mark
from reinduce.trace.files import write_text
from reinduce.trace.manifest import Made
from reinduce.trace.tree import as_lines, grown


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE.py", type=Path, help="the figure's percent script")
    parser.add_argument("--results", required=True, type=Path, help="folder of results")
    parser.add_argument("--study", required=True, help="study whose runs are drawn")
    parser.add_argument("--scale", required=True, help="scale the runs were made at")
    parser.add_argument("--reads", required=True, nargs="+", help="arms that are drawn, as study/arm")
    parser.add_argument("--tables", required=True, nargs="+", help="tables that are drawn")
    parser.add_argument("--out-ipynb", required=True, type=Path, help="executed notebook to write")
    parser.add_argument("--out-html", required=True, type=Path, help="page to write")


def run_figure(args: argparse.Namespace) -> Made:
    """Execute one figure's notebook; a failed one is kept beside the log (without a log: beside the output)."""
    from reinduce.report import notebooks, read

    beside = args.log if getattr(args, "log", None) else args.out_ipynb
    executed = Path(beside).with_suffix(".failed.ipynb")
    parameters = {"results": args.results.as_posix(), "study": args.study, "scale": args.scale}
    notebooks.make(args.source, parameters, executed, args.out_ipynb, args.out_html)
    return Made(
        manifest=args.out_ipynb.with_suffix(".manifest.json"),
        inputs=[args.source, *read.inputs(args.results, args.reads, args.tables)],
        outputs=[args.out_ipynb, args.out_html],
        details={"parameters": parameters},
    )


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ledger", metavar="LEDGER_JSON", type=Path, help="the ledger of all claims")
    parser.add_argument("--figures", nargs="*", default=[], type=Path, help="figure pages to link")
    parser.add_argument("--out", required=True, type=Path, help="front page to write")


def run_index(args: argparse.Namespace) -> Made:
    """Write the report's front page.

    Raises Refused if the ledger, a figure or what they rest on cannot be trusted.
    """
    from reinduce.report import index

    chain, told = Chain(args.out.parent), ledger.read(args.ledger)
    chain.refuse([str(args.ledger), *map(str, args.figures)])
    verdicts = {
        f"{row['study']}.{row['claim']}": (
            args.out.parent / "claims" / f"{row['study']}.{row['claim']}.json"
        ).as_posix()
        for row in told["claims"]
    }
    traces = {name: "\n".join(as_lines(grown(chain, [file])[0])) for name, file in verdicts.items()}
    write_text(args.out, index.page(told, args.figures, args.out.parent, traces))
    return Made(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.ledger, *args.figures],
        outputs=[args.out],
    )


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, help="folder of results; without it, where the configuration says")
    parser.add_argument("--strict", action="store_true", help="refuse what uncommitted sources made, too")


def run_show(args: argparse.Namespace) -> None:
    """Print the ledger as a table, and where the report lies.

    Raises Refused, after printing, if the ledger is not what settings, sources and data now give.
    """
    from reinduce.config.load import as_given
    from reinduce.config.resolved import settings

    resolved, given = as_given(args.results)
    results = resolved.results
    print(ledger_of(results))
    chain = Chain(results, settings=settings(resolved), given=given, strict=args.strict)
    # The page rests on the ledger and on every figure.
    chain.refuse([(results / "index.html").as_posix()])


def ledger_of(results: Path) -> str:
    """The ledger as a table, where the report lies, and whether a later one was refused."""
    told = ledger.as_table(ledger.read(results / "ledger.json"), results / "index.html")
    mark = refusal_mark(results)
    return told + (f"\nTHIS LEDGER IS OLD: making it again was refused, see {mark}" if mark.is_file() else "")

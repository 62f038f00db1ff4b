"""What context is worth, by swapping it: measures of models on the `topics` task.

The model reads a document with the first part of its context taken from another document,
and predicts the same late tokens after the same few local ones. What the true context
saved, in nats a token, is what the model took from it. A donor that follows another
bigram table takes away phrases and table alike, one of the same table the phrases alone.

The plain in-context score misleads here: tokens that copying cannot reach get easier
along a document for other reasons too, and copyable ones get rarer surprises.

Shape suffixes: B document, T token, T1 predicted token, K table, S successor, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from reinduce.config.specs import IndexPair
from reinduce.model.transformer import Transformer, token_losses
from reinduce.task import read_task
from reinduce.task.topics import successor_tables

LOCAL = 8
"""True tokens kept between a swapped context and the first token whose loss is compared."""
ROWS = 64


@dataclass(frozen=True)
class Contexts:
    """The held-out documents' tables, segments and donors."""

    tables_KVS: Tensor
    """Every table's successors."""
    table: Tensor
    """The table of each document [B]."""
    is_phrase: Tensor
    """Whether a token stands in a private phrase [B T]."""
    offset: Tensor
    """A token's place in its phrase or run [B T]."""
    donors: dict[str, Tensor]
    """Name of a kind of donor → documents [B T]."""


def read_contexts(folder: Path) -> Contexts | None:
    """What a task's data folder says of contexts; None for a task without them."""
    path = folder / "contexts.parquet"
    if not path.is_file():
        return None
    columns = pq.read_table(path).to_pydict()
    made = {name: torch.tensor(values) for name, values in columns.items() if name != "example"}
    return Contexts(
        successor_tables(read_task(folder / "task.json").spec),
        made["table"],
        made["is_phrase"],
        made["offset"].long(),
        {name: made[name].long() for name in ("same_table", "other_table")},
    )


@torch.no_grad()
def context_scores(
    model: Transformer, tokens_BT: Tensor, losses_BT1: Tensor, contexts: Contexts, pair: IndexPair
) -> dict[str, tuple[float, int]]:
    """Name of a measure → its value and the number of tokens it is a mean of.

    `swap_<class>:<donor>`: loss with the true context minus loss with the donor's, at the
    late indices; negative: the true context helps. Classes: `copied`, continuations of a
    phrase whose bigram stands in the swapped part and not in the local one; `inferred`,
    continuations of a run whose bigram has not been seen at all.
    `table_advantage_early`, `_late`: how much likelier, in nats, the model finds the
    document's own table's successors than another table's, at inferred tokens whose
    predecessor is new.
    """
    low, high = pair.late
    cut = low - LOCAL
    classes = {name: mask[:, low - 1 : high] for name, mask in token_classes(tokens_BT, contexts, cut).items()}
    made = {}
    for donor, other_BT in contexts.donors.items():
        swapped_BT = torch.cat((other_BT[:, :cut], tokens_BT[:, cut:]), dim=1)
        swapped = torch.cat([token_losses(model(part)[0], part) for part in swapped_BT.split(ROWS)])
        change = (losses_BT1 - swapped)[:, low - 1 : high].double()
        for name, member in classes.items():
            made[f"swap_{name}:{donor}"] = change[member].mean().item(), int(member.sum())
    windows = (pair.early, pair.late)
    advantages = table_advantages(model, tokens_BT, contexts, windows, cut)
    return made | {f"table_advantage_{name}": found for name, found in zip(("early", "late"), advantages, strict=True)}


def token_classes(tokens_BT: Tensor, contexts: Contexts, cut: int) -> dict[str, Tensor]:
    """Which predicted tokens are copied and which inferred [B T-1] each (see `context_scores`)."""
    same_bigram = _same_bigram(tokens_BT)
    continues = contexts.offset > 0
    before_cut = same_bigram[:, :, :cut].any(dim=2)
    after_cut = same_bigram[:, :, cut:].any(dim=2)
    return {
        "copied": (contexts.is_phrase & continues & before_cut & ~after_cut)[:, 1:],
        "inferred": (~contexts.is_phrase & continues & ~before_cut & ~after_cut)[:, 1:],
    }


def _same_bigram(tokens_BT: Tensor) -> Tensor:
    """Whether token i, with its predecessor, repeats token j with its own, for j before i [B T T]."""
    equal = tokens_BT[:, :, None] == tokens_BT[:, None, :]
    found = torch.zeros_like(equal)
    # The start token is nobody's predecessor.
    found[:, 2:, 2:] = equal[:, 2:, 2:] & equal[:, 1:-1, 1:-1]
    return found.tril(-1)


def table_advantages(
    model: Transformer, tokens_BT: Tensor, contexts: Contexts, windows: Sequence[tuple[int, int]], cut: int
) -> list[tuple[float, int]]:
    """Between two indices each: the mean over inferred tokens of the log-probability of the own
    table's successors minus the mean of that of the other tables', in nats; and the number of tokens.

    Only after predecessors that are new to the document: what followed one before is of its
    table too, so that a model which copies would seem to know the table.
    """
    seen = (tokens_BT[:, :, None] == tokens_BT[:, None, :]).tril(-1).any(dim=2)[:, :-1]
    inferred = token_classes(tokens_BT, contexts, cut)["inferred"] & ~seen
    at = [slice(low - 1, high) for low, high in windows]
    parts = [[logits[:, where] for where in at] for logits in (model(part)[0] for part in tokens_BT.split(ROWS))]
    logits_WBTV = [torch.cat(window) for window in zip(*parts, strict=True)]
    return [
        _advantage(logits, tokens_BT[:, where], inferred[:, where], contexts)
        for logits, where in zip(logits_WBTV, at, strict=True)
    ]


def _advantage(logits_BTV: Tensor, tokens_BT: Tensor, member: Tensor, contexts: Contexts) -> tuple[float, int]:
    """The table advantage after some tokens, of those that are members."""
    log_probability_NV = logits_BTV[member].double().log_softmax(dim=-1)
    predecessor_N = tokens_BT[member]
    own_N = contexts.table[:, None].expand(member.shape)[member]
    successors_NKS = contexts.tables_KVS[:, predecessor_N].transpose(0, 1)
    gathered = log_probability_NV[:, None].expand(-1, successors_NKS.shape[1], -1).gather(2, successors_NKS)
    of_table_NK = gathered.logsumexp(dim=2)
    own = of_table_NK.gather(1, own_N[:, None])[:, 0]
    others = (of_table_NK.sum(dim=1) - own) / (of_table_NK.shape[1] - 1)
    return (own - others).mean().item(), len(own)

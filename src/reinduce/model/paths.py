"""Path patching: an effect along one path alone, between any two sites.

The total effect of an edit is what a forward pass with it shows. Its effect along the
direct path to a later site is what remains when everything in between is held at its
intact value; whatever else it does is indirect. The path's end is an edit like any other:
`model(tokens, [path_edit(...)])` lets the end's own consequences run free.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reinduce.model.sites import Edit, site_names
from reinduce.model.transformer import Transformer


def path_edit(
    model: Transformer, tokens_BT: Tensor, source: Sequence[Edit], target: str, head: int | None = None
) -> Edit:
    """The edit that gives `target` the value it has if `source` reaches it by the direct path alone.

    The direct path runs through the residual stream: every attention output and MLP between
    source and target keeps its intact value. `head` takes one head of the target. Raises
    ValueError if the target does not lie after every source.
    """
    between = {name for edit in source for name in sites_between(model, edit.site, target)}
    with torch.no_grad():
        _, intact = model(tokens_BT, capture=between)
    # The source may write into the very output that another source would have held still.
    held = [Edit(name, intact[name]) for name in between if name not in {edit.site for edit in source}]
    _, reached = model(tokens_BT, [*held, *source], capture=[target])
    value = reached[target]
    if head is None:
        return Edit(target, value)
    from_end = {"pattern": 1, "scores": 1}.get(target.rsplit(".", 1)[-1], 2)
    return Edit(target, value.select(from_end, head), head)


def sites_between(model: Transformer, source: str, target: str) -> list[str]:
    """The outputs that are held still between two sites.

    Raises ValueError if the target does not come after the source.
    """
    order = site_names(model.spec)
    for name in (source, target):
        if name not in order:
            raise ValueError(f"no site {name!r}; there are: {', '.join(order)}")
    start, end = order.index(source), order.index(target)
    if end <= start:
        raise ValueError(f"no path from {source!r} to {target!r}: the target comes first in the forward pass")
    # An attention site speaks through its own layer's output, which must stay free.
    own = source.rsplit(".attn.", 1)[0] + ".attn_out" if ".attn." in source else None
    return [name for name in order[start + 1 : end] if name.endswith(("attn_out", "mlp_out")) and name != own]

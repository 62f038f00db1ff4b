"""Path patching between any two sites: an effect along one path alone.

The total effect of an intervention is its effect on an ordinary forward pass. Its effect along the direct
path to a later site is what remains when every output in between is held at its clean value; the rest is
indirect. The result is again an intervention, on the path's end: `model(tokens, [path_intervention(...)])`
lets everything after that end follow.
"""

import torch
from torch import Tensor

from reinduce.model.interventions import Intervention, Interventions
from reinduce.model.sites import HEAD_AXIS, site_kind, site_names
from reinduce.model.transformer import Transformer


def path_intervention(
    model: Transformer, tokens_BT: Tensor, source: Interventions, target: str, head: int | None = None
) -> Intervention:
    """Overwrite a site with the value it has if other interventions reach it by the direct path alone.

    The direct path runs through the residual stream: every attention and MLP output between source
    and target keeps its clean value.

    Args:
        model: the model.
        tokens_BT: token ids.
        source: the interventions at the path's start.
        target: the site at its end.
        head: one head of the target; None for all, or for a site without heads.

    Returns:
        The intervention on the target.

    Raises:
        ValueError: if the target does not come after every source.
    """
    between = {name for each in source for name in sites_between(model, each.site, target)}
    with torch.no_grad():
        _, clean = model(tokens_BT, names=between)
    # An output that one source overwrites may lie between another source and the target.
    changed = {each.site for each in source}
    held = [Intervention(name, clean[name]) for name in between if name not in changed]
    _, reached = model(tokens_BT, [*held, *source], names=[target])
    value = reached[target]
    return Intervention(target, value if head is None else value.select(HEAD_AXIS[site_kind(target)], head), head)


def sites_between(model: Transformer, source: str, target: str) -> list[str]:
    """List the outputs that are held at their clean values on the direct path between two sites.

    Args:
        model: the model.
        source: the site at the path's start.
        target: the site at its end.

    Returns:
        The sites, in the order of the forward pass.

    Raises:
        ValueError: if a site does not exist, or the target does not come after the source.
    """
    order = site_names(model.spec)
    for name in (source, target):
        if name not in order:
            raise ValueError(f"no site {name!r}; there are: {', '.join(order)}")
    start, end = order.index(source), order.index(target)
    if end <= start:
        raise ValueError(f"no path from {source!r} to {target!r}: the target comes first in the forward pass")
    # A site inside attention acts through its own layer's attention output, which must not be held.
    own = source.rsplit(".attn.", 1)[0] + ".attn_out" if ".attn." in source else None
    return [name for name in order[start + 1 : end] if name.endswith(("attn_out", "mlp_out")) and name != own]

"""How far means of metrics may differ between machines: tolerances that several metrics share.

On one machine with one lock all is the same bit for bit, so these are for other processors and other
versions of torch, where sums are taken in another order and training differs in the last
floating-point digits. The numbers come from one seed on real text that was trained and scored again
with torch's and MKL's code for processors without vector instructions
(ATEN_CPU_CAPABILITY=default, MKL_CBWR=COMPATIBLE) on 2026-11-21. The largest differences of means
were 0.007 nats, 0.005 of a share, 25 steps of 1175, 0.6 % of qk_trace. Three to four times as much is
allowed, as other machines may differ by more than one machine's two ways.
"""

from reinduce.config.declare import Tolerance

STEPS = Tolerance(
    absolute=20,
    relative=0.05,
    reason="Steps of an abrupt change; a checkpoint interval is 10 to 50 steps, and 2 % were seen.",
)
UNBOUNDED = Tolerance(relative=0.05, reason="A trace without a scale of its own; 0.6 % were seen.")
SHARES = Tolerance(absolute=0.02, reason="Shares and correlations between -1 and 1; 0.005 were seen.")
NATS = Tolerance(absolute=0.03, reason="Nats a token, differences of them, and logits; 0.007 were seen.")
DEGREES = Tolerance(
    absolute=10,
    reason="Degrees between two legs of a path of a few dozen points; one point more in a leg turns it by as much.",
)

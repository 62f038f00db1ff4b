"""What figures select from tables is what the stages write there: a misspelt name would draw an empty row."""

import ast
from pathlib import Path

import yaml

from reinduce.ablate.joint import ABLATIONS, DOWNSTREAM, OTHER_INTERVENTIONS

STUDY = Path(__file__).parents[1]
SCALE = STUDY.parents[1] / "scales" / "laptop.yaml"


def test_the_joint_ablations_that_are_drawn_are_made():
    statements = ast.parse((STUDY / "figures" / "ablation.py").read_text()).body
    (drawn,) = (
        node.value for node in statements if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETS"
    )
    names = {entry["name"] for entry in yaml.safe_load(SCALE.read_text())["ablate"]["selections"]}
    made = {(name, *ablation) for name in (*names, "random") for ablation in ABLATIONS}
    made |= {(name, intervention, DOWNSTREAM[0]) for name in names for intervention in OTHER_INTERVENTIONS}
    assert {keys for keys in ast.literal_eval(drawn).values() if keys} <= made

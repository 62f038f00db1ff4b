"""Tasks, metrics, interventions and ablations are found by name, in the library and in a study."""

import re
import subprocess
import sys

import pytest

from reinduce.config import declare
from reinduce.config import find as config_find
from reinduce.config.arm_contents import applicable_metrics
from reinduce.config.declare import Tolerance, ablation, intervention, metric, owner_of, qualify, task
from reinduce.config.find import find, find_all, modules_of
from reinduce.model.clamps import ZeroHead
from reinduce.tasks.language import LANGUAGE_SETS
from reinduce.tasks.repeated_phrases import RepeatedPhrases

from .conftest import KEY

METRICS = """
    from reinduce.config.declare import metric
    from reinduce.metrics.tolerances import NATS

    @metric(level="model", unit="nats", null="0", evaluation_set="heldout", sites=("losses",), tolerance=NATS)
    def spread(inputs):
        '''How far losses lie apart.'''
        return inputs.losses.std().item()
"""


class TestFinding:
    def test_the_library_is_found_without_a_study(self):
        assert find("task", "repeated_phrases") is find_all("task")["repeated_phrases"] is RepeatedPhrases
        assert find("intervention", "zero_head") is ZeroHead
        assert find("metric", "loss").owner == "" and find("metric", "loss").module == "reinduce.metrics.losses"
        assert find_all("ablation") == {}

    def test_a_study_adds_its_own_names_to_the_librarys(self, study):
        study(metrics=METRICS)
        library, both = find_all("metric"), find_all("metric", KEY)
        assert set(both) - set(library) == {"spread"}
        found = both["spread"]
        assert (found.owner, found.module) == (KEY, f"reinduce.studies.{KEY}.metrics")
        assert found.description == "How far losses lie apart."
        assert find("metric", f"{KEY}.spread") is found
        assert "spread" not in find_all("metric"), "nor does the library learn of it"

    def test_every_module_of_a_package_is_read(self, study):
        study(
            metrics__one=METRICS,
            metrics__two=METRICS.replace("spread", "reach"),
            tasks__tones="from reinduce.config.declare import task\n@task('tones')\nclass Tones: ...",
        )
        assert {"spread", "reach"} <= set(find_all("metric", KEY))
        assert find_all("task", KEY)["tones"].owner == KEY

    def test_a_study_without_code_has_what_the_library_has(self, study):
        study(notes="")
        for kind in ("task", "metric", "intervention", "ablation"):
            assert find_all(kind, KEY) == find_all(kind)

    def test_a_study_that_does_not_exist_has_what_the_library_has(self):
        assert find_all("metric", "nobody1999") == find_all("metric")

    @pytest.mark.parametrize(
        ("kind", "name", "there"),
        [
            ("task", "speech", "there are: repeated_phrases, source_text$"),
            ("intervention", "silence", "there are: block_k_composition, .*force_previous_token, .*zero_head"),
            ("metric", "los", "there are: .*loss, .*prefix_matching, "),
            ("intervention", f"{KEY}.zero_head", "there are: block_k_composition, "),
            ("metric", f"{KEY}.sprad", rf"there are: .*prefix_matching, .*{KEY}\.spread$"),
            ("metric", "spread", "there are: .*prefix_matching"),
        ],
    )
    def test_an_unknown_name_is_refused_with_those_that_there_are(self, study, kind, name, there):
        study(metrics=METRICS)
        with pytest.raises(ValueError, match=f"no {kind} '{re.escape(name)}'; {there}"):
            find(kind, name)

    def test_names_and_modules_carry_their_study(self):
        assert qualify("spread", KEY) == f"{KEY}.spread" and qualify("loss", "") == "loss"
        assert owner_of(f"reinduce.studies.{KEY}.tasks.tones") == KEY and owner_of("reinduce.metrics.losses") == ""
        assert find("intervention", "singh2024.force_match").type == "singh2024.force_match"
        assert ZeroHead.type == "zero_head"

    def test_modules_of_some_declarations_are_each_named_once(self):
        names = [("metric", "loss"), ("metric", "icl_score"), ("intervention", "zero_head")]
        assert modules_of(names) == ["reinduce.metrics.losses", "reinduce.model.clamps"]


class TestFaults:
    def test_a_name_that_two_modules_of_a_study_declare(self, study):
        study(metrics__one=METRICS, metrics__two=METRICS)
        message = (
            rf"metric 'spread' is declared twice: in reinduce.studies.{KEY}.metrics.one and in "
            rf"reinduce.studies.{KEY}.metrics.two; rename one"
        )
        with pytest.raises(ValueError, match=message):
            find_all("metric", KEY)

    @pytest.mark.parametrize(
        ("kind", "modules"),
        [
            ("metric", {"metrics": METRICS.replace("spread", "loss")}),
            ("task", {"tasks": "from reinduce.config.declare import task\n@task('source_text')\nclass T: ..."}),
            (
                "intervention",
                {
                    "interventions": "from reinduce.config.declare import intervention\n"
                    "@intervention('zero_head')\nclass C: ..."
                },
            ),
        ],
    )
    def test_a_name_that_the_library_has(self, study, kind, modules):
        study(**modules)
        name = {"metric": "loss", "task": "source_text", "intervention": "zero_head"}[kind]
        module = f"reinduce.studies.{KEY}.{config_find.STUDY_MODULES[kind]}"
        with pytest.raises(
            ValueError, match=f"{module}: the library already has a {kind} '{name}'; give yours another"
        ):
            find_all(kind, KEY)

    def test_every_decorator_refuses_a_name_twice(self, monkeypatch):
        monkeypatch.setattr(declare, "_DECLARED", {})
        free = Tolerance(absolute=1, reason="planted")
        decorators = {
            "metric": metric(level="model", tolerance=free, name="same"),
            "task": task("same"),
            "intervention": intervention("same"),
            "ablation": ablation(evaluation_set="heldout", name="same"),
        }
        for kind, decorate in decorators.items():
            one, other = (type("Same", (), {"__module__": f"reinduce.{where}", "__name__": "same"}) for where in "ab")
            assert decorate(one) is one
            with pytest.raises(ValueError, match=f"{kind} 'same' is declared twice: in reinduce.a and in reinduce.b"):
                decorate(other)

    def test_a_module_may_be_imported_again(self, study):
        """A notebook that reloads its study declares the same names again."""
        import importlib

        study(metrics=METRICS)
        before = find("metric", f"{KEY}.spread")
        importlib.reload(sys.modules[f"reinduce.studies.{KEY}.metrics"])
        assert find("metric", f"{KEY}.spread").compute is not before.compute

    def test_an_unknown_field_of_a_metric_is_named(self, study):
        folder = study(metrics=METRICS.replace('unit="nats"', 'units="nats"'))
        message = (
            rf"{folder}/metrics.py, line \d: TypeError: .*unexpected keyword argument 'units'; correct the study's"
        )
        with pytest.raises(ValueError, match=message):
            find_all("metric", KEY)

    @pytest.mark.parametrize(
        ("source", "fault"),
        [
            ("x = 1\ny = (\n", "line 2: SyntaxError: '\\(' was never closed .*; correct the study's code"),
            ("x = 1\n\ny = z\n", "line 3: NameError: name 'z' is not defined; correct the study's code"),
            ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
            ("def f():\n    return {}['a']\n\nf()\n", "line 2: KeyError: 'a'"),
            ("import json\njson.loads(3)\n", "line 2: TypeError: "),
            ("one = 1\nint('one')\n", "line 2: ValueError: invalid literal for int"),
        ],
        ids=["syntax", "name", "module", "deep", "in a library", "value"],
    )
    @pytest.mark.parametrize("module", ["metrics", "metrics__deep"])
    def test_a_module_that_cannot_be_imported_is_one_error_with_file_and_line(self, study, module, source, fault):
        folder = study(**{module: source})
        path = folder / f"{module.replace('__', '/')}.py"
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, {fault}") as caught:
            find_all("metric", KEY)
        assert "\n" not in str(caught.value)

    def test_a_fault_in_a_module_that_another_imports_is_said_of_that_module(self, study):
        folder = study(metrics=f"from reinduce.studies.{KEY} import parts", parts="x = 1\nx.gone\n")
        with pytest.raises(ValueError, match=rf"^{folder}/parts.py, line 2: AttributeError: .*'gone'"):
            find_all("metric", KEY)

    def test_a_fault_is_said_again_when_it_is_asked_again(self, study):
        study(metrics="y = z")
        for _ in range(2):
            with pytest.raises(ValueError, match="metrics.py, line 1: NameError"):
                find_all("metric", KEY)


class TestMetricsOfAnArm:
    def test_metrics_come_after_those_that_they_need(self):
        found = list(applicable_metrics(LANGUAGE_SETS, 2, True, ""))
        for name, one in applicable_metrics(LANGUAGE_SETS, 2, True, "").items():
            assert all(found.index(needed) < found.index(name) for needed in one.after), name
        assert "before_after" not in found, "it is measured by another stage"

    def test_what_a_model_or_a_task_lacks_is_left_out(self):
        whole = set(applicable_metrics(LANGUAGE_SETS, 2, True, ""))
        without_heads = set(applicable_metrics(LANGUAGE_SETS, 2, False, ""))
        assert whole - without_heads == {"prefix_matching", "previous_token", "copying", "ov_eigenvalues", "qk_trace"}
        without_repeats = set(applicable_metrics(("heldout",), 2, True, ""))
        assert without_repeats >= {"loss", "icl_score", "previous_token", "icl_gain"}
        assert not without_repeats & {"prefix_matching", "copying", "repeat_loss", "prefix_midpoint"}
        assert applicable_metrics((), 2, True, "") == {}

    def test_few_layers_leave_out_what_needs_more(self):
        sets = ("in_distribution", "relabelled", "novel_classes")
        two, one = (set(applicable_metrics(sets, layers, True, "singh2024")) for layers in (2, 1))
        assert two - one == {"q_composition", "k_composition", "v_composition"} and one < two

    def test_a_studys_metrics_are_its_own_arms_alone(self, study):
        study(metrics=METRICS)
        assert "spread" in applicable_metrics(LANGUAGE_SETS, 2, True, KEY)
        assert "spread" not in applicable_metrics(LANGUAGE_SETS, 2, True, "olsson2022")

    def test_chosen_metrics_bring_what_they_need(self):
        def chosen(*names, has_heads=True):
            return list(applicable_metrics(LANGUAGE_SETS, 2, has_heads, "", names))

        assert chosen("loss") == ["loss"]
        assert chosen("qk_trace") == ["previous_token", "qk_trace"]
        assert chosen("induction_onset_step", "loss", "loss") == ["prefix_matching", "induction_onset_step", "loss"]
        # The curve of a model without heads is empty, and the metric of its run is null.
        assert chosen("induction_onset_step", has_heads=False) == ["induction_onset_step"]
        assert chosen() == []

    @pytest.mark.parametrize(
        ("name", "sets", "layers", "has_heads", "message"),
        [
            ("los", LANGUAGE_SETS, 2, True, "no metric 'los'; there are: .*copying, .*loss, "),
            (
                "prefix_matching",
                ("heldout",),
                2,
                True,
                "metric 'prefix_matching' cannot be measured here: it needs the evaluation sets repeated, random "
                "and attention heads",
            ),
            ("copying", LANGUAGE_SETS, 2, False, "metric 'copying' cannot be .* needs the .* sets random and .* heads"),
            (
                "k_composition",
                ("in_distribution", "relabelled", "novel_classes"),
                1,
                True,
                "metric 'k_composition' cannot be measured here: .*in_distribution .*heads and 2 layers or more",
            ),
            ("icl_gain", ("repeated", "random"), 2, True, "'icl_gain' cannot be .* needs other metrics that this arm"),
            ("before_after", LANGUAGE_SETS, 2, True, "metric 'before_after' cannot be measured here"),
        ],
    )
    def test_a_metric_that_an_arm_cannot_have_is_refused(self, name, sets, layers, has_heads, message):
        with pytest.raises(ValueError, match=message):
            applicable_metrics(sets, layers, has_heads, "singh2024", [name])


USES = {
    "from torch import nn": "nn is torch.nn",
    "import torch.nn.functional as F": "F is torch.nn.functional",
    "import torch\nONE = torch.ones(1)": "ONE.item() == 1",
}


@pytest.mark.parametrize("statement", USES)
def test_a_study_that_needs_torch_while_it_is_imported_gets_it(study, statement):
    folder = study(metrics=f"{statement}\n" + METRICS.replace("\n    ", "\n"))
    program = (
        "import sys\nfrom reinduce import studies\nfrom reinduce.config.find import find_all\n"
        "class Watch:\n"
        "    looked = []\n"
        "    def find_spec(self, name, *_):\n        self.looked.append(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"studies.add_folders([{str(folder.parent)!r}])\n"
        f"assert 'spread' in find_all('metric', {KEY!r})\n"
        "assert Watch.looked.count('torch') == Watch.looked.count('torch.nn') == 1, 'each is loaded once'\n"
        f"from reinduce.studies.{KEY}.metrics import *\nimport torch\n"
        "assert type(torch) is type(sys) and torch is sys.modules['torch']\n"
        "assert torch.nn is sys.modules['torch.nn'] and torch.nn.__spec__.origin.endswith('__init__.py')\n"
        f"assert {USES[statement]}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torch_is_not_imported_for_declarations_alone(study):
    folder = study(metrics="import torch\n" + METRICS.replace("\n    ", "\n"))
    program = (
        "import sys\nfrom reinduce.config.find import find_all\n"
        f"from reinduce import studies\nstudies.add_folders([{str(folder.parent)!r}])\n"
        "for kind in ('task', 'metric', 'intervention', 'ablation'):\n"
        f"    for study in ('', {KEY!r}, 'olsson2022', 'review2026', 'singh2024'):\n        find_all(kind, study)\n"
        "assert 'torch' not in sys.modules\n"
        f"from reinduce.studies.{KEY} import metrics\n"
        "assert metrics.torch.ones(2).sum() == 2 and 'torch' in sys.modules\n"
        "import torch\nassert torch.ones is metrics.torch.ones\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_folders_of_studies_are_handed_to_child_processes(study):
    study(metrics=METRICS)
    program = f"from reinduce.config.find import find; print(find('metric', '{KEY}.spread').module)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == f"reinduce.studies.{KEY}.metrics", done.stderr

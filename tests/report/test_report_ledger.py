"""The ledger as front page and as table for a terminal."""

import argparse
import base64
import io
import json
import re

import pytest
from PIL import Image

from reinduce.report import command, index, ledger
from reinduce.report.seeds import place_seeds, render_seeds
from reinduce.trace.files import write_text
from tests.planted import plant_manifest, plant_run

LONG = "a-claim-whose-name-" + "goes-on-" * 12
SCRIPT = "<script>alert('x')</script> & more"


def row(**changes) -> dict:
    claim = {
        "study": "paper2020",
        "claim": "heads-copy",
        "statement": "Heads copy.",
        "verdict": "holds",
        "figure": "anatomy",
    }
    claim |= {
        "estimate": 0.91234,
        "ci_low": 0.85,
        "ci_high": 0.97,
        "n_seeds": 5,
        "claim_number": "A-01",
        "unit": "share",
    }
    return claim | {"criterion": "mean above 0.5", "control_verdict": "fails", "scale": "laptop"} | changes


@pytest.fixture
def written(tmp_path):
    rows = [
        row(why="the paper's number"),
        row(
            claim="a<b",
            statement="<script>alert('x')</script> & more",
            verdict="fails",
            figure="lost",
            paper_value='"<1"',
        ),
        row(claim=LONG, verdict="inconclusive", estimate=None, ci_low=None, ci_high=None, n_seeds=0, reason="no heads"),
    ]
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps({"scale": "laptop", "n_claims": len(rows), "claims": rows}))
    picture = io.BytesIO()
    Image.new("RGB", (900, 600), "red").save(picture, "PNG")
    figure = tmp_path / "figures" / "paper2020.anatomy.html"
    figure.parent.mkdir()
    image = base64.b64encode(picture.getvalue()).decode()
    figure.write_text(f'<title>Heads &amp; tails</title><img src="data:image/png;base64,{image}">')
    return path, figure


def make_page(written, out) -> str:
    # The page accepts only files that a rule made.
    results = written[0].parent
    settings = [write_text(results / name, "{}") for name in ("paper2020/arm/train.json", "paper2020/claims/one.json")]
    names = ("paper2020/arm/seed0/score/x.parquet", "looks/paper2020.one/look1.json", "claims/paper2020.one.json")
    table, look, verdict = (write_text(results / name, "{}") for name in names)
    plant_manifest("score", plant_run(results, "paper2020/arm", 0), [table])
    plant_manifest("look", [settings[1], table], [look])
    plant_manifest("judge", [settings[1], look], [verdict])
    plant_manifest("ledger", [verdict], written[:1], results / "ledger.manifest.json")
    plant_manifest("figure", settings[:1], written[1:])
    parser = argparse.ArgumentParser()
    command.add_index_arguments(parser)
    made = command.run_index(parser.parse_args([str(written[0]), "--figures", str(written[1]), "--out", str(out)]))
    assert list(made.outputs) == [out, out.with_name("seeds.html")] and set(made.inputs) == set(written)
    return out.read_text()


def test_the_front_page_links_and_counts(written, tmp_path):
    page = make_page(written, tmp_path / "index.html")
    assert page.count('href="figures/paper2020.anatomy.html"') == 3  # two claims and a thumbnail
    assert 'href="claims/paper2020.heads-copy.json"' in page
    assert "0.912 [0.85, 0.97]" in page and "the paper&#39;s number" in page and "no heads" in page
    assert "Heads &amp; tails" in page and "&amp;amp;" not in page
    counts = re.findall(r'<b>(\d+)</b><span class="badge ([\w-]+)">', page)
    assert counts == [
        ("1", "holds"),
        ("0", "holds-alone"),
        ("1", "fails"),
        ("0", "in-between"),
        ("1", "inconclusive"),
        ("0", "void"),
    ]


def test_the_front_page_escapes_values_and_is_self_contained(written, tmp_path):
    page = make_page(written, tmp_path / "index.html")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert 'href="claims/paper2020.a%3Cb.json"' in page
    assert not re.findall(r"https?://|<link|@import", page)
    assert page == make_page(written, tmp_path / "index.html")


def seeds_row(claim, values, without, **changes) -> dict:
    facts = {"study": "paper2020", "claim": claim, "verdict": "holds", "criterion": "mean above 1 (fails below 0)"}
    facts |= {"statement": "A <claim>.", "unit": "heads", "ci_low": 1.5, "ci_high": 9.0}
    return facts | {"values": values, "without": without} | changes


def test_seeds_that_a_verdict_rests_on_are_shown_first_and_ringed():
    steady = seeds_row("steady", {"0": 2.0, "1": 3.0}, {})
    resting = seeds_row("resting", {"0": 2.0, "7": 4.0, "8": None}, {"7": "inconclusive"})
    page = render_seeds({"scale": "laptop", "claims": [steady, resting]})
    assert page.index("paper2020.resting") < page.index("paper2020.steady")
    assert page.count("inconclusive without seed 7") == 1 and page.count("seed 7: 4; inconclusive without it") == 1
    assert page.count('r="6"') == 4, "a seed without a value has no point"
    assert "A &lt;claim&gt;." in page and not re.findall(r"https?://|<link|@import|<script", page)


def test_no_seed_is_ringed_where_every_one_is_needed():
    row = seeds_row("few", {"0": 2.0, "1": 3.0}, {"0": "inconclusive", "1": "inconclusive"})
    page = render_seeds({"scale": "laptop", "claims": [row, seeds_row("one", {"0": 2.0, "1": 3.0}, {"1": "fails"})]})
    assert page.index("paper2020.one") < page.index("paper2020.few")
    assert page.count("fewer seeds would not do: inconclusive without any one of them") == 1
    assert page.count("without seed") == page.count("without it<") == 1


def test_seeds_lie_between_thresholds_as_their_values_do():
    found = place_seeds(seeds_row("one", {"0": 0.5, "1": 2.0}, {}))
    assert [seed["at"] for seed in found["seeds"]] == [26.0, 98.0]
    assert (found["fails"]["at"], found["holds"]["at"]) == (2.0, 50.0)
    assert found["interval"] == [74.0, 100.0], "an end beyond all values is cut"
    assert place_seeds(seeds_row("one", {"0": None}, {})) is None
    same = place_seeds(seeds_row("one", {"0": 1.0}, {}, criterion="mean above 1 (fails below 1)", ci_low=None))
    assert same["seeds"][0]["at"] == 50.0 and same["interval"] is None


def test_thumbnails_are_small(written, tmp_path):
    thumbnail = re.search(r'base64,([^"]+)"', make_page(written, tmp_path / "index.html"))[1]
    size = Image.open(io.BytesIO(base64.b64decode(thumbnail))).size
    assert all(side <= most for side, most in zip(size, index.THUMBNAIL_SIZE, strict=True))


def test_only_the_smoke_scale_has_a_warning(written, tmp_path):
    assert "Its verdicts mean nothing" not in make_page(written, tmp_path / "index.html")
    written[0].write_text(written[0].read_text().replace('"scale": "laptop"', '"scale": "smoke"'))
    assert "Its verdicts mean nothing" in make_page(written, tmp_path / "index.html")


def test_show_prints_a_table_and_the_path_of_the_report(written):
    lines = command.format_results(written[0].parent).splitlines()
    assert max(map(len, lines)) <= ledger.MAX_WIDTH
    assert re.fullmatch(r"A-01  heads-copy +holds +0\.912 \[0\.85, 0\.97\] +5 +anatomy", lines[2])
    assert "…" in lines[4] and "inconclusive" in lines[4]
    assert "3 claims at scale laptop: 1 holds, 0 holds alone, 1 fails, 0 in between, 1 inconclusive, 0 void" in lines
    assert lines[-1] == f"The report: {written[0].parent / 'index.html'}"
    (written[0].parent / "ledger.refused.txt").touch()
    assert "THIS LEDGER IS OUTDATED" in command.format_results(written[0].parent).splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "not a ledger"),
        ("[]", "'scale' and 'claims'"),
        ('{"scale": "x", "claims": [{"study": "a"}]}', "lacks claim"),
    ],
)
def test_a_broken_ledger_is_named(tmp_path, content, what):
    path = tmp_path / "ledger.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"ledger.json.*{what}"):
        ledger.read_ledger(path)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.123456, "0.123"), (-1234.5, "-1234"), (5, "5"), (99999, "99999"), (0, "0")]
)
def test_numbers_stay_readable(value, text):
    assert ledger.format_number(value) == text

"""What manifests record of the project itself."""

import subprocess

from reinduce.trace.manifest import is_tree_clean
from reinduce.trace.sources import PARTS


def test_a_tree_is_clean_if_all_sources_of_results_are_committed(tmp_path):
    def git(*arguments: str) -> None:
        author = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert not is_tree_clean(tmp_path), "without a repository nothing is known"
    git("init")
    for part in (*PARTS, "README.md"):
        file = tmp_path / part if "." in part or part == "Snakefile" else tmp_path / part / "file"
        file.parent.mkdir(exist_ok=True)
        file.write_text("as it was\n")
    git("add", ".")
    git("commit", "-m", "All of it")
    assert is_tree_clean(tmp_path)
    (tmp_path / "README.md").write_text("other words\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/ledger.json").write_text("{}")
    assert is_tree_clean(tmp_path), "no result depends on either"
    for changed in ("src/file", "src/new", "workflow/file", "config.yaml"):
        (tmp_path / changed).write_text("other code\n")
        assert not is_tree_clean(tmp_path), changed
        git("stash", "-u")
        (tmp_path / "results").mkdir(exist_ok=True)
        assert is_tree_clean(tmp_path)

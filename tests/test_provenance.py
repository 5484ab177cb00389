"""A method's code hash changes with the code that trains it, and with nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wsis import provenance
from wsis.errors import WsisError
from wsis.methods import METHODS
from wsis.methods.info import Info
from wsis.provenance import ROOT, code_hash, hash_of, sources, training_modules

SOURCES = {
    "methods/__init__.py": "from wsis.methods import alpha, beta\n",
    "methods/alpha/__init__.py": "",
    "methods/alpha/info.py": "NAME = 1\n",
    "methods/alpha/method.py": (
        '"""Alpha."""\nimport os\nfrom wsis.nn import layers\nfrom wsis.losses.dice import dice\n'
        "from wsis.methods.alpha.info import NAME\n\n\n"
        'class Alpha:\n    """Doc."""\n\n    def step(self, x):\n        """Doc."""\n'
        "        from wsis.data import crops\n\n        return dice(x) + 1\n\n"
        "    def draw(self):\n        from wsis.methods.alpha.pictures import draw\n\n        draw()\n"
    ),
    "methods/alpha/pictures.py": "WIDTH = 1180\n",
    "methods/alpha/late.py": "LATE = 1\n",
    "methods/beta/__init__.py": "",
    "methods/beta/method.py": "from ..shared import x\nfrom . import inner\nimport wsis.methods\n",
    "methods/beta/inner.py": "from ..alpha.method import Alpha\n\n\nclass Beta(Alpha):\n    pass\n",
    "methods/shared.py": "x = 6\n",
    "nn/__init__.py": "",
    "nn/layers.py": "WIDTH = 3\n",
    "nn/other.py": "DEPTH = 4\n",
    "losses/__init__.py": "",
    "losses/dice.py": "from wsis.losses import smooth\n\n\ndef dice(x):\n    return x\n",
    "losses/smooth.py": "def smooth(x):\n    return x * 2\n",
    "data/__init__.py": "",
    "data/crops.py": "from wsis.report import page\n\nSIDE = 8\n",
    "report/page.py": "TITLE = 9\n",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    written(tmp_path / "wsis", SOURCES)
    return tmp_path


def hashes(root: Path) -> dict[str, str]:
    return {method: hash_of([f"wsis.methods.{method}.method"], root) for method in ("alpha", "beta")}


def changed_by(root: Path, name: str, old: str, new: str) -> set[str]:
    """Methods whose hash an edit of one file changes."""
    before, path = hashes(root), root / "wsis" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    now = hashes(root)
    return {method for method in before if now[method] != before[method]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""', '"""Another."""'),
        ('"""Alpha."""\n', "# a comment\n\n"),
        ("dice(x) + 1", "(\n            dice(x)\n            + 1  # one\n        )"),
        ('        """Doc."""\n', ""),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root: Path, old: str, new: str) -> None:
    assert changed_by(root, "methods/alpha/method.py", old, new) == set()


@pytest.mark.parametrize(
    ("name", "old", "new", "methods"),
    [
        ("methods/alpha/method.py", "+ 1", "+ 2", {"alpha", "beta"}),  # beta imports alpha
        ("methods/beta/inner.py", "pass", "x = 1", {"beta"}),  # from the package itself
        ("methods/shared.py", "6", "7", {"beta"}),  # a relative import
        ("nn/layers.py", "3", "5", {"alpha", "beta"}),
        ("losses/smooth.py", "2", "3", {"alpha", "beta"}),  # through dice
        ("data/crops.py", "8", "9", {"alpha", "beta"}),  # in a function
        ("methods/alpha/late.py", "1", "2", set()),  # nobody imports it
        ("nn/other.py", "4", "5", set()),
        ("methods/alpha/pictures.py", "1180", "900", set()),  # what shows and tells, not what trains
        ("methods/alpha/info.py", "1", "2", set()),
        ("methods/__init__.py", "alpha, beta", "beta, alpha", set()),
        ("report/page.py", "9", "8", set()),  # outside of the rooms
    ],
)
def test_code_counts_where_the_method_uses_it(
    root: Path, name: str, old: str, new: str, methods: set[str]
) -> None:
    assert changed_by(root, name, old, new) == methods


def test_hash_is_short_hex_and_does_not_depend_on_the_place(root: Path, tmp_path_factory) -> None:
    codes = hashes(root)
    assert all(len(code) == 16 and int(code, 16) >= 0 for code in codes.values())
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "wsis").rename(elsewhere / "wsis")
    assert hashes(elsewhere) == codes


def test_unknown_and_broken_sources(root: Path) -> None:
    with pytest.raises(WsisError, match=r"no sources of wsis\.methods\.gamma\.method"):
        hash_of(["wsis.methods.gamma.method"], root)
    with pytest.raises(WsisError, match="method gamma does not exist"):
        code_hash("gamma")
    (root / "wsis/nn/layers.py").write_text("def (")
    with pytest.raises(WsisError, match=r"layers\.py: not valid Python"):
        hash_of(["wsis.methods.alpha.method"], root)


def test_several_modules_count_together_wherever_they_lie(root: Path) -> None:
    alone = hash_of(["wsis.nn.other"], root)
    both = hash_of(["wsis.nn.other", "wsis.report.page"], root)
    assert both != alone and both == hash_of(["wsis.report.page", "wsis.nn.other"], root)
    changed_by(root, "report/page.py", "9", "8")
    assert hash_of(["wsis.nn.other", "wsis.report.page"], root) != both
    assert hash_of(["wsis.nn.other"], root) == alone


def test_a_method_from_outside_counts_with_its_own_package(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path / "zoo", {"__init__.py": "", "net.py": "import zoo.loss\nfrom wsis.nn import weights\n"})
    written(tmp_path / "zoo", {"loss.py": "import json\n\nMU = 5\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "info_of", lambda name: Info(name=name, network="zoo.net:Net"))
    code = code_hash("zoo")
    names = [*sources(["zoo.net"])]
    assert {"zoo.net", "zoo.loss", "wsis.nn.weights"} <= {*names} and "json" not in names
    (tmp_path / "zoo/loss.py").write_text("import json\n\nMU = 6\n")
    assert code_hash("zoo") != code
    sys.modules.pop("zoo", None)


@pytest.mark.parametrize("method", METHODS)
def test_what_trains_a_method_is_followed_in_the_package(method: str) -> None:
    names = sources(training_modules(method), ROOT)
    assert f"wsis.methods.{method}.method" in names
    apart = (".info", ".spec", ".bench", ".measures", ".pictures", ".sheets", "_quality", "_pictures")
    assert not [name for name in names if name.endswith(apart) or name.startswith("wsis.engine")]


def test_backbones_count_though_they_are_imported_by_name() -> None:
    built = {"mask_rcnn": {"pyramid"}, "boxcaseg": {"hrnet", "tiny"}, "baiseg": {"hrnet", "pyramid", "tiny"}}
    for method, modules in built.items():
        assert {f"wsis.nn.{name}" for name in modules} <= {*sources(training_modules(method))}


def test_patches_and_crops_and_batches_and_the_threshold_count() -> None:
    names = sources(training_modules("boxcaseg"))
    assert {"wsis.methods.boxcaseg.patches", "wsis.methods.boxcaseg.crops", "wsis.data.salient"} <= {*names}

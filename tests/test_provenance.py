"""A method's code hash changes with its code, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsis.errors import WsisError
from wsis.provenance import ROOT, code_hash, proxy_hash, pseudo_hash

SOURCES = {
    "methods/__init__.py": "from wsis.methods import alpha, beta\n",
    "methods/alpha.py": (
        '"""Alpha."""\nimport os\nfrom wsis.nn import layers\nfrom wsis.losses.dice import dice\n\n\n'
        'class Alpha:\n    """Doc."""\n\n    def step(self, x):\n        """Doc."""\n'
        "        return dice(x) + 1\n"
    ),
    "methods/beta/__init__.py": "from ..shared import x\nfrom .inner import Beta\n",
    "methods/shared.py": "x = 6\n",
    "methods/beta/inner.py": "from ..alpha import Alpha\n\n\nclass Beta(Alpha):\n    pass\n",
    "methods/beta/late.py": "LATE = 1\n",
    "nn/__init__.py": "",
    "nn/layers.py": "WIDTH = 3\n",
    "nn/other.py": "DEPTH = 4\n",
    "losses/__init__.py": "",
    "losses/dice.py": "from wsis.losses import smooth\n\n\ndef dice(x):\n    return x\n",
    "losses/smooth.py": "def smooth(x):\n    return x * 2\n",
    "data/__init__.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / "wsis" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def changed_by(root: Path, name: str, old: str, new: str) -> set[str]:
    """Methods whose hash an edit of one file changes."""
    before = {method: code_hash(method, root) for method in ("alpha", "beta")}
    path = root / "wsis" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return {method for method, code in before.items() if code_hash(method, root) != code}


def test_comments_docstrings_and_layout_do_not_count(root: Path) -> None:
    assert changed_by(root, "methods/alpha.py", '"""Doc."""', '"""Another."""') == set()
    assert changed_by(root, "methods/alpha.py", '"""Alpha."""\n', "# a comment\n\n") == set()
    assert (
        changed_by(
            root,
            "methods/alpha.py",
            "dice(x) + 1",
            "(\n            dice(x)\n            + 1  # one\n        )",
        )
        == set()
    )
    assert changed_by(root, "methods/alpha.py", '        """Another."""\n', "") == set()


@pytest.mark.parametrize(
    ("name", "old", "new", "methods"),
    [
        ("methods/alpha.py", "+ 1", "+ 2", {"alpha", "beta"}),  # beta imports alpha
        ("methods/beta/inner.py", "pass", "x = 1", {"beta"}),
        ("methods/beta/late.py", "1", "2", {"beta"}),  # part of the method's folder, imported or not
        ("methods/shared.py", "6", "7", {"beta"}),  # a relative import of a package's __init__
        ("nn/layers.py", "3", "5", {"alpha", "beta"}),
        ("losses/smooth.py", "2", "3", {"alpha", "beta"}),  # through dice
        ("nn/other.py", "4", "5", set()),  # nobody imports it
        ("methods/__init__.py", "alpha, beta", "beta, alpha", set()),
    ],
)
def test_code_counts_where_the_method_uses_it(
    root: Path, name: str, old: str, new: str, methods: set[str]
) -> None:
    assert changed_by(root, name, old, new) == methods


def test_hash_is_short_hex_and_does_not_depend_on_the_place(root: Path, tmp_path_factory) -> None:
    code = code_hash("alpha", root)
    assert len(code) == 16 and int(code, 16) >= 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "wsis").rename(elsewhere / "wsis")
    assert code_hash("alpha", elsewhere) == code


def test_unknown_and_broken_sources(root: Path) -> None:
    with pytest.raises(WsisError, match="gamma"):
        code_hash("gamma", root)
    (root / "wsis/nn/layers.py").write_text("def (")
    with pytest.raises(WsisError, match=r"layers\.py"):
        code_hash("alpha", root)


MEASURING = {
    "methods/sim/__init__.py": "from wsis.losses.dice import dice\n",
    "methods/sim/quality.py": "from wsis.nn import other\n\nMU = 5\n",
    "methods/sim/sheets.py": "WIDTH = 1180\n",
    "methods/sim/pseudo_quality.py": "SUBSETS = 2\n",
}


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("methods/sim/__init__.py", "import dice", "import dice as loss", True),
        ("losses/smooth.py", "2", "3", True),  # what SIM imports
        ("methods/sim/quality.py", "5", "6", True),
        ("methods/sim/quality.py", "MU", "\n# a comment\nMU", False),
        ("nn/other.py", "4", "5", True),  # what only the measuring code imports
        ("methods/sim/pseudo_quality.py", "2", "3", True),
        ("methods/sim/sheets.py", "1180", "900", False),
        ("methods/alpha.py", "+ 1", "+ 2", False),  # another method
    ],
)
def test_measures_of_pseudo_masks_have_a_hash_of_their_own(root, name, old, new, counts) -> None:
    for file, text in MEASURING.items():
        path = root / "wsis" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = pseudo_hash(root)
    path = root / "wsis" / name
    assert old in path.read_text() and before != code_hash("sim", root)
    path.write_text(path.read_text().replace(old, new))
    assert (pseudo_hash(root) != before) == counts


def test_the_measuring_code_is_where_the_hash_looks_for_it(root) -> None:
    assert len(pseudo_hash(ROOT)) == 16
    with pytest.raises(WsisError, match=r"wsis\.probe\.quality"):
        pseudo_hash(root)


def test_measures_of_proxy_masks_depend_on_what_measures_them_alone(root) -> None:
    with pytest.raises(WsisError, match=r"wsis\.probe\.proxy_rows"):
        proxy_hash(root)
    names = [
        "methods/boxcaseg/proxy_rows.py",
        "methods/boxcaseg/proxy_quality.py",
        "evaluation/class_agnostic.py",
        "evaluation/rle.py",
    ]
    names += ["proxy/merge.py", "proxy/agreement.py"]
    for name in names:
        path = root / "wsis" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("N = 1\n")
    codes = [proxy_hash(root)]
    for name in names:
        (root / "wsis" / name).write_text("N = 2\n")
        codes.append(proxy_hash(root))
    assert len(set(codes)) == len(codes)
    (root / "wsis/methods/alpha.py").write_text("N = 2\n")
    assert proxy_hash(root) == codes[-1] and len(proxy_hash(ROOT)) == 16

"""The wheel carries the declarations and the workflow, which lie beside the package in a checkout."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("ablations", "config", "workflow", "environment.yml")


class Build(build_py):
    """Copies CARRIED into the package that is built; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in map(Path, CARRIED):
            target = Path(self.build_lib, "wsis", source)
            if source.is_dir():
                copytree(source, target, dirs_exist_ok=True, ignore=ignore_patterns("__pycache__"))
            else:
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": Build})

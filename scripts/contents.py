"""scripts/contents.py FOLDER: what is wrong with the wheel and the sdist that lie there.

Run by scripts/release-check. It ends with 1 where it finds anything.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "noa_async"
BUILT = "noa_async/transfer/_md5.abi3.so"


def package_files() -> set[str]:
    """Every file of the package's source: modules, and data such as py.typed."""
    files = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in files}
    return {name for name in names if "__pycache__" not in name and not name.endswith(".so")}


def wrong_in_wheel(names: set[str], package: set[str]) -> list[str]:
    """What a wheel lacks, or should not hold; the names are those of its files.

    >>> wrong_in_wheel({"a/__init__.py", "tests/test_a.py"}, {"a/__init__.py", "a/py.typed"})
    ['a/py.typed is missing', 'the licence is missing', 'tests/test_a.py does not belong there']
    """
    told = {name for name in names if ".dist-info/" in name}
    faults = [f"{name} is missing" for name in sorted(package - names)]
    if not any(name.endswith("/LICENSE") for name in told):
        faults.append("the licence is missing")
    return faults + [f"{name} does not belong there" for name in sorted(names - told - package)]


def wrong_in_sdist(names: set[str], package: set[str]) -> list[str]:
    """The same of an sdist, whose names begin behind its folder."""
    needed = package | {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "setup.py"}
    faults = [f"{name} is missing" for name in sorted(needed - names)]
    strangers = sorted(name for name in names if re.match(r"tests/|benchmarks/|\.", name))
    return faults + [f"{name} does not belong there" for name in strangers]


def main(folder: Path) -> int:
    """Look into both, and tell."""
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as zipped:
        in_wheel = set(zipped.namelist())
    with tarfile.open(sdist) as tarred:
        in_sdist = {one.name.partition("/")[2] for one in tarred.getmembers() if one.isfile()}
    package = package_files()
    faults = [f"{wheel.name}: {fault}" for fault in wrong_in_wheel(in_wheel, package | {BUILT})]
    faults += [f"{sdist.name}: {fault}" for fault in wrong_in_sdist(in_sdist, package)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{wheel.name}: {len(in_wheel)} files, {sdist.name}: {len(in_sdist)} files, as due")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

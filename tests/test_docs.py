"""Every Python snippet in the README and the docs runs, with its runs shortened."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORTER = {"env_steps=20_000": "env_steps=1_100", "steps_per_epoch=1_000": "steps_per_epoch=10"}
EXTRAS = {"Bullet-v0": ("pybullet", "pybullet"), "dm_control/": ("dm_control", "dm-control")}

# Pages whose snippets go on from each other, as the cells of a notebook do.
NOTEBOOKS = [ROOT / "docs/by_hand.md", ROOT / "docs/extending.md"]


def sources(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def snippets():
    for page in PAGES:
        if page not in NOTEBOOKS:
            for number, source in enumerate(sources(page)):
                yield pytest.param(source, id=f"{page.relative_to(ROOT)}-{number}")


def run(source, names):
    for long, short in SHORTER.items():
        source = source.replace(long, short)
    exec(compile(source, "snippet", "exec"), names)


@pytest.mark.parametrize("source", list(snippets()))
def test_snippet_runs(source, tmp_path, monkeypatch, short_pendulum):
    for text, (package, extra) in EXTRAS.items():
        if text in source and find_spec(package) is None:
            pytest.skip(f'{package} missing: pip install "kerasrl[{extra}]"')
    monkeypatch.chdir(tmp_path)
    run(source, {"__name__": "__main__"})


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebook_runs(page, tmp_path, monkeypatch, short_pendulum):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in sources(page):
        run(cell, names)


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_readme_has_two_commands():
    commands = re.findall(
        r"^```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)

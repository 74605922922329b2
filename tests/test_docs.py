"""Every Python snippet in the README and the docs runs, with its runs shortened."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORTER = {"env_steps=20_000": "env_steps=1_100", "steps_per_epoch=1_000": "steps_per_epoch=10"}


def snippets():
    for page in PAGES:
        found = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for number, source in enumerate(found):
            yield pytest.param(source, id=f"{page.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("source", list(snippets()))
def test_snippet_runs(source, tmp_path, monkeypatch, short_pendulum):
    monkeypatch.chdir(tmp_path)
    for long, short in SHORTER.items():
        source = source.replace(long, short)
    exec(compile(source, "snippet", "exec"), {"__name__": "__main__"})


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

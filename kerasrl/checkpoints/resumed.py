"""What a run goes on from."""

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run goes on from.

    Args:
        directory: path of the checkpoint.
        state: dict, what `Checkpoint` kept besides the agent and the replay.
    """

    directory: Path
    state: dict[str, Any]

    @property
    def agent(self) -> Path:
        """The file that the agent is in."""
        return self.directory / "agent.keras"

    @property
    def replay(self) -> Path | None:
        """The directory that the replay's contents are in, if they were kept."""
        directory = self.directory / "replay"
        return directory if directory.exists() else None

    @property
    def collector(self) -> dict[str, Any]:
        """The state of the callback that collects."""
        return self.state["collector"]

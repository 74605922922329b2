"""Checkpoints: a run is kept in a directory, and gone on with from there.

From front to back: `directory` is where checkpoints are; `checkpoint` writes them and finds the
newest; `resumed` is what it found, `run_settings` says whether that is of this run, and
`callback_state` what callbacks keep in it; `resume` is what `fit` does with it.
"""

from kerasrl.checkpoints.checkpoint import Checkpoint

__all__ = ["Checkpoint"]

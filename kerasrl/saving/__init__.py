"""Saving: files that are written whole or not at all, and read without trusting them."""

from kerasrl.files.atomic import replacing_directory, replacing_file
from kerasrl.saving.loading import load, load_weights, pickled, unpickled
from kerasrl.saving.restoring import check_same, restore
from kerasrl.saving.saved import Savable, Saved
from kerasrl.saving.untrusted.limits import check_call
from kerasrl.saving.weights import is_compiled, make_slots
from kerasrl.saving.writing import agent_path, save_agent, save_weights, weights_path

__all__ = [
    "Savable",
    "Saved",
    "agent_path",
    "check_call",
    "check_same",
    "is_compiled",
    "load",
    "load_weights",
    "make_slots",
    "pickled",
    "replacing_directory",
    "replacing_file",
    "restore",
    "save_agent",
    "save_weights",
    "unpickled",
    "weights_path",
]

"""Saving: files that are written whole or not at all, and read without trusting them."""

from kerasrl.saving.atomic import replacing_directory, replacing_file
from kerasrl.saving.limits import check_call
from kerasrl.saving.loading import load, load_weights
from kerasrl.saving.restoring import check_same, restore
from kerasrl.saving.weights import make_slots
from kerasrl.saving.writing import save_agent, save_weights

__all__ = [
    "check_call",
    "check_same",
    "load",
    "load_weights",
    "make_slots",
    "replacing_directory",
    "replacing_file",
    "restore",
    "save_agent",
    "save_weights",
]

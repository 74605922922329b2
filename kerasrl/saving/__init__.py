"""Saving: files that are written whole or not at all, and read without trusting them."""

from kerasrl.saving.atomic import replacing_directory, replacing_file

__all__ = ["replacing_directory", "replacing_file"]

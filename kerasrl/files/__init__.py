"""Files: written whole or not at all, kept in directories, packed, and compared."""

from kerasrl.files.atomic import replacing_directory, replacing_file

__all__ = ["replacing_directory", "replacing_file"]

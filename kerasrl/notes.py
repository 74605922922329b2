"""Saying where an error came from, without changing what it is."""

from kerasrl.errors import KerasRLError


def add_note(error: BaseException, note: str) -> None:
    """Adds a line to an error, which Python shows below its message.

    Python 3.10 shows no notes. There the line is also the message of another error, in handling
    which this one is shown to have occurred.
    """
    if hasattr(error, "add_note"):
        error.add_note(note)
        return
    error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
    before = KerasRLError(note)
    before.__cause__, before.__context__ = error.__cause__, error.__context__
    before.__suppress_context__ = error.__suppress_context__
    error.__cause__, error.__context__ = None, before
    error.__suppress_context__ = False

"""Errors that help: what is wrong, where, and what to do about it."""

from difflib import get_close_matches


class SpeechlibError(ValueError):
    """Anything a user can mend. Whatever speechlib raises on purpose is one of these."""


class BadFile(SpeechlibError):
    """A file that cannot be used: names the file, the place in it where known, and the reason."""

    def __init__(self, path, reason: str, place: str | None = None):
        self.path, self.reason, self.place = str(path), reason, place
        super().__init__(f"{path}{f' ({place})' if place else ''}: {reason}")

    def __reduce__(self):  # exceptions with several arguments do not pickle by themselves (worker processes)
        return type(self), (self.path, self.reason, self.place)


class FullDisk(SpeechlibError):
    """A file that could not be written for want of room. What stood there before still does."""

    def __init__(self, path, reason: str):
        self.path, self.reason = str(path), reason
        super().__init__(
            f"{path} could not be written, the disk is full ({reason}): make room there, or move data and outputs by "
            "SPEECHLIB_DATA and SPEECHLIB_OUTPUTS, and run again. Nothing half-written is read"
        )

    def __reduce__(self):
        return type(self), (self.path, self.reason)


class UnknownName(SpeechlibError):
    """A name that is not among the known ones: says which there are and which was probably meant."""

    def __init__(self, what: str, name: str, known):
        self.what, self.name, self.known = what, name, sorted(map(str, known))
        close = get_close_matches(str(name), self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {what} {name!r}.{hint} There are: {', '.join(self.known) or 'none'}.")

    def __reduce__(self):
        return type(self), (self.what, self.name, self.known)

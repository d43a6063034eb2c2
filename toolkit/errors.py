"""The one kind of error that a user meets: what happened, why, and what to try next."""


class PocketError(Exception):
    """An error with three facts: the thing that failed, its cause, and the next step."""

    def __init__(self, what: str, because: str | Exception = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.because, self.hint = what, reason(because), hint

    def __str__(self) -> str:
        return f"{self.what}: {self.because}" if self.because else self.what


class NotThere(PocketError):
    """A path that was named and does not exist: on the command line a wrong argument."""


def reason(error: object) -> str:
    """What an error says, in words: of the system's without their number and path."""
    return getattr(error, "strerror", None) or str(error)


def format_error(error: BaseException) -> str:
    """The lines that the command line prints; errors of other layers carry the same facts."""
    lines = [f"Error: {getattr(error, 'what', '') or str(error) or type(error).__name__}"]
    for label, name in (("  because: ", "because"), ("  try:     ", "hint")):
        fact = getattr(error, name, "")
        if fact:
            lines.append(label + str(fact).replace("\n", "\n" + " " * len(label)))
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in "\n".join(lines))

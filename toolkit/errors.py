"""The one kind of error that users see: what happened, why, and what to try next."""


class PocketError(Exception):
    """An error with three facts: the thing that failed, its cause, and the next step."""

    def __init__(self, what: str, because: str | Exception = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.because, self.hint = what, reason(because), hint

    def __str__(self) -> str:
        return f"{self.what}: {self.because}" if self.because else self.what


class NotThere(PocketError):
    """A given path does not exist; on the command line that is a usage error."""


def reason(error: object) -> str:
    """The message of an error; of an OSError without its number and path."""
    return getattr(error, "strerror", None) or str(error)


def format_error(error: BaseException) -> str:
    """The lines that the command line prints, with control characters escaped.

    Errors of other layers have no common class, but the same attributes.
    """
    lines = [f"Error: {getattr(error, 'what', '') or str(error) or type(error).__name__}"]
    for label, name in (("  because: ", "because"), ("  try:     ", "hint")):
        fact = getattr(error, name, "")
        if fact:
            lines.append(label + str(fact).replace("\n", "\n" + " " * len(label)))
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in "\n".join(lines))

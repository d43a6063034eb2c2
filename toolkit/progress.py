"""Progress on one line of stderr, only on a terminal."""

import shutil
import sys


class Progress:
    """The progress line; there is one for the whole program."""

    shown = False

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        """Replace the line; "" clears it. Notes overwrite it: the cursor stays at its start."""
        if not self.visible() or not (text or self.shown):
            return
        share = f" {100 * done // total} %" if total else ""
        room = shutil.get_terminal_size().columns - 1 - len(share)  # a longer line would wrap
        line = f"{text[: max(room, 0)]}{share}\r" if text else ""
        sys.stderr.write(f"\r\x1b[2K{line}")
        sys.stderr.flush()
        self.shown = bool(text)

    def visible(self) -> bool:
        """Whether stderr is a terminal."""
        return sys.stderr.isatty()


PROGRESS = Progress()


def note_on_stderr(line: str) -> None:
    """Where notes go by default."""
    print(line, file=sys.stderr)

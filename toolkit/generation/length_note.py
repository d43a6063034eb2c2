"""What to tell where a text passes the length at which a model changes its rotary tables."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.generation.session import Session


def length_note(session: "Session", fresh: int, new: int) -> str | None:
    """For `fresh` ids that are fed after what the session holds, and up to `new` more.

    None where all keys of the text turn by the same tables: it stays short, or all of it is fed, or
    known to be long, before its first key is made.
    """
    short, held = session.model.get("short_text"), len(session.history)
    if not short or held > short or session.text_length > short:
        return None
    prompt = held + fresh
    end = min(prompt + new, int(session.model["max_context"]))
    first = held if prompt > short else prompt  # tokens whose keys are those of a short text
    if not first or end <= short:
        return None
    return (
        f"note: beyond {short} tokens this model has other rotary tables, and keys that are in the "
        f"cache by then stay as they are (as in ONNX Runtime); --text-length {end} uses the others "
        "from the start"
    )

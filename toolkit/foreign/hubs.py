"""Models on a hub, and the commands that export them to ONNX."""

import re
from shlex import quote

HUBS = r"(?:huggingface\.co|hf\.co|hf-mirror\.com|(?:www\.)?modelscope\.(?:cn|ai))"
NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
ADDRESS = re.compile(rf"(?:https?:/+{HUBS}/(?:models/)?|hf:/+)({NAME})(?:[/?#].*)?")
ANY_ADDRESS = re.compile(r"(?:https?|ftp|hf|s3|gs):/+")
OF_ONNX = re.compile(r"^(?:onnx-community|Xenova|onnx-models)/|[-_.]onnx\b", re.IGNORECASE)
TEXT_TASK = "--task text-generation-with-past"
PROGRAM = "(optimum-cli comes with `pip install optimum-onnx`, in an environment of its own)"


def repository_of(text: str) -> str:
    """OWNER/NAME of a hub's address, or of text that is such a name; else empty."""
    found = ADDRESS.fullmatch(text) or re.fullmatch(f"({NAME})", text)
    return found[1].removesuffix(".git") if found else ""


def is_address(text: str) -> bool:
    """Whether this is a URL; pathlib keeps only one of its slashes."""
    return bool(ANY_ADDRESS.match(text))


def export(model: str, task: str = TEXT_TASK, then: str = "compile") -> str:
    """The commands that export a model, from a folder or a hub, and then `pocketcl <then>`."""
    out = quote(re.sub(r"[-_.]onnx$", "", model.rstrip("/").rpartition("/")[2]) + "-onnx")
    words = ["optimum-cli export onnx --model", quote(model), *([task] if task else []), out]
    verb, *flags = then.split()
    return f"{' '.join(words)}\n{' '.join(['pocketcl', verb, out, *flags])}\n{PROGRAM}"


def fetch(repository: str, address: str = "") -> str:
    """The commands that make a plan from a repository; one that holds ONNX is only downloaded."""
    if re.search(r"gguf", repository, re.IGNORECASE):
        return f"export the original model, which its page names:\n{export('ORIGINAL')}"
    if not OF_ONNX.search(repository) and ".onnx" not in address:
        return export(repository)
    out = quote(repository.rpartition("/")[2])
    return f"hf download {quote(repository)} --local-dir {out}\npocketcl compile {out}"

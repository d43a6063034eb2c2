"""Text to ids and back; a stream of ids never cuts a character."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from toolkit.errors import PocketError
from toolkit.generation.tokenizer import Tokenizer, load_tokenizer, parse_ids

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
TRICKY = 'Once upon a time, naïve café — 日本語 🙂 "hi".  Two  spaces\n\nnew \ufffd line'


@pytest.fixture
def demo() -> Tokenizer:
    text = load_tokenizer(DEMO)
    assert text is not None
    return text


def byte_fallback(folder: Path) -> Tokenizer:
    """A SentencePiece-like tokenizer: ▁ for spaces, <0x..> for bytes, the first space dropped."""
    names = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "▁a", "b", "▁é"]
    model = models.BPE(
        {n: i for i, n in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder)


@pytest.mark.parametrize("start", [1, 2, 5, 20])
def test_a_stream_adds_up_to_the_text(demo: Tokenizer, start: int) -> None:
    ids = demo.encode(TRICKY)
    stream = demo.stream(ids[:start])
    pieces = [stream.push(i) for i in ids[start:]]
    assert demo.decode(ids[:start]) + "".join(pieces) + stream.flush() == TRICKY


def test_no_piece_holds_half_a_character(demo: Tokenizer) -> None:
    ids = demo.encode("日本語 🙂 é")
    stream = demo.stream(ids[:1])
    assert not any("\ufffd" in stream.push(i) for i in ids[1:])


def test_spaces_and_bytes_of_a_sentencepiece_tokenizer(tmp_path: Path) -> None:
    text = byte_fallback(tmp_path)
    ids = [text.backend.token_to_id(t) for t in ("▁a", "b", "▁a", "<0xF0>", "<0x9F>")]
    ids += [text.backend.token_to_id(t) for t in ("<0x99>", "<0x82>", "▁a", "▁é")]
    stream = text.stream(ids[:2])
    assert "".join(stream.push(i) for i in ids[2:]) == " a🙂 a é"


def test_what_is_unfinished_at_the_end_is_shown(demo: Tokenizer) -> None:
    ids = demo.encode("🙂")
    stream = demo.stream(ids[:1])
    assert "".join(stream.push(i) for i in ids[1:-1]) == ""
    assert "\ufffd" in stream.flush()
    assert stream.flush() == ""


def test_the_first_token_is_added_only_where_the_settings_say_so(tmp_path: Path) -> None:
    byte_fallback(tmp_path)
    assert Tokenizer(tmp_path, bos=1).encode("b")[0] != 1
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))
    assert Tokenizer(tmp_path, bos=1).encode("b")[0] == 1


def test_the_demo_adds_its_first_token_once(demo: Tokenizer) -> None:
    assert Tokenizer(DEMO, bos=0).encode("Once")[:1] == [0]
    assert Tokenizer(DEMO, bos=0).encode("Once") == demo.encode("Once")


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path) is None


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(PocketError, match="tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("text, ids", [("1,2,3", [1, 2, 3]), (" 7 8,9 ", [7, 8, 9]), ("", [])])
def test_ids(text: str, ids: list[int]) -> None:
    assert parse_ids(text) == ids


@pytest.mark.parametrize("text", ["a", "1,2,x", "1.5"])
def test_bad_ids(text: str) -> None:
    with pytest.raises(PocketError, match="token ids"):
        parse_ids(text)

"""Chat templates: what real ones give, and what those get that mean no good."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit.compiler.source import TOKENIZER_FILES
from toolkit.errors import PocketError
from toolkit.generation import chat_template_worker as template_worker
from toolkit.generation.chat_template import (
    TEMPLATE_FILES,
    ChatTemplate,
    load_template,
    special_tokens,
    template_from,
)

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = """\
{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}
{{ message['content'] + eos_token + ' ' }}
{% else %}
{{ raise_exception('Only user and assistant roles are supported!') }}
{% endif %}
{% endfor %}""".replace("\n", "")
LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%Y") %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date_string + "\\n" }}
{%- if tools is not none %}{{- tools | tojson(indent=4) }}{%- endif %}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
HELLO = [{"role": "user", "content": 'Hi <é🙂> & "you"'}]
TALK = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture
def made() -> Iterator[Any]:
    found: list[ChatTemplate] = []

    def make(text: str) -> ChatTemplate:
        found.append(ChatTemplate(text, NAMES, "here"))
        return found[-1]

    yield make
    for template in found:
        template.close()


def test_chatml(made: Any) -> None:
    expected = '<|im_start|>user\nHi <é🙂> & "you"<|im_end|>\n<|im_start|>assistant\n'
    assert made(CHATML).render(HELLO) == expected
    assert made(CHATML).render(HELLO, answer=False) == expected.removesuffix(
        "<|im_start|>assistant\n"
    )


def test_mistral(made: Any) -> None:
    template = made(MISTRAL)
    assert template.render(TALK) == (
        '<s>[INST] Hi <é🙂> & "you" [/INST]Hello.</s> [INST] Bye [/INST]'
    )
    with pytest.raises(PocketError, match="must alternate") as caught:
        template.render([*HELLO, *HELLO])
    assert "refuses" in caught.value.what and "--no-template" in caught.value.hint
    assert template.render(TALK)  # a refusal ends nothing


def test_llama3(made: Any) -> None:
    year = time.strftime("%Y")
    assert made(LLAMA3).render([{"role": "system", "content": " Be kind. "}, *HELLO]) == (
        f"<s><|start_header_id|>system<|end_header_id|>\n\nToday: {year}\nBe kind.<|eot_id|>"
        '<|start_header_id|>user<|end_header_id|>\n\nHi <é🙂> & "you"<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize(
    "template, text",
    [
        ("{{ messages[0] | tojson }}", json.dumps(HELLO[0], ensure_ascii=False)),
        ("{{ messages | length }}{{ add_generation_prompt }}", "1True"),
        ("{{ tools is none }}{{ documents is none }}{{ nothing is defined }}", "TrueTrueFalse"),
        ("{% for i in range(9) %}{% if i > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("{% generation %}a{{ bos_token }}{% endgeneration %}b", "a<s>b"),
        ("{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", "2"),
        ("  {% if true %}\n  a\n  {% endif %}\n", "  a\n"),
        ("{{ messages[0].content.split(' ')[0].upper() }}{{ pad_token }}", "HI"),
    ],
)
def test_helpers(made: Any, template: str, text: str) -> None:
    assert made(template).render(HELLO) == text


HOSTILE = {
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['sys'] }}",
    "format": "{{ '{0.__class__}'.format(messages) }}{{ messages.append.__self__ }}",
    "changes messages": "{{ messages.append(1) }}",
    "import": "{% include '/etc/passwd' %}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "memory": "{{ 'a' * 10**10 }}",
    "doubling": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}"
    "{% endfor %}",
    "long": "{% for i in range(99999) %}{{ 'abcdefghij' * 99 }}{% endfor %}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "no template": "{% for %}",
    "division": "{{ 1 // 0 }}",
    "missing": "{{ messages[7].content.x }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_an_error(made: Any, name: str) -> None:
    started = time.monotonic()
    with pytest.raises(PocketError) as caught:
        made(HOSTILE[name]).render(HELLO)
    error = caught.value
    assert "chat template of here" in error.what and error.because and error.hint
    assert "Traceback" not in error.because and time.monotonic() - started < 10


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** 999999999 }}",
    ],
)
def test_an_endless_template_is_stopped(
    made: Any, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr("toolkit.generation.chat_template.SECONDS", 1.0)
    with pytest.raises(PocketError, match="was stopped"):
        made(template).render(HELLO)


def test_the_worker_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own limit holds where nobody waits for it any more."""
    assert template_worker.SECONDS < 15


def test_a_stopped_template_can_be_used_again(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = made("{{ 9 ** (499999999 * (messages | length - 1)) }}")
    assert template.render(HELLO) == "1"
    monkeypatch.setattr("toolkit.generation.chat_template.SECONDS", 0.5)
    with pytest.raises(PocketError, match="was stopped"):
        template.render(TALK)
    monkeypatch.setattr("toolkit.generation.chat_template.SECONDS", 10.0)
    assert template.render(HELLO) == "1"


# --- where templates and special tokens stand -----------------------------------------------


def write(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")


def source_of(folder: Path) -> str | None:
    found = load_template(folder)
    if found is None:
        return None
    try:
        return found.source + ":" + found.render(HELLO)
    finally:
        found.close()


def test_places_in_their_order(tmp_path: Path) -> None:
    assert source_of(tmp_path) is None
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>"})
    assert source_of(tmp_path) is None
    write(
        tmp_path, "tokenizer_config.json", {"chat_template": "c{{ bos_token }}", "bos_token": "B"}
    )
    assert source_of(tmp_path) == "tokenizer_config.json:cB"
    write(tmp_path, "chat_template.json", {"chat_template": "json"})
    assert source_of(tmp_path) == "chat_template.json:json"
    write(tmp_path, "chat_template.jinja", "jinja")
    assert source_of(tmp_path) == "chat_template.jinja:jinja"
    assert set(TEMPLATE_FILES) <= set(TOKENIZER_FILES)  # a compile copies them


def test_several_templates_in_one_file(tmp_path: Path) -> None:
    entries = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": entries})
    assert source_of(tmp_path) == "tokenizer_config.json:d"
    write(tmp_path, "tokenizer_config.json", {"chat_template": entries[:1]})
    assert source_of(tmp_path) == "tokenizer_config.json:t"


def test_special_tokens(tmp_path: Path) -> None:
    write(tmp_path, "special_tokens_map.json", {"bos_token": {"content": "<b>"}, "eos_token": "e"})
    write(tmp_path, "tokenizer_config.json", {"eos_token": "<e>", "pad_token": None})
    assert special_tokens(tmp_path) == {"bos_token": "<b>", "eos_token": "<e>"}


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", "{")
    with pytest.raises(PocketError, match="tokenizer_config"):
        load_template(tmp_path)


def test_a_template_of_the_users_own(tmp_path: Path) -> None:
    write(tmp_path, "mine.jinja", "x")
    write(tmp_path, "mine.json", {"chat_template": "y"})
    write(tmp_path, "none.json", {})
    assert template_from(tmp_path / "mine.jinja", tmp_path).source == "mine.jinja"
    assert template_from(tmp_path / "mine.json", tmp_path).source == "mine.json"
    with pytest.raises(PocketError, match="no chat template"):
        template_from(tmp_path / "none.json", tmp_path)
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(PocketError, match="not UTF-8"):
        template_from(tmp_path / "bytes.jinja", tmp_path)

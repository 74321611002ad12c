"""Chat templates of every kind lead to a number."""

from __future__ import annotations

from types import SimpleNamespace

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from questions.question import Question
from scoring.chat_templates import render, template_dates
from scoring.prompts import PLAIN_ANSWER, SYSTEM, forecast_messages

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = forecast_messages(Question("Will A happen?"), today="2026-11-24")


class TemplateTokenizer:
    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt=False, **kwargs):
        def refuse(message):
            raise jinja2.exceptions.TemplateError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        template = environment.from_string(self.chat_template)
        return template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, **kwargs
        )


@pytest.mark.parametrize("template", [None, ""])
def test_without_a_template_the_prompt_is_plain_text_and_the_number_has_a_space(template):
    rendered = render(SimpleNamespace(chat_template=template), MESSAGES)
    assert rendered.text.startswith(SYSTEM)
    assert rendered.text.endswith(PLAIN_ANSWER)
    assert rendered.lead == " "
    assert rendered.add_special_tokens


def test_a_chat_template_ends_where_the_answer_begins():
    rendered = render(TemplateTokenizer(CHATML), MESSAGES)
    assert rendered.text.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>")
    assert rendered.text.endswith("<|im_start|>assistant\n")
    assert rendered.lead == ""
    assert not rendered.add_special_tokens


@pytest.mark.parametrize(
    "head",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
        "",
    ],
    ids=["refuses", "drops"],
)
def test_a_template_without_a_system_role_gets_the_system_text_in_the_users_message(head):
    template = head + (
        "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</end>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    text = render(TemplateTokenizer(template), MESSAGES).text
    assert text == f"<user>{SYSTEM}\n\n{MESSAGES[1]['content']}</end>\n<assistant>"


def test_what_a_template_puts_before_an_answer_is_added_without_its_space():
    template = (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}<channel>final: {% endif %}{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    rendered = render(TemplateTokenizer(template), MESSAGES)
    assert rendered.text.endswith("[assistant]<channel>final:")
    assert rendered.lead == " "


@pytest.mark.parametrize(
    ("prefix", "lead"),
    [("Answer:", " "), ("Answer:\n", ""), ("<answer>", ""), ("My estimate is", " ")],
)
def test_an_answer_prefix_replaces_it_and_no_prompt_ends_in_a_space(prefix, lead):
    rendered = render(TemplateTokenizer(CHATML), MESSAGES, answer_prefix=prefix)
    assert rendered.text.endswith("<|im_start|>assistant\n" + prefix)
    assert rendered.lead == lead


def test_a_template_that_ends_in_a_space_gives_it_to_the_number():
    rendered = render(
        TemplateTokenizer("{{ messages[0].content }}{{ messages[-1].content }} Answer: "), MESSAGES
    )
    assert rendered.text.endswith("Answer:")
    assert rendered.lead == " "


def test_templates_take_their_date_from_the_task_not_from_the_clock():
    template = CHATML.replace("{% for", "{{ date_string }}|{{ strftime_now('%Y') }}\n{% for", 1)
    text = render(
        TemplateTokenizer(template), MESSAGES, chat_template_kwargs=template_dates("2019-03-05")
    ).text
    assert text.startswith("05 Mar 2019|2019\n")


def test_template_arguments_reach_the_template():
    template = CHATML + "{% if enable_thinking == false %}<think>\n\n</think>\n\n{% endif %}"
    rendered = render(
        TemplateTokenizer(template), MESSAGES, chat_template_kwargs={"enable_thinking": False}
    )
    assert rendered.text.endswith("</think>\n\n")

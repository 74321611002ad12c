"""The embedded model with a chat template that makes it think."""

from __future__ import annotations

import json
from pathlib import Path

from runs import demo

# A thought is opened with the generation prompt, as the templates of QwQ and the R1 distills do.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def thinking_model(folder: Path, template: str = TEMPLATE) -> Path:
    """Link the embedded model's files into ``folder`` under another chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(demo.prepare_model()).iterdir():
        if file.name not in ("tokenizer_config.json", "chat_template.jinja"):
            (folder / file.name).symlink_to(file)
    settings = json.loads(
        (Path(demo.prepare_model()) / "tokenizer_config.json").read_text(encoding="utf-8")
    )
    settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder

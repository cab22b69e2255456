"""Chat templates in the manner of well-known models, over the tokens of the tiny tokenizer."""

from tests.conftest import CHAT_TEMPLATE

QWEN3 = (  # an empty thinking block before the last answer, which only an option puts into the prompt
    "{%- for m in messages %}{% if m.role == 'assistant' %}"
    "{% set content = m.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{- '<|im_start|>assistant\\n' }}{% if loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{- content + '<|im_end|>\\n' }}"
    "{% else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)

GLM4 = (  # a line end between the block and the answer, which no option puts into the prompt
    "{%- for m in messages %}{{- '<|im_start|>' + m.role }}"
    "{%- if m.role == 'assistant' %}{{- '\\n<think></think>\\n' + m.content.strip() + '<|im_end|>' }}"
    "{%- else %}{{- '\\n' + m.content }}"
    "{%- if m.role == 'user' and enable_thinking is defined and not enable_thinking %}{{- '/nothink' }}{%- endif %}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}"
    "{{- '\\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}{%- endif %}"
)

R1_DISTILL = (  # a thought is begun in the prompt, and taken out of answers
    "{%- for m in messages %}{%- if m.role == 'system' %}{{- m.content }}"
    "{%- elif m.role == 'user' %}{{- '<|im_start|>user ' + m.content }}"
    "{%- else %}{%- set content = m.content %}"
    "{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}"
    "{{- '<|im_start|>assistant ' + content + '<|im_end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant <think>\\n' }}{%- endif %}"
)

LLAMA3 = (  # prints the date of the day, unless it is told another
    "{%- if not date_string is defined %}"
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{{- '<|im_start|>system\\nToday Date: ' + date_string + '\\n\\n' }}"
    "{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}{{- '<|im_end|>' }}"
    "{%- for m in messages if m.role != 'system' %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

GEMMA = (  # refuses a system message
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)

MISTRAL = (  # moves the system message into the last user's turn, as long as that is the last of all
    "{% set s = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and s %}{{ s }}\n\n{% endif %}{{ m.content }}[/INST]{% else %} {{ m.content }}<|im_end|>"
    "{% endif %}{% endfor %}"
)

TEMPLATES = {
    "ChatML": CHAT_TEMPLATE,
    "Qwen3": QWEN3,
    "GLM": GLM4,
    "R1 distill": R1_DISTILL,
    "Llama 3": LLAMA3,
    "Gemma": GEMMA,
    "Mistral": MISTRAL,
}

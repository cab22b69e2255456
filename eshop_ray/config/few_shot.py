"""The section of worked examples in prompts."""

from typing import Annotated, Literal

from pydantic import Field

from eshop_ray.config.base import Section

MAX_EXAMPLES = 64
ExampleChoice = Literal["random", "similar", "balanced"]


class FewShotSection(Section):
    """In-context learning: worked examples in the prompt, as earlier turns of the chat. They come from the training
    rows of the same task and group, and hold for every model that `batch_infer` asks.
    """

    num_examples: Annotated[int, Field(ge=0, le=MAX_EXAMPLES)] = 0
    """Examples in each prompt; 0: none. Where they do not fit into the model's context together with the answer, that
    row gets fewer, and the log and the manifest count such rows."""
    choice: ExampleChoice = "random"
    """`random`: the same rows for a whole group, drawn by `seed`, which an engine computes once. `balanced`: the same,
    each answer as often as the others. `similar`: for each question the nearest rows by MiniLM embeddings, the most
    similar last."""

"""What the answers cost at the least, and what share of the machine's peaks that is.

Per token that the model reads or writes, tokens from the prefix cache left out:
    projections     2 operations per weight
Per token that it writes:
    head            2 operations per weight
Per pair of tokens of which one looks at the other, and layer:
    attention       4 operations per channel of the queries
Bytes: the weights once per step, with as many steps as a full batch needs, and each written token's keys and values of
all before it. Norms, activations, masks of grammars and steps with fewer rows count nothing.
"""

from statistics import median

from tests.bench.train.flops import read_shape

BYTES_PER_VALUE = 2
"""bf16."""


def compute_limit(part, model_dir, peaks):
    """Return work per row of the side `ours`, and its shares of the peaks `gflops` and `gbytes`."""
    shape, raw, ours = read_shape(model_dir), part["sides"]["raw"], part["sides"]["ours"]
    num_rows, max_num_seqs = part["num_rows"], raw["engine"]["max_num_seqs"]
    prompt, written, cached = (raw[f"num_{kind}_tokens"] / num_rows for kind in ("input", "generated", "cached"))
    read = prompt - cached + written - 1
    weights = shape.num_layers * sum(inputs * outputs for inputs, outputs in shape.projections)
    head = shape.hidden * shape.vocabulary
    channels = shape.num_heads * shape.head_dim
    pairs = (prompt**2 - cached**2) / 2 + written * (prompt + written / 2)
    flops = 2 * weights * read + 2 * head * written + 4 * shape.num_layers * channels * pairs
    keys = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim
    values = (weights + head) * written / max_num_seqs + keys * written * (prompt + written / 2)
    speed = median(ours["rows_per_second"])
    return {
        "gflop_per_row": flops / 1e9,
        "mbytes_per_row": values * BYTES_PER_VALUE / 1e6,
        "compute_share": speed * flops / 1e9 / peaks["gflops"],
        "memory_share": speed * values * BYTES_PER_VALUE / 1e9 / peaks["gbytes"],
        **peaks,
    }

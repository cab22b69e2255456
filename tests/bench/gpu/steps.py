"""What one worker computes of a step, of random rows."""

from eshop_ray.training.feed import Microbatches
from tests.bench.gpu.packs import draw_pack

GROUPS = [(24, 6, 6, 8), (0, 1, 20, 10)]
"""Of each pack; see `draw_rows`."""


def build_share(vocabulary, num_packs=1):
    """Return the packs of a step."""
    packs = [draw_pack(GROUPS, vocabulary, seed) for seed in range(num_packs)]
    num_rows, num_tokens = (sum(map(len, part)) for part in ([pack.ids for pack in packs], packs))
    return Microbatches(0, float(sum(pack.weights.sum() for pack in packs)), num_rows, num_tokens, packs)

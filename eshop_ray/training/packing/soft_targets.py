"""What a teacher says of answer tokens, beside the tokens themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class SoftTargets:
    """The probabilities of a few words, and of all others together, at each of some answer tokens."""

    words: npt.NDArray[np.int32]
    """(A, K); the token's own word is among them."""
    probabilities: npt.NDArray[np.float32]
    """(A, K + 1), 1 in sum; the last is that of all other words."""

    def __len__(self) -> int:
        """Answer tokens."""
        return len(self.words)

    def take(self, chosen: npt.NDArray[np.bool_]) -> "SoftTargets":
        """Return those of some of the tokens."""
        return SoftTargets(self.words[chosen], self.probabilities[chosen])

    @classmethod
    def join(cls, parts: Sequence["SoftTargets"]) -> "SoftTargets":
        """Return those of several rows behind each other."""
        return cls(
            np.concatenate([part.words for part in parts]), np.concatenate([part.probabilities for part in parts])
        )

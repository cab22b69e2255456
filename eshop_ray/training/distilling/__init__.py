"""Learning from another model: from what it says at each word of an answer, or from its answers."""

"""Time and memory of one training process: what counts begins when the first optimizer step is done."""

import time
from pathlib import Path

import torch


class StepClock:
    """Counts rows and answer tokens from the end of the first (warm-up) step to the end of the last one."""

    def __init__(self):
        self.num_steps = self.rows = self.answer_tokens = 0
        self.seconds = 0.0
        self._started = None

    def add(self, rows, answer_tokens):
        """Count a part of a step."""
        if self._started is not None:
            self.rows += int(rows)
            self.answer_tokens += int(answer_tokens)

    def end_step(self):
        """Note that an optimizer step is done."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.num_steps += 1
        if self._started is None:
            self._started = now
        self.seconds = now - self._started

    def read(self):
        """Return the figures of the process."""
        if not self.rows:
            raise SystemExit(f"nothing to measure: {self.num_steps} optimizer steps; give at least two batches of rows")
        return {
            "rows": self.rows,
            "answer_tokens": self.answer_tokens,
            "seconds": self.seconds,
            "rows_per_second": self.rows / self.seconds,
            "answer_tokens_per_second": self.answer_tokens / self.seconds,
            "peak_mib": read_peak_mib(),
            "num_steps": self.num_steps,
        }


def read_peak_mib():
    """Return the most memory that this process ever held: the GPU's where it trained on one, else its own."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

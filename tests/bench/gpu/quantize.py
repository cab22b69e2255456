"""The quantized models that a machine without a package index loads: `python -m tests.bench.gpu.quantize FOLDER`.

Two small ones with random weights, written by `eshop quantize` here, calibrated on rows of the sample shop. They take
a megabyte each, and ten minutes. Hand FOLDER to the check as `--quantized`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.gpu.models import SMALL, write_model

SCHEMES = ("fp8", "w4a16_gptq")
CONFIG = "jobs/configs/demo.yaml"
NUM_PRODUCTS, NUM_ROWS = 30, 64
JOBS = ("make_sample_shop", "prepare_data", "quantize")


def main(folder):
    with tempfile.TemporaryDirectory() as workdir:
        model_dir = write_model(Path(workdir, "random"), SMALL)
        settings = [
            f"run_root={workdir}",
            f"data.root={workdir}/shop",
            f"data.num_products={NUM_PRODUCTS}",
            f"model.source={model_dir}",
            "quantize.model=base",
            f"quantize.num_calibration_rows={NUM_ROWS}",
        ]
        for scheme in SCHEMES:
            for job in JOBS:  # what is up to date is not made again
                run(job, [*settings, f"quantize.scheme={scheme}"])
            shutil.copytree(Path(workdir, "demo", "quantized"), folder / scheme, dirs_exist_ok=True)


def run(job, settings):
    subprocess.run([sys.executable, "-m", f"jobs.{job}", CONFIG, *settings], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

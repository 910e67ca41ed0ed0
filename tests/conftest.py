"""What must be settled before JAX starts its backend: four CPU devices, quick compilation."""

import mmap
import os
import pathlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy and SciPy are loaded

import hypothesis
import jax
import jaxlib

# Tests compile far more than they compute: the least optimisation, and no emitters of fusions,
# which together take half the time. Processes that tests start inherit it.
_QUICK = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")


def _is_known(flag: str) -> bool:
    """Whether this XLA knows a flag; it would end the process for one that it does not."""
    for path in pathlib.Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
            return found.find(flag.split("=")[0].removeprefix("--").encode()) >= 0
    return False


_given = os.environ.get("XLA_FLAGS", "")
_ours = [flag for flag in _QUICK if flag.split("=")[0] not in _given and _is_known(flag)]
os.environ["XLA_FLAGS"] = " ".join([_given, *_ours]).strip()
jax.config.update("jax_num_cpu_devices", 4)
if not jax.config.jax_platforms:  # JAX_PLATFORMS
    jax.config.update("jax_platforms", "cpu")

# The same examples in every run, none kept on disk, and no clock on a shared machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

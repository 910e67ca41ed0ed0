"""What must be settled before JAX starts its backend: four CPU devices, quick compilation."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy and SciPy are loaded

import hypothesis
import jax

_FLAG = "--xla_backend_optimization_level"

_flags = os.environ.get("XLA_FLAGS", "")
if _FLAG not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} {_FLAG}=1".strip()
jax.config.update("jax_num_cpu_devices", 4)
if not jax.config.jax_platforms:  # JAX_PLATFORMS
    jax.config.update("jax_platforms", "cpu")

# The same examples in every run, none kept on disk, and no clock on a shared machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

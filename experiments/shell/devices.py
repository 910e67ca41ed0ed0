"""Preparing JAX before its first computation: one device a core, and a compilation cache."""

import logging
import os
import pathlib

# One thread a device: a second one only waits on products this small, and elementwise kernels cut
# for several threads cost a tenth of the training. LLVM's level 1 compiles in two thirds of the
# time of level 2, for programs that run as fast.
XLA_FLAGS = (
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_disable_hlo_passes=cpu-parallel-task-assigner",
    "--xla_cpu_prefer_vector_width=512",
    "--xla_backend_optimization_level=1",
)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(cache: pathlib.Path | None) -> None:
    """Makes every core a CPU device and keeps compiled programs in `cache` (None: nowhere).

    Flags that the user has set in XLA_FLAGS win. Has no effect on accelerators but the cache.
    """
    given = os.environ.get("XLA_FLAGS", "")
    ours = [flag for flag in XLA_FLAGS if flag.split("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *ours]).strip()
    logging.getLogger("jax").setLevel(logging.WARNING)  # it tells of every backend it has not found
    import jax

    if "xla_force_host_platform_device_count" not in given:
        jax.config.update("jax_num_cpu_devices", cores())
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

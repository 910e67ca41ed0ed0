"""The impure rim: flags, devices, disk, progress, reports."""

"""The cgroups that the sources ask for; filters ask for the same ones, so they lie further down."""

from tcptop_tui.cgroups import Cgroups, cgroup_id, mount_point

__all__ = ["Cgroups", "cgroup_id", "mount_point"]

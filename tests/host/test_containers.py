"""What the paths of cgroups say of containers: paths as the runtimes make them."""

from __future__ import annotations

import os

import pytest

from tcptop_tui.host.containers import container_name, container_of_pid

ID = "4f3c2a1b9e8d7c6b5a49382716f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3"
OTHER = "99" * 32
POD = "pod0f6cbd4e-7ec7-4b2c-9d5e-0e6a1f1d3b55"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", ""),
        ("/init.scope", ""),
        ("/system.slice/docker.service", ""),
        ("/system.slice/ssh.service", ""),
        ("/user.slice/user-1000.slice/session-3.scope", ""),
        (f"/system.slice/docker-{ID}.scope", "docker:4f3c2a1b9e8d"),
        (f"/docker/{ID}", "docker:4f3c2a1b9e8d"),
        (f"/docker/{ID}/init.scope", "docker:4f3c2a1b9e8d"),
        (f"/docker/{ID}/docker/{OTHER}", "docker:999999999999"),
        (f"/kubepods.slice/kubepods-burstable.slice/{POD}.slice/cri-containerd-{ID}.scope", "cri:4f3c2a1b9e8d"),
        (f"/kubepods/besteffort/{POD}/{ID}", "cri:4f3c2a1b9e8d"),
        (f"/kubepods/{POD}/{ID}", "cri:4f3c2a1b9e8d"),
        (f"/kubepods/besteffort/{POD}", ""),
        (f"/system.slice/containerd.service/kubepods-pod.slice:cri-containerd:{ID}", "cri:4f3c2a1b9e8d"),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", "crio:4f3c2a1b9e8d"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman:4f3c2a1b9e8d"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman:4f3c2a1b9e8d"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", ""),
        ("/lxc.payload.web", "lxc:web"),
        ("/lxc.payload.web/system.slice/nginx.service", "lxc:web"),
        ("/lxc/web.1", "lxc:web.1"),
        ("/lxc.monitor.web", ""),
        (r"/machine.slice/machine-build\x2dbox.scope/payload", "nspawn:build-box"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "nspawn:web"),
        ("/docker/not-an-id", ""),
        (f"/my-docker-{ID}.scope", ""),
    ],
)
def test_containers_by_path(path: str, name: str) -> None:
    assert container_name(path) == name


def test_a_process_that_has_ended_is_in_none() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert container_of_pid(child) == ""

from __future__ import annotations

import llama_cpp
import pytest

from inference_service.adapters.devices import gpu_devices

pytestmark = pytest.mark.model


def test_the_gpus_are_those_that_llama_cpp_could_put_layers_on():
    devices = gpu_devices()
    assert bool(devices) <= llama_cpp.llama_supports_gpu_offload()
    for device in devices:
        assert device.name
        assert device.free_bytes >= 0


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="llama.cpp was built with support for GPUs")
def test_a_machine_without_a_gpu_has_none():
    assert gpu_devices() == []

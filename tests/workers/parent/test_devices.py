"""Which devices `--devices` means."""

import pytest

from farm.errors import ConfigError
from workers.parent.devices import choose_devices, needs_gpus
from workers.parent.nvidia import GpuListing, parse_listing, select_visible

LISTED = parse_listing("""\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-aaaa-0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc-2)
  MIG 3g.20gb     Device  0: (UUID: MIG-dddd-0)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-cccc-2/7/0)
""")
GPUS, SLICED = GpuListing(LISTED[:2]), GpuListing(LISTED)
HIDDEN = GpuListing(reason="CUDA_VISIBLE_DEVICES= hides every GPU")
SLICES = [("MIG-dddd-0", "MIG-dddd-0"), ("MIG-GPU-cccc-2:7:0", "MIG-GPU-cccc-2/7/0")]


def pins(wish: str, listing: GpuListing = GPUS) -> list[tuple[str, str]]:
    """What each chosen device is called, and what its child will see."""
    return [(device.label, device.visible) for device in choose_devices(wish, listing)]


def test_all_means_every_gpu() -> None:
    assert pins("all") == [("cuda:0", "GPU-aaaa-0"), ("cuda:1", "GPU-bbbb-1")]


def test_all_means_every_slice_of_a_gpu_in_mig_mode() -> None:
    assert pins("all", SLICED)[2:] == SLICES
    assert choose_devices("all", SLICED)[2].name == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


@pytest.mark.parametrize("listing", [GpuListing(), HIDDEN])
def test_all_means_the_cpu_where_there_is_no_gpu(listing: GpuListing) -> None:
    assert pins("all", listing) == [("cpu", "")]


@pytest.mark.parametrize("wish", ["1", "GPU-bbbb-1", "GPU-bb", " 1 "])
def test_a_gpu_is_pinned_by_its_uuid_whatever_named_it(wish: str) -> None:
    assert pins(wish) == [("cuda:1", "GPU-bbbb-1")]


def test_an_index_counts_what_may_be_used_and_the_name_is_the_drivers() -> None:
    assert pins("0", GpuListing(select_visible(LISTED, "1,0"))) == [("cuda:1", "GPU-bbbb-1")]


@pytest.mark.parametrize("wish", ["2", "GPU-cccc-2"])
def test_a_gpu_in_mig_mode_is_its_slices(wish: str) -> None:
    assert pins(wish, SLICED) == SLICES


@pytest.mark.parametrize("wish", ["2:1", "MIG-GPU-cccc-2/7/0"])
def test_a_slice_is_named_by_its_number_or_its_uuid(wish: str) -> None:
    assert pins(wish, SLICED) == SLICES[1:]


def test_an_index_or_uuid_is_left_to_cuda_without_a_listing() -> None:
    assert pins("3,GPU-dddd", GpuListing()) == [("cuda:3", "3"), ("GPU-dddd", "GPU-dddd")]


def test_the_cpu_may_have_several_workers() -> None:
    assert pins("cpu:2") == [("cpu:0", ""), ("cpu:1", "")]
    assert pins("cpu") == [("cpu", "")]


def test_a_list_may_mix_gpus_and_the_cpu() -> None:
    assert pins("0, cpu") == [("cuda:0", "GPU-aaaa-0"), ("cpu", "")]


def test_a_device_says_its_name_and_kind() -> None:
    gpu, cpu = choose_devices("0,cpu", GPUS)
    assert (gpu.name, gpu.is_cuda) == ("NVIDIA GeForce RTX 4090", True)
    assert (bool(cpu.name), cpu.is_cuda) == (True, False)


def test_the_driver_is_not_asked_for_a_cpu() -> None:
    assert [needs_gpus(wish) for wish in ("cpu", "cpu:2, cpu", "all", "0,cpu", "GPU-aaaa")] == [
        *(False, False),
        *(True, True, True),
    ]


@pytest.mark.parametrize("wish", ["0,0", "0,GPU-aaaa-0", "cpu,cpu", "cpu:2,cpu:3"])
def test_a_device_named_twice_is_refused(wish: str) -> None:
    with pytest.raises(ConfigError, match="is named twice"):
        choose_devices(wish, GPUS)


@pytest.mark.parametrize("wish", ["", "gpu", "0,", "-1", "cpu:0", "cpu:x", "cuda:0", "²", "all,0"])
def test_text_that_names_no_device_is_refused_with_the_known_forms(wish: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a device\. Use all, an index, a GPU-uuid, a MIG-uuid, cpu or"):
        choose_devices(wish, GPUS)


@pytest.mark.parametrize("wish", ["7", "0:0", "GPU-eeee", "MIG-eeee"])
def test_an_unlisted_gpu_is_refused_with_the_listed_ones(wish: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no GPU {wish}; found 0, 1"):
        choose_devices(wish, GPUS)


def test_a_gpu_that_the_environment_hides_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no GPU 0; CUDA_VISIBLE_DEVICES= hides every GPU"):
        choose_devices("0", HIDDEN)

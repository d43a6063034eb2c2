"""The features of an OpenCL device, by the names that plans use.

Drivers report one feature in several ways: extensions become part of a later OpenCL version and
lose their name, and vendors have names of their own. The runner has the same rules
(android_runner/opencl/device_features.cpp); tests/runner/device_reports.json tests both.
"""

import re
from typing import Any, TypeVar

T = TypeVar("T")
SHUFFLED = 16  # Mali's Bifrost has 4 or 8 in one, Intel's GPUs may have 8

# Extensions and OpenCL C 3.0 features, each of which provides the built-in functions that a feature
# of ours means. Not among them: cl_qcom_dot_product8, whose operands have other signs. Shuffles go
# with sub-groups: a driver that has none of these has no numbers of a sub-group's work-items. They
# also mean sub-groups of SHUFFLED work-items at least, which only built kernels have: executors
# pass over a kernel that needs `shuffles` and has smaller ones, or whose driver doesn't tell.
NAMES = {
    "fp16": {"cl_khr_fp16"},
    "subgroups": {"cl_khr_subgroups", "cl_intel_subgroups", "__opencl_c_subgroups"},
    "shuffles": {"cl_khr_subgroup_shuffle", "cl_intel_subgroups", "cl_qcom_subgroup_shuffle"},
    "int_dot": {
        "cl_khr_integer_dot_product",
        "__opencl_c_integer_dot_product_input_4x8bit",
        "__opencl_c_integer_dot_product_input_4x8bit_packed",
        "cl_arm_integer_dot_product_int8",
        "cl_arm_integer_dot_product_accumulate_int8",
    },
}


def device_features(device: Any) -> list[str]:
    """The features of a pyopencl device, among the FEATURES of plans."""
    import pyopencl as cl

    ask = cl.device_info
    version = opencl_version(device)
    reported = set(answer(device, ask.EXTENSIONS, "").split())
    if version >= (3, 0):
        reported |= {str(each.name) for each in answer(device, ask.OPENCL_C_FEATURES, list[Any]())}
    has = {feature: bool(reported & names) for feature, names in NAMES.items()}
    has["fp16"] |= version >= (3, 0) and bool(answer(device, ask.HALF_FP_CONFIG, 0))
    has["subgroups"] |= version >= (2, 1) and answer(device, ask.MAX_NUM_SUB_GROUPS, 0) > 0
    has["shuffles"] &= has["subgroups"]
    has["images"] = bool(answer(device, ask.IMAGE_SUPPORT, 0))
    return [feature for feature in has if has[feature]]


def opencl_version(device: Any) -> tuple[int, ...]:
    """Major, minor; empty where the driver says something else.

    Some drivers fail on queries that are newer than their version.
    """
    import pyopencl as cl

    found = re.match(r"OpenCL (\d+)\.(\d+)", answer(device, cl.device_info.VERSION, ""))
    return tuple(map(int, found.groups())) if found else ()


def answer(device: Any, question: int, otherwise: T) -> T:
    """The device's answer, or `otherwise` if it refuses the query."""
    import pyopencl as cl

    try:
        answer: T = device.get_info(question)
    except cl.Error:
        return otherwise
    return answer

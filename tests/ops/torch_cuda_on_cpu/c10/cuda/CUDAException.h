// What csrc/torch_cuda.h takes from torch's CUDA half, where a torch without one runs its launchers.
#pragma once
#include <c10/util/Exception.h>

#include "cuda_runtime_api.h"

#define C10_CUDA_CHECK(expression) TORCH_CHECK((expression) == cudaSuccess, "CUDA error")

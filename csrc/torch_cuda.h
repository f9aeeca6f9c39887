// What every CUDA launcher takes from torch, and the dispatch key it registers under. The tests run the launchers on
// the CPU, under its key.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#ifndef MIXED_R1_CUDA_KEY
#define MIXED_R1_CUDA_KEY CUDA
#endif

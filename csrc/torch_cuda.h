// What every CUDA launcher takes from torch. The tests run the launchers on the CPU, with a header of theirs.
#pragma once

#ifdef MIXED_R1_TORCH_DEVICE
#include MIXED_R1_TORCH_DEVICE
#else
#include "torch_device.h"
#endif

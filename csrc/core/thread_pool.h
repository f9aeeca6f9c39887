// Threads kept between calls.
#pragma once

#include <cstdint>
#include <functional>

namespace mixed_r1 {

// No call uses more: a larger number is one that nobody has cores for, and every thread is kept.
inline constexpr int kMaxThreads = 1024;

// Calls task(index, worker) once for each index in [0, num_tasks), on at most num_threads threads, the caller's
// included. worker in [0, num_threads) names the thread, for scratch memory. Returns when all are done; the first
// exception is rethrown.
//
// Which thread runs a task is not fixed: tasks write disjoint memory and their results do not depend on the worker.
// A call made while another is running (on any thread, or from inside a task) runs on its caller alone. A forked child
// gets threads of its own.
void parallel_for(std::int64_t num_tasks, int num_threads, const std::function<void(std::int64_t, int)>& task);

}  // namespace mixed_r1

#include "core/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace mixed_r1 {

namespace {

using Task = std::function<void(std::int64_t, int)>;

class Pool {
 public:
  explicit Pool(pid_t owner) : owner_(owner) {}

  pid_t owner() const { return owner_; }

  bool try_claim() { return !busy_.exchange(true, std::memory_order_acquire); }
  void release() { busy_.store(false, std::memory_order_release); }

  void run(std::int64_t num_tasks, int num_threads, const Task& task) {
    {
      std::lock_guard lock(mutex_);
      task_ = &task;
      num_tasks_ = num_tasks;
      next_.store(0, std::memory_order_relaxed);
      error_ = nullptr;
      grow(num_threads - 1);
      active_ = std::min(num_threads - 1, static_cast<int>(threads_.size()));
      pending_ = active_;
      ++round_;
    }
    wake_.notify_all();
    work(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    task_ = nullptr;
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // Where the system has no more threads to give, those that are there do the work.
  void grow(int count) {
    try {
      while (static_cast<int>(threads_.size()) < count) {
        const int worker = static_cast<int>(threads_.size()) + 1;
        threads_.emplace_back([this, worker, seen = round_] { serve(worker, seen); });
      }
    } catch (const std::system_error&) {
    }
  }

  void serve(int worker, std::uint64_t seen) {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return round_ != seen; });
        seen = round_;
        if (worker > active_) continue;
      }
      work(worker);
      std::lock_guard lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
    }
  }

  void work(int worker) {
    try {
      for (std::int64_t i = next_.fetch_add(1); i < num_tasks_; i = next_.fetch_add(1)) (*task_)(i, worker);
    } catch (...) {
      next_.store(num_tasks_);  // the others stop at their next task
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  const pid_t owner_;
  std::atomic<bool> busy_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<std::thread> threads_;
  std::uint64_t round_ = 0;
  int active_ = 0;
  int pending_ = 0;
  const Task* task_ = nullptr;
  std::int64_t num_tasks_ = 0;
  std::atomic<std::int64_t> next_{0};
  std::exception_ptr error_;
};

// The pool is never destroyed: its threads may not be joined while the interpreter exits. A forked child has none of
// its parent's threads, so it starts a pool of its own and leaves the copy it inherited alone.
Pool* claimed_pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* pool = current.load(std::memory_order_acquire);
  const pid_t self = getpid();
  if (pool == nullptr || pool->owner() != self) {
    auto* fresh = new Pool(self);
    if (current.compare_exchange_strong(pool, fresh)) {
      pool = fresh;
    } else {
      delete fresh;  // another thread was first; it has no threads yet
      pool = current.load(std::memory_order_acquire);
    }
  }
  return pool->try_claim() ? pool : nullptr;
}

}  // namespace

void parallel_for(std::int64_t num_tasks, int num_threads, const Task& task) {
  num_threads = static_cast<int>(std::min<std::int64_t>(std::min(num_threads, kMaxThreads), num_tasks));
  Pool* pool = num_threads > 1 ? claimed_pool() : nullptr;
  if (pool == nullptr) {
    for (std::int64_t i = 0; i < num_tasks; ++i) task(i, 0);
    return;
  }
  try {
    pool->run(num_tasks, num_threads, task);
  } catch (...) {
    pool->release();
    throw;
  }
  pool->release();
}

}  // namespace mixed_r1

// Running without the interpreter's lock.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace mixed_r1 {

// Releases the lock while it lives. nanobind's own ends the process (std::terminate) where a daemon thread comes back
// while the interpreter exits: CPython before 3.14 ends such a thread by unwinding it, here through a destructor. This
// one keeps the thread where it is, as CPython 3.14 does, and the process exits without it.
class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace mixed_r1

// What a loop looks at besides its ring: the seam between the executor and a bus.
#pragma once

#include <chrono>
#include <cstdint>

#include "quoit/detail/language.hpp"

namespace quoit::inline v1::detail {

struct word_wait;

// On what a loop sleeps for the sake of one source.
struct loop_bed {
  bool on_word = true;  // in: the loop can wait for a word
  // out, on a word: a waker changes it, which is `seen` now, and wakes its futex
  const std::uint32_t* word = nullptr;
  std::uint32_t seen = 0;
  // out, else: a waker writes to this; -1: there is none, and the loop looks around often. Only the loop reads it,
  // it does not block, and it stays open until the source is removed.
  int descriptor = -1;
};

// A node of a bus, as the loop sees it. Everything runs on the loop's thread.
class loop_source {
 public:
  // Looks at whatever is hot and makes what waits for it ready. Called once a turn. True if something became ready.
  virtual bool look() noexcept = 0;
  // True while something is looked at in each turn: a reason to spin before sleeping.
  virtual bool hot() const noexcept = 0;
  // The loop is about to sleep: arm everything, say that the node sleeps, fence, look once more. False: something
  // became ready. True: a waker will do what `bed` says.
  virtual bool prepare_sleep(loop_bed& bed) noexcept = 0;
  // After prepare_sleep() was true: the loop is awake, for this source's sake or another's.
  virtual void woken() noexcept = 0;
  // The longest sleep: after it the source looks for wakes that were lost.
  virtual std::chrono::nanoseconds sleep_max() const noexcept = 0;
  // The loop is gone. Nothing of it may be used any more.
  virtual void loop_gone() noexcept = 0;

  // The loop's own.
  struct {
    loop_source* next = nullptr;
    word_wait* wait = nullptr;
    bool prepared = false;
    bool blind = false;   // nobody can wake it
    int descriptor = -1;  // that is known to the kernel
  } in_loop;

 protected:
  ~loop_source() = default;
};

}  // namespace quoit::inline v1::detail

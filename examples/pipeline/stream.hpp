#pragma once

#include <chrono>
#include <cstdio>

#include "../common/coroutines.hpp"
#include "block.hpp"

// How fast a process of the pipeline is, and how often it had to wait for the next one.
class meter {
 public:
  void count(const block& b) {
    if (blocks_++ == 0) begin_ = std::chrono::steady_clock::now();
    bytes_ += b.used * sizeof b.words[0];
  }
  void count_wait() { ++waits_; }
  void print(const char* who) const {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::printf("%s: %llu blocks in %.3f s, %.0f blocks/s, %.0f MB/s; waited %llu times for the next process\n", who,
                static_cast<unsigned long long>(blocks_), seconds, static_cast<double>(blocks_) / seconds,
                static_cast<double>(bytes_) / seconds / 1e6, static_cast<unsigned long long>(waits_));
  }

 private:
  std::uint64_t blocks_ = 0, bytes_ = 0, waits_ = 0;
  std::chrono::steady_clock::time_point begin_;
};

// Room for the next block: here the pipeline pushes back. Errors: closed, if the next process is gone.
inline quoit::task<quoit::result<quoit::loan<block>>> room(quoit::publisher<block>& publisher, meter& m) {
  // Without subscribers nothing would be in the way, and all be lost.
  if (publisher.subscribers() == 0) {
    co_return tl::unexpected(quoit::error(quoit::errc::closed, "the next process of the pipeline is gone"));
  }
  auto loan = publisher.try_loan_uninit();
  if (loan || loan.error() != quoit::errc::would_block) co_return loan;
  m.count_wait();
  co_return co_await publisher.loan_uninit();
}

// The next block in its order. `begun`: then there has to be somebody who sends it. Errors: closed, if there is not.
inline quoit::task<quoit::result<quoit::sample<block>>> next(quoit::subscriber<block>& subscriber, bool begun) {
  auto sample = co_await next_of(subscriber, begun ? 1 : 0);
  if (!sample && sample.error() == quoit::errc::timed_out) {
    co_return tl::unexpected(quoit::error(quoit::errc::closed, "the process before this one is gone"));
  }
  co_return sample;
}

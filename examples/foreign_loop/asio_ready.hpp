#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

// A descriptor of quoit's in an io_context. It stays quoit's: Asio would close it, and is kept from that. Goes before
// whoever it is of.
class ready {
 public:
  ready(boost::asio::io_context& loop, int fd) : descriptor_(loop, fd) {}
  ready(const ready&) = delete;
  ready& operator=(const ready&) = delete;
  ~ready() { descriptor_.release(); }

  // co_await: until it is readable, perhaps for nothing.
  boost::asio::awaitable<void> wait() {
    return descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read, boost::asio::use_awaitable);
  }

 private:
  boost::asio::posix::stream_descriptor descriptor_;
};

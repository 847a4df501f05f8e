// What both sides of a comparison inherit: pipes, sockets, and the files of the job file_transfer.
#pragma once

#include "way.hpp"

namespace bench {

// The files are memfds: pages of tmpfs, of which nothing is left whoever is killed. All pages of both are there
// beforehand, so that copying is measured and not how the kernel finds pages and clears them.
class channels {
 public:
  // Throws std::runtime_error.
  explicit channels(bool with_files);
  ~channels();
  channels(const channels&) = delete;
  channels& operator=(const channels&) = delete;

  // Of the side that asks, or of the other one.
  int pipe_out(bool asks) const { return asks ? there_[1] : back_[1]; }
  int pipe_in(bool asks) const { return asks ? back_[0] : there_[0]; }
  int socket(bool asks) const { return sockets_[asks ? 0 : 1]; }
  int source() const { return source_; }
  int target() const { return target_; }
  // Makes the target differ from the source; whether it is the same again.
  void spoil_target() const;
  bool target_is_source() const;

 private:
  int there_[2] = {-1, -1};
  int back_[2] = {-1, -1};
  int sockets_[2] = {-1, -1};
  int source_ = -1;
  int target_ = -1;
};

}  // namespace bench

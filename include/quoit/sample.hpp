// A message that was received, in place, in shared memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

#include "quoit/detail/subscriber_core.hpp"
#include "quoit/message.hpp"

namespace quoit::inline v1 {

namespace detail {
template <class>
class next_awaiter;
template <class>
class next_batch_awaiter;
}  // namespace detail

struct publisher_id {
  std::uint64_t words[2];
  friend bool operator==(const publisher_id&, const publisher_id&) = default;
};

// Move-only. Its bytes do not change as long as it lives, whatever the publisher does or whether it dies: under
// policy block the publisher waits, under overwrite it writes around them. Hold few, and not for long.
//
// Thread safety: the subscriber's thread. After a fork, a child's copy may read what it finds, unprotected; of a topic
// on disk there is nothing in a child, and reading it is a SIGSEGV.
template <class T>
class sample {
 public:
  using view_type = typename detail::view<T>::type;

  sample() = default;  // empty
  sample(sample&& other) noexcept : core_(std::exchange(other.core_, nullptr)), message_(other.message_) {}
  sample& operator=(sample&& other) noexcept {
    if (this != &other) {
      drop();
      core_ = std::exchange(other.core_, nullptr);
      message_ = other.message_;
    }
    return *this;
  }
  ~sample() { drop(); }

  // False if there was no message.
  explicit operator bool() const noexcept { return core_ != nullptr; }

  // const T&, or a span of bytes, or a string_view: as the topic has it. Requires: not empty.
  view_type operator*() const noexcept {
    return detail::view_of<T>(message_.frame.payload, message_.frame.payload_bytes);
  }
  const T* operator->() const noexcept
    requires(!variable_size<T>)
  {
    return static_cast<const T*>(static_cast<const void*>(message_.frame.payload));
  }
  std::span<const std::byte> data() const noexcept { return {message_.frame.payload, message_.frame.payload_bytes}; }
  // The value that a codec reads from the message. Errors: what the codec answers.
  result<T> decode() const
    requires coded<T>
  {
    return codec<T>::decode(data());
  }

  // Of this publisher's messages: 0, 1, 2, ... with gaps where loans were abandoned.
  std::uint64_t sequence() const noexcept { return message_.frame.sequence; }
  // When it was published; 0 if its publisher does not stamp (publisher_options stamped).
  std::chrono::sys_time<std::chrono::nanoseconds> time() const noexcept {
    return std::chrono::sys_time<std::chrono::nanoseconds>(
        std::chrono::nanoseconds(static_cast<std::int64_t>(message_.frame.stamp)));
  }
  publisher_id publisher() const noexcept {
    const std::uint64_t* const id = core_->publisher_of(message_);
    return {{id[0], id[1]}};
  }

  // publisher_options::publisher_name, of a topic on disk; else empty. Valid as long as the subscriber is.
  std::string_view publisher_name() const noexcept { return core_->publisher_name_of(message_); }

  // Gives the bytes back now.
  void release() noexcept { drop(); }

 private:
  template <class>
  friend class subscriber;
  template <class>
  friend class batch;
  template <class>
  friend class detail::next_awaiter;
  void drop() noexcept {
    if (core_ != nullptr) std::exchange(core_, nullptr)->release(message_);
  }

  detail::subscriber_core* core_ = nullptr;
  detail::held_message message_{};
};

// Messages of one publisher that lie together, taken one by one as the batch is iterated, and given back all at
// once: for (const quote& q : batch) ... Counts as one held sample. What is not iterated comes with the next poll.
template <class T>
class batch {
 public:
  class iterator {
   public:
    using value_type = std::remove_cvref_t<typename detail::view<T>::type>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit iterator(batch* owner) noexcept : owner_(owner) {}
    typename detail::view<T>::type operator*() const noexcept {
      return detail::view_of<T>(owner_->current_.payload, owner_->current_.payload_bytes);
    }
    std::uint64_t sequence() const noexcept { return owner_->current_.sequence; }
    iterator& operator++() noexcept {
      owner_->advance();
      return *this;
    }
    void operator++(int) noexcept { owner_->advance(); }
    bool operator==(std::default_sentinel_t) const noexcept { return !owner_->more_; }

   private:
    batch* owner_;
  };

  batch(batch&&) noexcept = default;
  batch& operator=(batch&&) noexcept = default;

  // False if there was no message.
  explicit operator bool() const noexcept { return static_cast<bool>(first_); }
  iterator begin() noexcept { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  template <class>
  friend class subscriber;
  template <class>
  friend class detail::next_batch_awaiter;
  explicit batch(sample<T> first) noexcept
      : first_(std::move(first)), current_(first_.message_.frame), more_(static_cast<bool>(first_)) {}
  void advance() noexcept {
    more_ = first_.core_->take_more(first_.message_, current_) && detail::size_fits<T>(current_.payload_bytes);
  }

  sample<T> first_;
  detail::lane_frame current_;
  bool more_;
};

}  // namespace quoit::inline v1

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "quoit/inherited_memory.hpp"
#include "quoit/message_type.hpp"
#include "quoit/options.hpp"
#include "quoit/publisher.hpp"
#include "quoit/subscriber.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

class executor;

// A bus: topics that do not see those of other buses. An opened bus is one node: the unit of liveness, and of
// waking. A process may open several, or one several times: each thread that waits needs its own.
//
// Move-only; publishers and subscribers keep what they need of it.
// Thread safety: one thread at a time, together with its publishers and subscribers.
class QUOIT_EXPORT bus {
 public:
  // Opens the bus `name`, 1 to 32 of [A-Za-z0-9_-], and makes it if it is not there. Empty: the environment
  // variable QUOIT_BUS, or else "default". Cleans up after processes of this bus that died.
  //
  // Errors: invalid_name, invalid_argument, no_space, no_permission, limit_reached (nodes_max), busy,
  // newer_version, corrupt, system.
  static result<bus> open(std::string_view name = {}, const bus_options& options = {});

  // The same, to be awaited in that executor. (A bus that is opened without one belongs to the executor in which
  // something of it is awaited first.)
  static result<bus> open(executor& where, std::string_view name = {}, const bus_options& options = {});

  // co_await open_async(...): the same, to be awaited in the executor of this task. Opening may wait for a lock as long
  // as lock_timeout, and clean up after many dead processes: that is done on another thread, and the loop goes on.
  // Suspends; goes on on the same executor. Errors: as open().
  static task<result<bus>> open_async(std::string_view name = {}, const bus_options& options = {});

  // The same in memory that this process has inherited or was handed: the only bus there, without a name. Of the
  // options, permissions, group and transport mean nothing here, nor does QUOIT_TRANSPORT. A forked child opens a bus
  // of its own from the same object. Errors: as above, but for invalid_name.
  static result<bus> open(const inherited_memory& memory, const bus_options& options = {});
  static result<bus> open(executor& where, const inherited_memory& memory, const bus_options& options = {});
  static task<result<bus>> open_async(const inherited_memory& memory, const bus_options& options = {});

  bus(bus&&) noexcept;
  bus& operator=(bus&&) noexcept;
  ~bus();

  std::string_view name() const noexcept;
  // The way that was chosen (shared_memory or kernel), and why.
  transport_info transport() const;

  // With a directory in the options the topic is on disk: opening reads what was written last, cuts what a power
  // failure tore (publisher::recovery()), makes a file, and starts a helper thread.
  //
  // Errors: invalid_name, invalid_argument, type_mismatch, message_too_large (value(): the capacity_bytes
  // needed, on disk the segment_bytes), policy_conflict (also: the topic is kept elsewhere, or in memory alone),
  // no_space, no_permission, limit_reached, busy (also: another publisher of this name has the directory; the words say
  // which process), not_found (where the directory would be), newer_version, corrupt, system, forked.
  template <class T>
  result<quoit::publisher<T>> publisher(std::string_view topic, const publisher_options& options = {}) {
    const std::string fields = detail::fields_of<T>();
    auto core = detail::publisher_core::open(node_, topic, detail::described_as<T>(fields), options);
    if (!core) return tl::make_unexpected(std::move(core.error()));
    return quoit::publisher<T>(detail::publisher_core::owned(*core));
  }

  // With a directory, or on a topic on disk, it receives what is kept, from `start` on, and then what is published; no
  // publisher needs to be there. Every publisher's messages come in its order. What is there at a poll comes by its
  // time too, of all publishers together; that is, a replay is in order of time, and at the live end messages come as
  // they arrive. No publisher waits for it, and it loses nothing but what retention removes before it comes there:
  // modes reliable, lossy and automatic are the same. An observer only reads the directory.
  //
  // Errors: as publisher(), but for message_too_large. Of topics on disk: also busy (somebody holds the named
  // subscription; the words say who), not_found (an observer makes no directory).
  template <class T>
  result<quoit::subscriber<T>> subscriber(std::string_view topic, const subscriber_options& options = {}) {
    const std::string fields = detail::fields_of<T>();
    auto core = detail::subscriber_core::open(node_, topic, detail::described_as<T>(fields), options);
    if (!core) return tl::make_unexpected(std::move(core.error()));
    return quoit::subscriber<T>(detail::subscriber_core::owned(*core));
  }

  // co_await publisher_async<T>(...): the same, and the loop goes on meanwhile: a lane of more than a MiB is allocated,
  // and one on disk is opened, on another thread, and locks are waited for in the loop. Suspends; goes on on the same
  // executor. The bus may go or be moved meanwhile. Errors: also cancelled.
  template <class T>
  task<result<quoit::publisher<T>>> publisher_async(std::string_view topic, const publisher_options& options = {}) {
    return open_publisher<T>(node_, std::string(topic), std::string(options.directory),
                             std::string(options.publisher_name), options);
  }
  template <class T>
  task<result<quoit::subscriber<T>>> subscriber_async(std::string_view topic, const subscriber_options& options = {}) {
    // What the options point to need not live on.
    return open_subscriber<T>(node_, std::string(topic), std::string(options.directory),
                              std::string(options.subscription_name),
                              options.start.where != nullptr ? *options.start.where : cursor(), options);
  }

  // Cleans up after processes of this bus that died: so does opening it, a thread that waits, and whoever opens a
  // topic; a process that does nothing but poll may call this now and then. 0.4 µs for each node of the bus.
  void clean_up() noexcept;

  // Ends the call in which a thread blocks in this bus, or, if none does, the next one that would block: subscriber
  // wait(), wait_any(), publisher loan_for() and publish_for() in their forms, flush_for(). It answers
  // errc::interrupted, unless what it waited for is there. Several interrupts before that are one.
  //
  // This is the way to end a wait from a signal handler, or from another thread. A handler alone ends none: waits go on
  // after it, with the time that is left. Coroutines are asked to stop instead (executor::request_stop()).
  //
  // Thread safety: any thread, and a signal handler (async-signal-safe; errno is kept). The bus is neither moved nor
  // destroyed meanwhile. In a forked child it does nothing.
  void interrupt() noexcept;

  // Blocks this thread until one of the subscribers, all of this bus, has something to poll: its place in the
  // list. However many they are, the thread sleeps on one word.
  //
  // Errors: timed_out, interrupted, invalid_argument (subscribers of another bus), forked, closed.
  template <class... T>
  result<std::size_t> wait_any(duration timeout, quoit::subscriber<T>&... subscribers) noexcept {
    static_assert(sizeof...(T) > 0, "wait_any() waits for subscribers: give it at least one behind the timeout");
    if constexpr (sizeof...(T) > 0) {
      detail::subscriber_core* const cores[] = {subscribers.core_.get()...};
      return detail::subscriber_core::wait_any(cores, timeout);
    }
  }

 private:
  explicit bus(std::shared_ptr<detail::node> node) noexcept;
  static task<result<bus>> attached(task<result<bus>> opening);

  template <class T>
  static task<result<quoit::publisher<T>>> open_publisher(std::shared_ptr<detail::node> node, std::string topic,
                                                          std::string directory, std::string publisher_name,
                                                          publisher_options options) {
    options.directory = directory;
    options.publisher_name = publisher_name;
    const std::string fields = detail::fields_of<T>();
    const detail::message_type type = detail::described_as<T>(fields);
    auto core = co_await detail::publisher_core::open_async(node, topic, type, options);
    if (!core) co_return tl::make_unexpected(std::move(core.error()));
    co_return quoit::publisher<T>(std::move(*core));
  }
  template <class T>
  static task<result<quoit::subscriber<T>>> open_subscriber(std::shared_ptr<detail::node> node, std::string topic,
                                                            std::string directory, std::string subscription_name,
                                                            cursor where, subscriber_options options) {
    options.directory = directory;
    options.subscription_name = subscription_name;
    if (options.start.where != nullptr) options.start.where = &where;
    const std::string fields = detail::fields_of<T>();
    const detail::message_type type = detail::described_as<T>(fields);
    auto core = co_await detail::subscriber_core::open_async(node, topic, type, options);
    if (!core) co_return tl::make_unexpected(std::move(core.error()));
    co_return quoit::subscriber<T>(std::move(*core));
  }
  std::shared_ptr<detail::node> node_;
};

}  // namespace quoit::inline v1

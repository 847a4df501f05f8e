// A publisher of a topic on disk, of numbers that know whether they are whole.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include <quoit.hpp>

#include "support/log_fixture.hpp"

namespace quoit::test {

class kept_publisher {
 public:
  kept_publisher(const std::string& bus_name, const std::string& directory, const std::string& topic_name,
                 const std::string& name)
      : bus_(value_of(quoit::bus::open(bus_name))) {
    quoit::publisher_options options;
    options.directory = directory;
    options.publisher_name = name;
    options.segment_bytes = segment_bytes_min;
    options.message_bytes_max = 4096;
    publisher_.emplace(value_of(bus_.publisher<quoit::bytes>(topic_name, options)));
  }

  u64 published() const { return publisher_->sequence(); }
  // The next one: its number is its sequence.
  void publish() {
    const u64 n = published();
    auto loan = value_of(publisher_->loan_bytes_for(size_of(n), std::chrono::minutes(1)));
    write_message(loan.data().data(), size_of(n), n);
    std::move(loan).publish();
  }
  void publish(u64 messages) {
    while (messages-- > 0) publish();
  }
  // What is published from now on is hidden behind it, until it is given back.
  quoit::loan<quoit::bytes> leave_a_loan_open() { return value_of(publisher_->try_loan_bytes(100)); }

 private:
  template <class T>
  static T value_of(quoit::result<T> r) {
    if (!r) throw std::runtime_error(r.error().message());
    return std::move(*r);
  }

  quoit::bus bus_;
  std::optional<quoit::publisher<quoit::bytes>> publisher_;
};

}  // namespace quoit::test

#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <quoit/fields.hpp>
#include <string_view>

// Times are nanoseconds of the market's clock, which runs from the opening on; prices are in dollars.
struct quote {
  std::uint64_t exchange_ns;
  double bid;
  double ask;
  std::uint32_t bid_size;
  std::uint32_t ask_size;
  char symbol[8];
};
QUOIT_FIELDS(quote, exchange_ns, bid, ask, bid_size, ask_size, symbol)

struct trade {
  std::uint64_t exchange_ns;
  double price;
  std::uint64_t size;
  char symbol[8];
};
QUOIT_FIELDS(trade, exchange_ns, price, size, symbol)

inline constexpr std::array<std::string_view, 4> venues{"ARCX", "BATS", "XNAS", "XNYS"};
inline constexpr std::array<const char*, 8> symbols{"AAPL", "AMZN", "GOOG", "IBM", "INTC", "MSFT", "NVDA", "TSLA"};
inline constexpr const char* checksums_file = "checksums";
// Of a message that is kept, beside its bytes: header, time and check.
inline constexpr std::uint64_t frame_words_bytes = 24;

// Of all messages of a publisher, in their order.
struct checksum {
  std::uint64_t messages = 0;
  std::uint64_t value = 0xcbf29ce484222325;

  template <class T>
  void add(const T& message) {
    static_assert(sizeof(T) % sizeof(std::uint64_t) == 0);
    std::array<std::uint64_t, sizeof(T) / sizeof(std::uint64_t)> words;
    std::memcpy(words.data(), &message, sizeof message);
    // FNV-1a, a word at a time.
    for (const std::uint64_t word : words) value = (value ^ word) * 0x100000001b3;
    ++messages;
  }
  friend bool operator==(const checksum&, const checksum&) = default;
};

// Words in memory: the part of the job that is the same for both ways.
#pragma once

#include <algorithm>
#include <cctype>
#include <span>
#include <string_view>

struct tally {
  unsigned long long words = 0;
  unsigned long long patched = 0;
  unsigned long long copied_bytes = 0;  // by the kernel, from the file and to it
  friend bool operator==(const tally& a, const tally& b) { return a.words == b.words && a.patched == b.patched; }
};

inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Counts the words of a text, and makes each one that is `word` upper case where it stands. The part of the text that
// was changed: from the first changed byte to the last.
inline std::span<char> patch_words(std::span<char> text, std::string_view word, tally& sum) {
  char* changed_begin = nullptr;
  char* changed_end = nullptr;
  char* const end = text.data() + text.size();
  for (char* at = text.data(); at != end;) {
    if (is_space(*at)) {
      ++at;
      continue;
    }
    char* const begin = at;
    while (at != end && !is_space(*at)) ++at;
    ++sum.words;
    if (std::string_view(begin, static_cast<std::size_t>(at - begin)) != word) continue;
    std::transform(begin, at, begin, [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    ++sum.patched;
    if (changed_begin == nullptr) changed_begin = begin;
    changed_end = at;
  }
  return {changed_begin, changed_end};
}

#pragma once

#include <charconv>
#include <cstdio>
#include <istream>
#include <string>
#include <string_view>

// The next paragraph of the file; false when there is none.
inline bool next_stanza(std::istream& file, std::string& stanza) {
  stanza.clear();
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) {
      stanza += line + '\n';
    } else if (!stanza.empty()) {
      break;
    }
  }
  return !stanza.empty();
}

// The value of a field, in place: the view points into shared memory.
inline std::string_view field(std::string_view stanza, std::string_view name) {
  std::size_t at = stanza.find(name);
  while (at != 0 && at != std::string_view::npos && stanza[at - 1] != '\n') at = stanza.find(name, at + 1);
  if (at == std::string_view::npos) return {};
  at += name.size();
  return stanza.substr(at, stanza.find('\n', at) - at);
}

// What stanzas add up to.
struct totals {
  void add(std::string_view stanza) {
    ++stanzas;
    bytes += stanza.size();
    const std::string_view size = field(stanza, "Installed-Size: ");
    unsigned long kib = 0;
    std::from_chars(size.data(), size.data() + size.size(), kib);
    installed_kib += kib;
    if (stanza.size() > longest) {
      longest = stanza.size();
      longest_name = field(stanza, "Package: ");
    }
  }
  void print() const {
    std::printf("%lu stanzas, %lu bytes; the longest, of %s, has %zu bytes\n", stanzas, bytes, longest_name.c_str(),
                longest);
    std::printf("installed size, added up: %lu MiB\n", installed_kib / 1024);
  }

  unsigned long stanzas = 0, bytes = 0, installed_kib = 0;
  std::size_t longest = 0;
  std::string longest_name;
};

// Drawings in SVG, without a size of their own: they are as wide as there is room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench::html {

struct point {
  std::uint64_t bytes;
  double value;
  bool unstable = false;  // drawn hollow
  std::string words;      // what a pointer that rests on it is shown
};

// How it looks: a class of the style sheet, and a mark that tells it from others without its colour.
struct look {
  const char* style;
  enum class mark { none, circle, square, triangle, diamond, cross } shape;
};

struct series {
  std::string name;
  look how;
  std::vector<point> points;  // by ascending bytes
};

struct plot {
  std::string title;
  std::string says;    // for who does not see it
  std::string y_axis;  // what, and its unit
  std::string (*tick_words)(double value);
  std::vector<series> all;
};

// Both axes logarithmic; sizes of messages from left to right. A figure with its legend.
std::string figure_of(const plot& p);

struct bar {
  std::string name;
  const char* style;
  double value = 0;
  bool unstable = false;
  std::string words;  // the value, as it is to be read
};

struct bars {
  std::string title;
  std::string says;
  std::vector<bar> all;
};

// From zero, linear.
std::string figure_of(const bars& b);

}  // namespace bench::html

#pragma once

namespace bench::html {

// The style sheet of the page.
extern const char* const style;

}  // namespace bench::html

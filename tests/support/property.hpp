#pragma once

#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include <rapidcheck.h>

namespace quoit::test {

// Checks a property (a callable that takes generated arguments and uses RC_ASSERT) as one doctest check.
// RC_PARAMS="seed=..." repeats a failure: the seed is in the output.
template <class Property>
void check_property(const std::string& description, Property&& property) {
  const auto result = rc::detail::checkTestable(std::forward<Property>(property));
  std::ostringstream text;
  rc::detail::printResultMessage(result, text);
  INFO(description << "\n" << text.str());
  CHECK(result.template is<rc::detail::SuccessResult>());
}

}  // namespace quoit::test

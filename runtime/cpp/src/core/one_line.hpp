// Makes text that others wrote safe to show on a terminal.
#pragma once

#include <string>

namespace hcflow {

/// The text on one line: new lines and tabs become one space; other control characters, marks that
/// turn the direction of writing, and bytes that are not UTF-8 become escapes such as \x1b.
std::string one_line(const std::string& text);

}  // namespace hcflow

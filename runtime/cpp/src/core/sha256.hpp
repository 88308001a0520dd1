// SHA-256 (FIPS 180-4): what every TLS library has too, at the cost of linking one.
#pragma once

#include <cstddef>
#include <string>

namespace hcflow {

/// The digest of `size` bytes as 64 lower-case hexadecimal digits. `instructions`: by the
/// processor's own, where it has them.
std::string sha256(const void* data, std::size_t size, bool instructions = true);

}  // namespace hcflow

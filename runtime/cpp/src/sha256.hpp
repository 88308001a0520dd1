// SHA-256 (FIPS 180-4): sixty lines that every TLS library has too, at the cost of linking one.
#pragma once

#include <cstddef>
#include <string>

namespace hcflow {

/// The digest of `size` bytes as 64 lower-case hexadecimal digits.
std::string sha256(const void* data, std::size_t size);

}  // namespace hcflow

// SHA-256 (FIPS 180-4), written here so that no TLS library has to be linked.
#pragma once

#include <cstddef>
#include <string>

namespace hcflow {

/// The digest of `size` bytes as 64 lower-case hexadecimal digits. `instructions`: use the
/// processor's SHA instructions if it has them.
std::string sha256(const void* data, std::size_t size, bool instructions = true);

}  // namespace hcflow

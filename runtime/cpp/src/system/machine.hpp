// Memory and processors that this process can use, within container limits
// (runtime/system/machine.py), and its environment. The figures are in files of Linux; elsewhere
// memory and features are unknown.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace hcflow {

/// Bytes that can be allocated without swapping; none if unknown.
std::optional<std::uint64_t> available_memory();

/// Processors that this process may run on, by its affinity and CPU quota; at least 1.
int usable_cpus();

/// The processor's features by Linux's names ("avx2", "avx512_vnni" …); empty if unknown.
std::set<std::string> cpu_flags();

/// An environment variable in UTF-8; empty if it is not set.
std::string variable(const char* name);
/// The user's home folder in UTF-8; empty if it is unknown.
std::string home_folder();

}  // namespace hcflow

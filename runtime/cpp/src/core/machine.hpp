// Memory and processors that this process can use, within container limits
// (runtime/system/machine.py).
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

}  // namespace hcflow

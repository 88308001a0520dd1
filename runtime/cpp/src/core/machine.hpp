// What this machine lets the process use, container limits included (runtime/machine.py).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace hcflow {

/// Bytes that can be allocated without swapping; none where nothing tells.
std::optional<std::uint64_t> available_memory();

/// Processors this process may run on, at least 1: its affinity, cut to the CPU quota.
int usable_cpus();

/// What the processor can do, by Linux's names ("avx2", "avx512_vnni" …); empty if unknown.
std::set<std::string> cpu_flags();

}  // namespace hcflow

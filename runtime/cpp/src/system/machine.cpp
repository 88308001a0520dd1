#include "system/machine.hpp"

#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace hcflow {
namespace {

namespace fs = std::filesystem;

/// The number after `key` in a file of lines `key number …`; none if there is no such line.
std::optional<std::uint64_t> number_after(const fs::path& path, const std::string& key) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string word;
        std::uint64_t value = 0;
        if (!key.empty() && (!(words >> word) || word != key)) continue;
        if (words >> value) return value;
    }
    return std::nullopt;
}

/// The process's own control group and every group above it.
std::vector<fs::path> cgroups() {
    const fs::path root = "/sys/fs/cgroup";
    std::ifstream file("/proc/self/cgroup");
    std::string line;
    std::vector<fs::path> folders;
    while (std::getline(file, line)) {
        if (line.compare(0, 3, "0::") != 0) continue;
        fs::path own = root / line.substr(std::min<std::size_t>(line.size(), 4));
        for (; own != root && own.has_relative_path(); own = own.parent_path())
            folders.push_back(own);
        folders.push_back(root);
    }
    return folders;
}

}  // namespace

std::optional<std::uint64_t> available_memory() {
    std::optional<std::uint64_t> least = number_after("/proc/meminfo", "MemAvailable:");
    if (least) *least *= 1024;
    for (const fs::path& group : cgroups()) {
        const auto limit = number_after(group / "memory.max", "");
        const auto used = number_after(group / "memory.current", "");
        if (!limit || !used) continue;
        // The kernel frees cached file pages before it refuses an allocation.
        const std::uint64_t cached =
            number_after(group / "memory.stat", "inactive_file").value_or(0);
        const std::uint64_t held = *used - std::min(cached, *used);
        const std::uint64_t left = *limit - std::min(held, *limit);
        least = std::min(least.value_or(left), left);
    }
    return least;
}

int usable_cpus() {
    int cpus = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
#endif
    for (const fs::path& group : cgroups()) {
        std::ifstream file(group / "cpu.max");
        std::int64_t quota = 0, period = 0;
        if (file >> quota >> period && period > 0)  // "max" means no quota
            cpus = static_cast<int>(std::min<std::int64_t>(cpus, quota / period));
    }
    return std::max(1, cpus);
}

std::set<std::string> cpu_flags() {
    std::ifstream file("/proc/cpuinfo");
    std::string line;
    while (std::getline(file, line)) {
        // On Arm the line starts with "Features".
        if (line.compare(0, 5, "flags") != 0 && line.compare(0, 8, "Features") != 0) continue;
        std::istringstream words(line.substr(std::min(line.find(':'), line.size() - 1) + 1));
        return {std::istream_iterator<std::string>(words), {}};
    }
    return {};
}

std::string variable(const char* name) {
#ifdef _WIN32
    const wchar_t* found = _wgetenv(fs::u8path(name).c_str());
    return found != nullptr ? fs::path(found).u8string() : std::string();
#else
    const char* found = std::getenv(name);
    return found != nullptr ? found : "";
#endif
}

std::string home_folder() {
#ifdef _WIN32
    return variable("USERPROFILE");
#else
    return variable("HOME");
#endif
}

}  // namespace hcflow

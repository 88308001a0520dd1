// Reads files whose kind and size others chose.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace hcflow {

/// Why a file cannot be read, without its path.
struct Unreadable : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// An open file that is neither a pipe nor a device. What was checked is what is read, as the path
/// is opened once; opening never waits.
class RegularFile {
  public:
    enum class Links { follow, refuse };

    /// Throws Unreadable: there is no such file, it cannot be opened, or is not a file.
    explicit RegularFile(const std::filesystem::path& path, Links links = Links::follow);
    RegularFile(const RegularFile&) = delete;
    RegularFile& operator=(const RegularFile&) = delete;
    ~RegularFile();

    [[nodiscard]] std::uint64_t size() const { return size_; }
    /// The system's number of the open file: a descriptor, on Windows a handle.
    [[nodiscard]] std::intptr_t number() const { return number_; }

    /// The whole file. Throws Unreadable: it has more than `most` bytes (a sparse file can have any
    /// number), became shorter, or the disk failed.
    [[nodiscard]] std::string read(std::uint64_t most) const;

  private:
    std::intptr_t number_;
    std::uint64_t size_ = 0;
};

}  // namespace hcflow

// Compiled programs and engines are code, so they are loaded only from files and folders that no
// other user can write to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace hcflow {

constexpr std::uint64_t kMostPrivate = std::uint64_t{1} << 30U;  // bytes of a file of our own

/// Creates a folder for compiled programs if it does not exist, and tells whether only this user
/// can write to it and no other user can write to a folder above it.
bool ensure_private_folder(const std::filesystem::path& folder);

/// Whether a folder holds nothing but files of at most 1 GiB: another library that reads a pipe, a
/// device or a link in it could wait for ever, or exhaust memory.
bool holds_only_files(const std::filesystem::path& folder);

/// Reads a file of at most `most` bytes that belongs to this user or root and that no other user
/// can write to. The same is required of every folder above it and, if it is a link, above the
/// link's target (runtime/bundle/engines/cache.py). Throws Error (backend).
std::string read_trusted_file(const std::filesystem::path& path, std::uint64_t most);

/// Reads a file of at most 1 GiB that only this user can write to; none if there is no such file.
std::optional<std::string> read_private_file(const std::filesystem::path& path);

/// Writes a file atomically, readable by this user only; false if that fails.
bool write_private_file(const std::filesystem::path& path, const std::string& data);

}  // namespace hcflow

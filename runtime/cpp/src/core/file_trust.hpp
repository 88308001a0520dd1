// Compiled programs and engines are code: they are loaded only from where no stranger can write.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace hcflow {

/// Make a folder for compiled programs, if need be, and tell whether only this user may write
/// there, and no stranger to a folder above.
bool ensure_private_folder(const std::filesystem::path& folder);

/// The bytes of a file that belongs to this user or root and that no other user can write to, where
/// the same holds of every folder above it and above the file that a link stands for
/// (runtime/engine_cache.py). Throws Error (backend).
std::string read_trusted_file(const std::filesystem::path& path);

/// The bytes of a file of this user's alone; none where there is no such file.
std::optional<std::string> read_private_file(const std::filesystem::path& path);

/// Write a file whole or not at all, for this user alone; false where that cannot be done.
bool write_private_file(const std::filesystem::path& path, const std::string& data);

}  // namespace hcflow

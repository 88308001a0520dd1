// Windows has owners and lists of rights of another kind, which are not compared here, as in
// Python: the usual cache folder is in the user's profile, where Windows lets no other user write.
#include "system/file_trust.hpp"

#include <windows.h>

#include <atomic>

#include "core/error.hpp"
#include "system/regular_file.hpp"

namespace hcflow {
namespace {

namespace fs = std::filesystem;

bool write_all(const fs::path& path, const std::string& data) {
    HANDLE file = CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW,
                              FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return false;
    DWORD put = 0;
    const bool fits = data.size() <= kMostPrivate;
    const bool done =
        fits && WriteFile(file, data.data(), static_cast<DWORD>(data.size()), &put, nullptr) != 0 &&
        put == data.size() && FlushFileBuffers(file) != 0;
    CloseHandle(file);
    return done;
}

}  // namespace

bool ensure_private_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    return fs::is_directory(folder, error);
}

std::string read_trusted_file(const fs::path& path, std::uint64_t most) try {
    return RegularFile(path).read(most);
} catch (const Unreadable& error) {
    throw_error(ErrorCode::backend, "cannot read engine '", path.u8string(), "': ", error.what(),
                "; compile it again");
}

std::optional<std::string> read_private_file(const fs::path& path) try {
    return RegularFile(path, RegularFile::Links::refuse).read(kMostPrivate);
} catch (const Unreadable&) {  // there is none
    return std::nullopt;
}

bool write_private_file(const fs::path& path, const std::string& data) {
    static std::atomic<unsigned> count{0};
    fs::path whole = path;
    whole += concat(".", GetCurrentProcessId(), ".", count++);
    if (write_all(whole, data) &&
        MoveFileExW(whole.c_str(), path.c_str(), MOVEFILE_REPLACE_EXISTING) != 0)
        return true;
    DeleteFileW(whole.c_str());
    return false;
}

}  // namespace hcflow

#include "system/regular_file.hpp"

#include <windows.h>

#include <algorithm>
#include <system_error>

#include "core/error.hpp"

namespace hcflow {
namespace {

HANDLE handle(std::intptr_t number) { return reinterpret_cast<HANDLE>(number); }

std::string last_error() {
    return std::system_category().message(static_cast<int>(GetLastError()));
}

/// Opens a file, or a link itself if links are refused.
HANDLE open(const std::filesystem::path& path, RegularFile::Links links) {
    const DWORD link = links == RegularFile::Links::refuse ? FILE_FLAG_OPEN_REPARSE_POINT : 0;
    // FILE_FLAG_BACKUP_SEMANTICS: opens a folder too, so that it is called one.
    return CreateFileW(path.c_str(), GENERIC_READ,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                       OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | link, nullptr);
}

}  // namespace

RegularFile::RegularFile(const std::filesystem::path& path, Links links)
    : number_(reinterpret_cast<std::intptr_t>(open(path, links))) {
    if (handle(number_) == INVALID_HANDLE_VALUE) throw Unreadable(last_error());
    BY_HANDLE_FILE_INFORMATION about{};
    constexpr DWORD kOther = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE;
    const DWORD refused = kOther | (links == Links::refuse ? FILE_ATTRIBUTE_REPARSE_POINT : 0);
    if (GetFileType(handle(number_)) == FILE_TYPE_DISK &&
        GetFileInformationByHandle(handle(number_), &about) != 0 &&
        (about.dwFileAttributes & refused) == 0) {
        size_ = std::uint64_t{about.nFileSizeHigh} << 32U | about.nFileSizeLow;
        return;
    }
    CloseHandle(handle(number_));
    throw Unreadable("it is not a file");
}

RegularFile::~RegularFile() { CloseHandle(handle(number_)); }

std::string RegularFile::read(std::uint64_t most) const {
    if (size() > most) throw Unreadable(concat("it has ", size(), " bytes, the limit is ", most));
    std::string data(static_cast<std::size_t>(size()), '\0');
    for (std::size_t at = 0; at < data.size();) {
        constexpr std::size_t kMost = std::size_t{1} << 30U;  // ReadFile counts in 32 bits
        DWORD got = 0;
        const auto wanted = static_cast<DWORD>(std::min(data.size() - at, kMost));
        if (ReadFile(handle(number_), data.data() + at, wanted, &got, nullptr) == 0)
            throw Unreadable(last_error());
        if (got == 0) throw Unreadable("the file became shorter while it was read");
        at += got;
    }
    return data;
}

}  // namespace hcflow

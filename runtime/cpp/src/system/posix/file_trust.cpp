#include "system/file_trust.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.hpp"
#include "system/regular_file.hpp"

namespace hcflow {
namespace {

namespace fs = std::filesystem;

class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) close(number_);
    }
    [[nodiscard]] int number() const { return number_; }

  private:
    int number_;
};

[[noreturn]] void throw_unreadable(const fs::path& path, const char* why) {
    throw_error(ErrorCode::backend, "cannot read engine '", path.u8string(), "': ", why,
                "; compile it again");
}

/// Whether a group is root's, or this user's own group without other members.
bool is_private_group(gid_t id) {
    if (id == 0) return true;
    std::array<char, 1U << 14U> user_text{}, group_text{};  // if too small: not trusted
    passwd user{}, *found_user = nullptr;
    group group{}, *found_group = nullptr;
    if (getpwuid_r(geteuid(), &user, user_text.data(), user_text.size(), &found_user) != 0 ||
        getgrgid_r(id, &group, group_text.data(), group_text.size(), &found_group) != 0 ||
        found_user == nullptr || found_group == nullptr || user.pw_gid != id)
        return false;
    for (char** member = group.gr_mem; *member != nullptr; ++member)
        if (std::strcmp(*member, user.pw_name) != 0) return false;
    return true;
}

/// Why another user than root can write a file or folder, and what to do; empty if none can.
std::string write_risk(const struct stat& status) {
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return "belongs to another user, and an engine is code: copy the bundle, or compile the "
               "engine again";
    // A sticky folder such as /tmp: others can add files, but cannot replace ours.
    if ((status.st_mode & S_ISVTX) != 0 && S_ISDIR(status.st_mode)) return {};
    if ((status.st_mode & S_IWOTH) != 0)
        return "can be written by everyone, and an engine is code: chmod o-w it first";
    if ((status.st_mode & S_IWGRP) != 0 && !is_private_group(status.st_gid))
        return "can be written by its group, and an engine is code: chmod g-w it first";
    return {};
}

struct stat status_of(const RegularFile& file) {
    struct stat status {};
    if (fstat(static_cast<int>(file.number()), &status) != 0)
        throw Unreadable(std::strerror(errno));
    return status;
}

/// Whether a file or folder is this user's and nobody else may write to it.
bool is_private(const struct stat& status) {
    return status.st_uid == geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

void check_owner(const fs::path& path, const struct stat& status) {
    if (const std::string why = write_risk(status); !why.empty())
        throw_error(ErrorCode::backend, "'", path.u8string(), "' ", why);
}

/// Checks every folder above a path and, if a part of it is a link, above the resolved path.
void check_folders_above(const fs::path& path) {
    std::error_code error;
    for (const fs::path& end : {fs::absolute(path), fs::weakly_canonical(path, error)}) {
        if (error) throw_unreadable(path, error.message().c_str());
        fs::path folder = end;
        while (folder.has_relative_path()) {
            folder = folder.parent_path();
            struct stat status {};
            if (stat(folder.c_str(), &status) != 0) throw_unreadable(path, std::strerror(errno));
            check_owner(folder, status);
        }
    }
}

bool write_all(int descriptor, const std::string& data) {
    for (std::size_t at = 0; at < data.size();) {
        const ssize_t put = write(descriptor, data.data() + at, data.size() - at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += static_cast<std::size_t>(put);
    }
    return fsync(descriptor) == 0;
}

}  // namespace

bool ensure_private_folder(const fs::path& folder) try {
    std::error_code ignored;
    const bool there = fs::exists(folder, ignored);
    fs::create_directories(folder, ignored);
    if (!there) fs::permissions(folder, fs::perms::owner_all, ignored);
    struct stat status {};
    if (stat(folder.c_str(), &status) != 0 || !is_private(status)) return false;
    check_folders_above(folder);
    return true;
} catch (const std::exception&) {  // another user can write above it, or that is unknown
    return false;
}

std::string read_trusted_file(const fs::path& path, std::uint64_t most) try {
    check_folders_above(path);
    const RegularFile file(path);
    check_owner(path, status_of(file));
    return file.read(most);
} catch (const Unreadable& error) {
    throw_unreadable(path, error.what());
}

std::optional<std::string> read_private_file(const fs::path& path) try {
    const RegularFile file(path, RegularFile::Links::refuse);
    if (!is_private(status_of(file))) return std::nullopt;
    return file.read(kMostPrivate);
} catch (const Unreadable&) {  // there is none
    return std::nullopt;
}

bool write_private_file(const fs::path& path, const std::string& data) {
    std::string name = path.u8string() + ".XXXXXX";
    const Descriptor file(mkstemp(name.data()));  // mode 0600
    if (file.number() < 0) return false;
    if (write_all(file.number(), data) && rename(name.c_str(), path.c_str()) == 0) return true;
    unlink(name.c_str());
    return false;
}

}  // namespace hcflow

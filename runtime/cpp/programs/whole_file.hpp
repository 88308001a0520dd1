// Writes a file atomically, as in Python (runtime/system/atomic.py).
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

/// A file that replaces `path` when it is committed, and not before.
///
/// It is written beside the target of the path, with links resolved, and renamed. Devices and pipes
/// are written to directly.
class WholeFile {
  public:
    explicit WholeFile(std::string path) : path_(std::move(path)) {
        namespace fs = std::filesystem;
        std::error_code none;
        const fs::file_status old = fs::status(path_, none);
        if (fs::is_directory(old)) refuse("it is a folder");
        const fs::path target = followed(path_);
        // /dev/stdout may be a file that has been deleted.
        const bool named =
            !fs::exists(old) || (fs::is_regular_file(old) && fs::equivalent(path_, target, none));
        if (named) {
            target_ = target;
            temporary_ = target.parent_path() / temporary_name();
        }
        const fs::path& opened = named ? temporary_ : fs::path(path_);
        file_.reset(std::fopen(opened.c_str(), named ? "wbx" : "wb"));
        if (!file_) {
            temporary_.clear();  // the file is not ours
            refuse(std::strerror(errno));
        }
        if (named && fs::exists(old))  // a new file gets the umask's
            fs::permissions(temporary_, old.permissions() & fs::perms(0777), none);
    }
    WholeFile(const WholeFile&) = delete;
    WholeFile& operator=(const WholeFile&) = delete;
    ~WholeFile() { discard(); }

    [[nodiscard]] std::FILE* stream() const { return file_.get(); }

    /// Flushes the file to the disk and renames it.
    void commit() {
        if (std::fflush(file_.get()) != 0) refuse(std::strerror(errno));
        if (!temporary_.empty() && fsync(fileno(file_.get())) != 0) refuse(std::strerror(errno));
        if (std::fclose(file_.release()) != 0) refuse(std::strerror(errno));
        if (temporary_.empty()) return;
        std::error_code error;
        std::filesystem::rename(temporary_, target_, error);
        if (error) refuse(error.message());
        temporary_.clear();
    }

  private:
    struct Close {
        void operator()(std::FILE* file) const { (void)std::fclose(file); }
    };

    /// A path with links resolved; the file need not exist.
    static std::filesystem::path followed(std::filesystem::path path) {
        constexpr int kMostLinks = 40;
        std::error_code error;
        for (int i = 0; i < kMostLinks && std::filesystem::is_symlink(path, error); ++i) {
            const auto next = std::filesystem::read_symlink(path, error);
            if (error) break;
            path = path.parent_path() / next;
        }
        return path;
    }

    static std::string temporary_name() {
        std::random_device random;
        return "." + std::to_string(getpid()) + "-" + std::to_string(random()) +
               std::to_string(random()) + ".tmp";
    }

    void discard() {
        std::error_code none;
        if (!temporary_.empty()) std::filesystem::remove(temporary_, none);
        temporary_.clear();
    }

    [[noreturn]] void refuse(const std::string& why) {
        discard();  // if the constructor throws, no destructor runs
        throw std::runtime_error("cannot write '" + path_ + "': " + why);
    }

    std::string path_;
    std::filesystem::path target_, temporary_;  // empty: written directly
    std::unique_ptr<std::FILE, Close> file_;
};

// A file is written whole or not at all, as in Python (runtime/atomic.py).
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

/// Takes the place of `path` once it is committed; until then what stands there stays.
///
/// It is written beside the file that the path stands for, links followed, and renamed. A device or
/// a pipe is written to directly.
class WholeFile {
  public:
    explicit WholeFile(std::string path) : path_(std::move(path)) {
        namespace fs = std::filesystem;
        std::error_code none;
        const fs::file_status old = fs::status(path_, none);
        if (fs::is_directory(old)) refuse("it is a folder");
        const fs::path target = followed(path_);
        // Behind /dev/stdout may be a file that has no name any more.
        const bool named =
            !fs::exists(old) || (fs::is_regular_file(old) && fs::equivalent(path_, target, none));
        if (named) {
            target_ = target;
            temporary_ = target.parent_path() / temporary_name();
        }
        const fs::path& opened = named ? temporary_ : fs::path(path_);
        file_.reset(std::fopen(opened.c_str(), named ? "wbx" : "wb"));
        if (!file_) {
            temporary_.clear();  // not ours
            refuse(std::strerror(errno));
        }
        if (named && fs::exists(old))  // else what the umask leaves
            fs::permissions(temporary_, old.permissions() & fs::perms(0777), none);
    }
    WholeFile(const WholeFile&) = delete;
    WholeFile& operator=(const WholeFile&) = delete;
    ~WholeFile() { discard(); }

    [[nodiscard]] std::FILE* stream() const { return file_.get(); }

    /// Write what is left in buffers, to the disk as well, and give the file its name.
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

    /// What a path stands for, whether or not a file is there yet.
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
        discard();  // a constructor that throws is followed by no destructor
        throw std::runtime_error("cannot write '" + path_ + "': " + why);
    }

    std::string path_;
    std::filesystem::path target_, temporary_;  // empty: it is written to directly
    std::unique_ptr<std::FILE, Close> file_;
};

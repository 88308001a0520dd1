#include "system/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.hpp"

namespace hcflow {

RegularFile::RegularFile(const std::filesystem::path& path, Links links)
    // O_NONBLOCK: a pipe without a writer must not block.
    : number_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                                     (links == Links::refuse ? O_NOFOLLOW : 0))) {
    const int file = static_cast<int>(number_);
    struct stat status {};
    const bool known = file >= 0 && fstat(file, &status) == 0;
    if (known && S_ISREG(status.st_mode)) {
        size_ = static_cast<std::uint64_t>(status.st_size);
        return;
    }
    const std::string why = known ? "it is not a file" : std::strerror(errno);
    if (file >= 0) close(file);
    throw Unreadable(why);
}

RegularFile::~RegularFile() { close(static_cast<int>(number_)); }

std::string RegularFile::read(std::uint64_t most) const {
    if (size() > most) throw Unreadable(concat("it has ", size(), " bytes, the limit is ", most));
    std::string data(static_cast<std::size_t>(size()), '\0');
    for (std::size_t at = 0; at < data.size();) {
        const ssize_t got = ::read(static_cast<int>(number_), data.data() + at, data.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw Unreadable(std::strerror(errno));
        if (got == 0) throw Unreadable("the file became shorter while it was read");
        at += static_cast<std::size_t>(got);
    }
    return data;
}

}  // namespace hcflow

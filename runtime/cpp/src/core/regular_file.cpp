#include "core/regular_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.hpp"

namespace hcflow {

RegularFile::RegularFile(const std::filesystem::path& path, Links links)
    // O_NONBLOCK: a pipe without a writer must not block.
    : number_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                                     (links == Links::refuse ? O_NOFOLLOW : 0))) {
    const bool known = number_ >= 0 && fstat(number_, &status_) == 0;
    if (known && S_ISREG(status_.st_mode)) return;
    const std::string why = known ? "it is not a file" : std::strerror(errno);
    if (number_ >= 0) close(number_);
    throw Unreadable(why);
}

RegularFile::~RegularFile() { close(number_); }

std::string RegularFile::read(std::uint64_t most) const {
    if (size() > most) throw Unreadable(concat("it has ", size(), " bytes, the limit is ", most));
    std::string data(static_cast<std::size_t>(size()), '\0');
    for (std::size_t at = 0; at < data.size();) {
        const ssize_t got = ::read(number_, data.data() + at, data.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw Unreadable(std::strerror(errno));
        if (got == 0) throw Unreadable("the file became shorter while it was read");
        at += static_cast<std::size_t>(got);
    }
    return data;
}

}  // namespace hcflow

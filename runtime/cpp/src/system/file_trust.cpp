// What every system shares; the rest is in posix/ and windows/.
#include "system/file_trust.hpp"

namespace hcflow {

namespace fs = std::filesystem;

bool holds_only_files(const fs::path& folder) {
    std::error_code error;
    for (fs::directory_iterator each(folder, error), end; !error && each != end;
         each.increment(error)) {
        const fs::file_status status = each->symlink_status(error);
        if (error || !fs::is_regular_file(status) || each->file_size(error) > kMostPrivate)
            return false;
    }
    return !error;
}

}  // namespace hcflow

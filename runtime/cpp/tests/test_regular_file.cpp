// Caches and files of others: nothing waits, and nothing is read without a limit.
#include <doctest/doctest.h>

#include "bundle_folder.hpp"
#include "system/file_trust.hpp"
#include "system/regular_file.hpp"

namespace fs = std::filesystem;

namespace {

/// Why a file cannot be read with this limit; "nothing" if it can.
std::string why(const fs::path& path, std::uint64_t most) {
    try {
        (void)hcflow::RegularFile(path).read(most);
    } catch (const hcflow::Unreadable& error) {
        return error.what();
    }
    return "nothing";
}

}  // namespace

TEST_CASE("a file is read up to its limit; pipes, devices and folders are not files") {
    const tests::BundleFolder bundle;
    const fs::path file = bundle.folder / "file", pipe = bundle.folder / "pipe";
    tests::write(file, "seven..");
    CHECK(hcflow::RegularFile(file).read(7) == "seven..");
    CHECK(why(file, 6) == "it has 7 bytes, the limit is 6");
    std::vector<fs::path> others = {bundle.folder};
    if (tests::make_pipe(pipe)) others.push_back(pipe);
#ifdef _WIN32
    others.emplace_back("NUL");
    CHECK(why(bundle.folder / "nowhere", 100) != "nothing");
#else
    others.emplace_back("/dev/zero");
    CHECK(why(bundle.folder / "nowhere", 100) == "No such file or directory");
#endif
    for (const fs::path& other : others) CHECK(why(other, 100) == "it is not a file");
    if (!tests::make_link(file, bundle.folder / "link")) return;
    CHECK(why(bundle.folder / "link", 7) == "nothing");
    CHECK_THROWS_AS(hcflow::RegularFile(bundle.folder / "link", hcflow::RegularFile::Links::refuse),
                    hcflow::Unreadable);
}

TEST_CASE("a cache with a pipe, a link or a huge file in it is not used") {
    const tests::BundleFolder bundle;
    const fs::path cache = bundle.folder / "cache", odd = cache / "odd.blob";
    fs::create_directory(cache);
    tests::write(cache / "sound.blob", "a program");
    CHECK(hcflow::holds_only_files(cache));
    if (tests::make_pipe(odd)) {
        CHECK(!hcflow::holds_only_files(cache));
        fs::remove(odd);
    }
    if (tests::make_link("sound.blob", odd)) {
        CHECK(!hcflow::holds_only_files(cache));
        fs::remove(odd);
    }
    tests::write(odd, "");
    fs::resize_file(odd, std::uint64_t{40} << 30U);
    CHECK(!hcflow::holds_only_files(cache));
    CHECK(!hcflow::read_private_file(odd));
    fs::remove(odd);
    CHECK(hcflow::holds_only_files(cache));
    CHECK(!hcflow::holds_only_files(cache / "nowhere"));
}

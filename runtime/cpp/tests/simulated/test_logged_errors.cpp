// What the library logs becomes the reason in our errors: that of the call that failed, all of it.
#include <doctest/doctest.h>

#include "engine_folder.hpp"
#include "gpu/device.hpp"

using hcflow::Image;
using hcflow::Pixel;
using tests::EngineFolder;
using tests::error_of;
using tests::fine;
using tests::has;
using tests::tau;

namespace {

constexpr const char* kShort = "Cuda Runtime (out of memory)";

Image small() { return tests::noise(4, 4, 3, Pixel::u8); }

/// What upscaling says whose engine does not load.
std::string loading() {
    const EngineFolder folder("tensorrt-rtx", {}, "HOST-CODE");
    return error_of([&] { (void)folder.open().upscale(small().view(), tau(0.5)); });
}

}  // namespace

TEST_CASE("a cause that the library logs before its last error, in a thread of its own, is told") {
    sim_log_before(kShort);
    const std::string error = loading();
    sim_log_before("an allocation failed");
    const std::string other = loading();
    sim_log_before("");
    CHECK(has(error, "4: out of GPU memory: engine '"));
    CHECK(has(error, "does not load (Cuda Runtime (out of memory); host code is not allowed)"));
    CHECK(has(other, "does not load: an allocation failed; host code is not allowed; compile one"));
    fine();
}

TEST_CASE("an error of an earlier call is no reason") {
    const EngineFolder folder;
    const hcflow::Model model = folder.open();
    (void)model.upscale(small().view(), tau(0.5));
    sim_log(kShort);
    sim_fail("sim_kernel", 1, 0);  // the engine fails and logs nothing
    CHECK(error_of([&] { (void)model.upscale(small().view(), tau(0.5)); }) ==
          "4: the engine failed: the library gives no reason");
    fine();
}

TEST_CASE("the library has one log, which outlives every engine") {
    const EngineFolder folder;
    const void* log = nullptr;
    {
        const hcflow::Model model = folder.open();
        (void)model.upscale(small().view(), tau(0.5));
        log = sim_last_log();
        (void)model.downscale(tests::noise(16, 16, 3, Pixel::u8).view());
        CHECK(sim_last_log() == log);
    }
    sim_log("a thread of the library ends");
    (void)folder.open().upscale(small().view(), tau(0.5));
    CHECK(sim_last_log() == log);
    fine();
}

TEST_CASE("an engine that cannot tell its scratch memory does not run without any") {
    const EngineFolder folder("tensorrt-rtx", {}, "NO-SCRATCH");
    CHECK(has(error_of([&] { (void)folder.open().upscale(small().view(), tau(0.5)); }),
              "4: the engine cannot tell the scratch memory of these shapes: an allocation "
              "failed"));
    fine();
}

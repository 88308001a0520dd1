// libFuzzer: any text is read as a manifest or refused with Error (bundle).
#include <cstdint>
#include <cstdlib>
#include <string>

#include "bundle/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const std::string text(reinterpret_cast<const char*>(data), size);
        (void)hcflow::parse_manifest(text, "'fuzz'");
    } catch (const hcflow::Error& error) {
        if (error.code() != hcflow::ErrorCode::bundle) std::abort();
    }
    return 0;
}

#include "gpu/engine_entry.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.hpp"

namespace hcflow::gpu {
namespace {

using Numbers = std::vector<std::uint64_t>;

/// The numbers between dots. Numbers beyond 64 bits become the largest.
Numbers numbers(const std::string& version) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    Numbers all = {0};
    for (const char c : version)
        if (c == '.')
            all.push_back(0);
        else
            all.back() = all.back() > kMost / 10 - 1
                             ? kMost
                             : all.back() * 10 + static_cast<std::uint64_t>(c - '0');
    return all;
}

/// Numbers of one to nine digits with dots between.
bool is_version(const std::string& text) {
    std::size_t digits = 0;
    for (const char c : text) {
        const bool digit = c >= '0' && c <= '9';
        if (digit ? ++digits > 9 : c != '.' || digits == 0) return false;
        if (!digit) digits = 0;
    }
    return digits > 0;
}

bool is_capability(const std::string& text) {
    const std::size_t dot = text.find('.');
    return is_version(text) && dot != std::string::npos && dot + 2 == text.size() &&
           text.front() != '0';
}

std::string read_version(const JsonReader& json) {
    if (!is_version(json.string())) json.throw_wrong("a version of numbers and dots");
    return json.string();
}

std::string read_capability(const JsonReader& json) {
    if (!is_capability(json.string())) json.throw_wrong("a compute capability such as 8.9");
    return json.string();
}

Shape read_shape(const JsonReader& json) {
    Shape shape;
    for (const JsonReader& side : json.items())
        shape.push_back(static_cast<std::size_t>(side.integer(1)));
    return shape;
}

/// The version must be equal; a version-compatible engine also runs on later versions with the same
/// major number. Three numbers are compared: the library does not report its fourth.
bool version_fits(const EngineEntry& engine, const std::string& version) {
    Numbers built = numbers(engine.version), here = numbers(version);
    built.resize(std::min<std::size_t>(built.size(), 3));
    here.resize(std::min<std::size_t>(here.size(), 3));
    return engine.version_compatible ? built[0] == here[0] && built <= here : built == here;
}

bool capability_fits(const EngineEntry& engine, const std::string& capability) {
    const auto& built = engine.compute_capabilities;
    if (std::find(built.begin(), built.end(), capability) != built.end()) return true;
    const Numbers here = numbers(capability), ampere = {8, 0};
    if (engine.library == "tensorrt-rtx")  // from 12.0 on, code also runs on later minor versions
        return std::any_of(built.begin(), built.end(), [&](const std::string& each) {
            const Numbers b = numbers(each);
            return b[0] == here[0] && here[0] >= 12 && b <= here;
        });
    return engine.hardware == "ampere+" && here >= ampere &&
           std::all_of(built.begin(), built.end(),
                       [&](const std::string& each) { return numbers(each) >= ampere; });
}

std::map<std::string, std::int64_t> read_counts(const JsonReader& json) {
    std::map<std::string, std::int64_t> counts;
    for (const auto& [key, count] : json.members()) counts[key] = count.integer(0);
    return counts;
}

Program read_program(const JsonReader& json) {
    Program program;
    (void)read_counts(json["convolutions"]);
    for (const char* key : {"fused", "others"}) (void)json[key].integer(0);
    if (const auto bytes = json.get("bytes")) program.bytes = bytes->integer(0);
    if (const auto operations = json.get("operations"))
        program.operations = read_counts(*operations);
    return program;
}

/// Checks the values of an entry that this library does not use.
void check_unused(const JsonReader& json) {
    (void)json["direction"].choice({"inverse", "forward"});
    (void)json["precision"].choice({"fp32", "fp16", "int8", "fp8"});
    (void)json["latents"].boolean();
    (void)json["refittable"].boolean();
    (void)json["build_seconds"].number(0);
    if (const auto level = json.get("optimization_level")) (void)level->integer(0);
    const JsonReader memory = json["memory"];
    for (const char* key : {"scratch", "weights", "activations"})
        if (const auto bytes = memory.get(key)) (void)bytes->integer(0);
    if (const auto layers = json.get("layers")) (void)read_counts(*layers);
    if (const auto form = json.get("form")) (void)form->word();
}

}  // namespace

bool Range::contains(const Shape& shape) const {
    if (shape.size() != smallest.size() || shape.size() != largest.size()) return false;
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] < smallest[i] || shape[i] > largest[i]) return false;
    return true;
}

std::optional<std::size_t> EngineEntry::find_profile(
    const std::map<std::string, Shape>& shapes) const {
    for (std::size_t index = 0; index < profiles.size(); ++index) {
        const Profile& profile = profiles[index];
        if (std::all_of(shapes.begin(), shapes.end(), [&](const auto& input) {
                const auto range = profile.find(input.first);
                return range != profile.end() && range->second.contains(input.second);
            }))
            return index;
    }
    return std::nullopt;
}

EngineEntry read_engine_entry(const JsonReader& json) {
    EngineEntry engine{};
    engine.file = json["file"].file_name();
    engine.sha256 = json["sha256"].digest();
    engine.bytes = static_cast<std::uint64_t>(json["bytes"].integer(1));
    engine.graph = json["graph"].digest();
    engine.library = json["library"].choice({"tensorrt", "tensorrt-rtx"});
    engine.version = read_version(json["version"]);
    for (const JsonReader& capability : json["compute_capabilities"].items())
        engine.compute_capabilities.push_back(read_capability(capability));
    for (const JsonReader& each : json["profiles"].items()) {
        Profile profile;
        for (const auto& [name, range] : each.members()) {
            (void)read_shape(range["best"]);
            profile[name] = {read_shape(range["smallest"]), read_shape(range["largest"])};
        }
        engine.profiles.push_back(std::move(profile));
    }
    engine.tf32 = json["tf32"].boolean();
    engine.version_compatible = json["version_compatible"].boolean();
    engine.hardware = json["hardware"].choice({"none", "ampere+", "same-capability"});
    if (const auto program = json.get("program")) engine.program = read_program(*program);
    check_unused(json);
    return engine;
}

EngineEntry parse_engine_entry(const std::string& json, const std::string& where) {
    const JsonDocument document(json, where, "not an engine's entry");
    return read_engine_entry(document.root());
}

std::optional<std::string> misfit(const EngineEntry& engine, const Machine& machine) {
    if (engine.library != machine.library)
        return concat("it is a ", title(engine.library), " engine, not ", title(machine.library));
    if (!version_fits(engine, machine.version))
        return concat("it was built by ", title(engine.library), " ", engine.version, ", not ",
                      machine.version);
    if (!capability_fits(engine, machine.compute_capability))
        return concat("it was built for compute capability ", join(engine.compute_capabilities),
                      ", this GPU has ", machine.compute_capability);
    return std::nullopt;
}

std::string runtime_cache_name(const EngineEntry& engine, const Machine& machine,
                               const std::string& gpu) {
    std::string kind;
    for (const char c : gpu) {
        const bool upper = c >= 'A' && c <= 'Z';
        if (upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            kind += static_cast<char>(upper ? c + ('a' - 'A') : c);
        else if (!kind.empty() && kind.back() != '-')
            kind += '-';
    }
    if (!kind.empty() && kind.back() == '-') kind.pop_back();
    return concat(engine.sha256.substr(0, 12), ".", machine.version, ".",
                  machine.compute_capability, ".", kind, ".runtime-cache");
}

std::string command(const std::string& library, const std::string& bundle,
                    const std::string& capability) {
    const std::string plain = "hcflow compile '" + bundle + "' --engine ";
    if (library == "tensorrt" || capability.empty()) return plain + library;
    if (!rtx_serves(capability))
        return concat(plain, "tensorrt (TensorRT-RTX serves no GPU of compute capability ",
                      capability, ")");
    return concat(plain, "tensorrt-rtx --compute-capability ", capability);
}

bool rtx_serves(const std::string& capability) {
    const std::array<const char*, 4> served = {"7.5", "8.0", "8.6", "8.9"};
    return std::find(served.begin(), served.end(), capability) != served.end() ||
           numbers(capability) >= Numbers{12, 0};
}

const char* title(const std::string& library) {
    return library == "tensorrt" ? "TensorRT" : "TensorRT-RTX";
}

std::string describe(const Shape& shape) { return join(shape, "x"); }

std::string describe_ranges(const EngineEntry& engine) {
    std::vector<std::string> profiles;
    for (const Profile& profile : engine.profiles) {
        std::vector<std::string> ranges;
        for (const auto& [name, range] : profile)
            ranges.push_back(concat(printable(name), " ", describe(range.smallest), " to ",
                                    describe(range.largest)));
        profiles.push_back(join(ranges));
    }
    return join(profiles, " or ");
}

}  // namespace hcflow::gpu

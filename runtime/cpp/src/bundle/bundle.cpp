#include "bundle/bundle.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "bundle/json_reader.hpp"
#include "core/error.hpp"
#include "core/sha256.hpp"
#include "system/regular_file.hpp"

namespace hcflow {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostManifest = std::uint64_t{4} << 20;

// The largest ONNX file that its own format, protobuf, allows.
constexpr std::uint64_t kMostGraph = (std::uint64_t{1} << 31) - 1;

/// Reads a file of at most `most` bytes after `check` has seen its size.
template <typename Check>
std::string read_file(const fs::path& path, std::uint64_t most, const Check& check) try {
    const RegularFile file(path);
    check(file.size());
    return file.read(most);
} catch (const Unreadable& error) {
    throw_error(ErrorCode::bundle, "cannot read '", path.u8string(), "': ", error.what());
}

/// How early a target is wanted: larger is earlier, 0 is not at all.
std::ptrdiff_t place(const Targets& targets, Target target) {
    return targets.end() - std::find(targets.begin(), targets.end(), target);
}

bool contains(const Targets& targets, Target target) { return place(targets, target) > 0; }

bool is_there(const fs::path& path) {
    std::error_code error;
    return fs::exists(path, error);
}

/// Whether `path`, with links resolved, is inside `folder`.
bool lies_in(const fs::path& path, const fs::path& folder) {
    std::error_code error;
    const fs::path real = fs::weakly_canonical(path, error),
                   base = fs::weakly_canonical(folder, error);
    if (error) return false;
    return std::mismatch(base.begin(), base.end(), real.begin(), real.end()).first == base.end();
}

}  // namespace

Bundle::Bundle(fs::path folder, Manifest manifest)
    : folder_(std::move(folder)), manifest_(std::move(manifest)) {}

Bundle Bundle::open(const std::string& path) {
    fs::path folder = fs::u8path(path);
    std::error_code error;
    if (folder.filename() == kManifestName && fs::is_regular_file(folder, error))
        folder = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    if (!is_there(folder))
        throw_error(ErrorCode::bundle, "no bundle at '", folder.u8string(),
                    "': the folder does not exist");
    if (!fs::is_directory(folder, error))
        throw_error(ErrorCode::bundle, "'", folder.u8string(),
                    "' is a file: give the bundle's folder");
    const fs::path source = folder / kManifestName;
    if (!is_there(source))
        throw_error(ErrorCode::bundle, "'", folder.u8string(), "' is not a bundle: it has no ",
                    kManifestName);
    const auto check_size = [&](std::uint64_t found) {
        if (found > kMostManifest)
            throw_error(ErrorCode::bundle, "'", source.u8string(),
                        "' is not a manifest: it is larger than ", kMostManifest >> 20, " MiB");
    };
    const std::string json = read_file(source, kMostManifest, check_size);
    return {folder, parse_manifest(json, concat("'", source.u8string(), "'"))};
}

const Graph& Bundle::graph(Direction direction, Precision precision, bool latents,
                           const Targets& targets) const {
    const std::string way = to_string(direction), wanted = to_string(precision);
    const Graph* found = nullptr;
    std::optional<Target> elsewhere;
    std::set<std::string> there;
    for (const Graph& graph : manifest_.graphs) {
        if (graph.direction != direction) continue;
        if (!contains(targets, graph.target)) {
            if (graph.precision == precision) elsewhere = graph.target;
            continue;
        }
        there.insert(to_string(graph.precision));
        if (graph.precision != precision) continue;
        // A graph of uint8 images only if there is no other: the error below then names it.
        const auto rank = [&](const Graph& each) {
            return std::make_tuple(each.io == "float32", !latents || each.latents,
                                   place(targets, each.target), each.latents == latents);
        };
        if (found == nullptr || rank(graph) > rank(*found)) found = &graph;
    }
    if (found == nullptr && elsewhere)
        throw_error(ErrorCode::bundle, "bundle '", manifest_.name, "' has its ", way, " ", wanted,
                    " graph for ", to_string(*elsewhere),
                    " alone: use the backend tensorrt-rtx or tensorrt, or another precision");
    if (there.empty())
        throw_error(ErrorCode::bundle, "bundle '", manifest_.name, "' has no ", way,
                    " graph: build it with --direction ", way, " or --direction both");
    if (found == nullptr)
        throw_error(ErrorCode::bundle, "bundle '", manifest_.name, "' has its ", way, " graph in ",
                    join(there), ", not in ", wanted);
    if (!found->is_supported()) {
        const bool bytes = found->contract == kContract && found->io == "uint8";
        throw_error(
            ErrorCode::bundle, "'", found->file, "' follows graph contract ", found->contract,
            " with ", printable(found->io), " inputs; this library supports contract ", kContract,
            " with float32: ", bytes ? "build the bundle without --io uint8" : "upgrade hcflow");
    }
    return *found;
}

bool Bundle::has(Direction direction, Precision precision, const Targets& targets) const {
    return std::any_of(manifest_.graphs.begin(), manifest_.graphs.end(), [&](const Graph& graph) {
        return graph.direction == direction && graph.precision == precision &&
               graph.is_supported() && contains(targets, graph.target);
    });
}

std::vector<const Graph*> Bundle::preferred(Precision precision, const Targets& targets) const {
    std::vector<const Graph*> found;
    for (const Graph& graph : manifest_.graphs) {
        if (graph.precision != precision || !graph.is_supported() ||
            !contains(targets, graph.target))
            continue;
        const auto other = std::find_if(found.begin(), found.end(), [&](const Graph* each) {
            return each->direction == graph.direction && each->latents == graph.latents;
        });
        if (other == found.end())
            found.push_back(&graph);
        else if (place(targets, graph.target) > place(targets, (*other)->target))
            *other = &graph;
    }
    return found;
}

std::string Bundle::read(const std::string& file, const std::string& sha256,
                         std::uint64_t size) const {
    const fs::path path = folder_ / file;
    if (!lies_in(path, folder_))
        throw_error(ErrorCode::bundle, "'", path.u8string(),
                    "' is a link that leaves the bundle: refused");
    if (!is_there(path))
        throw_error(ErrorCode::bundle, "'", path.u8string(),
                    "' is missing: fetch or build the bundle again");
    const auto check_size = [&](std::uint64_t found) {
        if (found != size)
            throw_error(ErrorCode::bundle, "'", path.u8string(), "' has ", found,
                        " bytes, the manifest says ", size,
                        ": incomplete; fetch or build the bundle again");
    };
    std::string data = read_file(path, kMostGraph, check_size);
    if (hcflow::sha256(data.data(), data.size()) != sha256)
        throw_error(
            ErrorCode::bundle, "'", path.u8string(),
            "' does not have the SHA-256 in the manifest: damaged or altered; fetch or build the "
            "bundle again");
    return data;
}

std::string Bundle::read_graph(const Graph& graph) const {
    std::string data = read(graph.file, graph.sha256, graph.bytes);
    // The key of external tensors in ONNX (TensorProto.external_data); our graphs have none.
    if (data.find("location") != std::string::npos)
        throw_error(ErrorCode::bundle, "'", graph.file,
                    "' stores weights in another file: refused");
    return data;
}

}  // namespace hcflow

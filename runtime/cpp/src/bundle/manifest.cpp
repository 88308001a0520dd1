#include "bundle/manifest.hpp"

#include <algorithm>
#include <array>

#include "bundle/json_reader.hpp"
#include "core/error.hpp"

namespace hcflow {
namespace {

// Larger than any network needs, and small enough that no product of them overflows.
constexpr std::int64_t kMostScale = 64;
constexpr std::int64_t kMostChannels = 1 << 16;  // the limit of the latent scheme
// Largest overlap / tile of a graph; at 4 every pixel is computed 81 times.
constexpr std::int64_t kMostOverlap = 4;
// Largest border in LR pixels.
constexpr std::int64_t kMostBorder = 64;

constexpr std::array<const char*, 4> kPrecisions = {"fp32", "fp16", "int8", "fp8"};

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

void check_texts(const JsonReader& json) {
    for (const auto& [key, value] : json.members()) (void)value.string();
}

void check_optional_number(const JsonReader& json) {
    if (!json.is_null()) (void)json.number();
}

std::optional<std::size_t> optional_side(const JsonReader& json, std::int64_t least,
                                         std::int64_t most) {
    if (json.is_null()) return std::nullopt;
    return size(json.integer(least, most));
}

void check_case(const JsonReader& row) {
    (void)row["case"].string();
    (void)row["tau"].number(0);
}

void check_losses(const JsonReader& rows) {
    for (const JsonReader& row : rows.items()) {
        check_case(row);
        check_optional_number(row["psnr_fp32_db"]);
        check_optional_number(row["loss_db"]);
        if (const auto worst = row.get("max_abs")) (void)worst->number(0);
    }
}

/// Checks the other values of a graph, which this library does not use, as Python does.
void check_figures(const JsonReader& json) {
    (void)json["opset"].integer(1);
    (void)json["nodes"].integer(1);
    for (const JsonReader& row : json["parity"].items()) {
        check_case(row);
        (void)row["output"].string();
        for (const char* key : {"psnr_db", "max_abs", "max_rel"}) check_optional_number(row[key]);
        (void)row["ok"].boolean();
    }
    if (const auto rows = json.get("deviations"))
        for (const JsonReader& row : rows->items()) {
            check_case(row);
            if (!row["max_abs"].is_null()) (void)row["max_abs"].number(0);
        }
    for (const char* key : {"losses", "tiled_losses"})
        if (const auto rows = json.get(key)) check_losses(*rows);
    if (const auto rows = json.get("seams"))
        for (const JsonReader& row : rows->items()) {
            check_case(row);
            (void)row["figure"].string();
            for (const char* key : {"border", "elsewhere"}) check_optional_number(row[key]);
            (void)row["p"].number(0);
        }
    if (const auto rows = json.get("drifts"))
        for (const JsonReader& row : rows->items()) {
            (void)row["case"].string();
            for (const char* key : {"bare", "edge", "inside"})
                if (!row[key].is_null()) (void)row[key].number(0);
        }
    if (const auto casts = json.get("casts")) (void)casts->integer(0);
    if (const auto report = json.get("report")) (void)report->file_name();
}

Precision read_precision(const std::string& name) {
    for (const Precision each : {Precision::fp16, Precision::int8, Precision::fp8})
        if (name == to_string(each)) return each;
    return Precision::fp32;
}

/// Reads the recorded grids: the graph's own, then smaller tiles.
void read_grids(const JsonReader& json, Graph& graph) {
    const auto rows = json.get("grids");
    if (!rows) return;
    bool falling = true;
    for (const JsonReader& row : rows->items()) {
        const std::int64_t tile = row["tile"].integer(1, kMostInteger);
        const std::int64_t overlap = row["overlap"].integer(0, kMostOverlap * tile);
        falling = falling && (graph.grids.empty() || size(tile) < graph.grids.back().tile);
        graph.grids.push_back({size(tile), size(overlap)});
    }
    if (graph.grids.empty()) return;
    const Tiling& first = graph.grids.front();
    if (!falling || graph.tile != first.tile || graph.overlap != first.overlap)
        rows->throw_wrong("the graph's tile and overlap, then smaller tiles");
}

Graph read_graph(const JsonReader& json, const std::vector<std::string>& precisions) {
    Graph graph{};
    graph.direction = json["direction"].choice({"inverse", "forward"}) == "inverse"
                          ? Direction::inverse
                          : Direction::forward;
    graph.precision = read_precision(json["precision"].choice(precisions));
    if (const auto target = json.get("target")) {
        (void)target->choice({"rtx"});
        graph.target = Target::rtx;
    }
    graph.latents = json["latents"].boolean();
    graph.io = json["io"].word();
    graph.contract = json["contract"].integer(1);
    graph.file = json["file"].file_name();
    graph.sha256 = json["sha256"].digest();
    graph.bytes = static_cast<std::uint64_t>(json["bytes"].integer(1));
    graph.bytes_per_lr_pixel = static_cast<std::uint64_t>(json["bytes_per_lr_pixel"].integer(0));
    const JsonReader numerics = json["numerics"];
    graph.tf32 = numerics["tf32"].boolean();
    (void)numerics["accumulation"].string();
    graph.openvino_precision_hint = numerics["openvino_precision_hint"].string();
    graph.tile = optional_side(json["tile"], 1, kMostInteger);
    const auto tile = static_cast<std::int64_t>(graph.tile.value_or(0));
    graph.overlap = optional_side(json["overlap"], 0, kMostOverlap * tile);
    if (const auto border = json.get("border"))
        graph.border = size(border->integer(0, kMostBorder));
    read_grids(json, graph);
    if (const auto worst = json.get("neighbours")) graph.neighbours = worst->number(0);
    graph.within_budget = json["within_budget"].boolean();
    check_figures(json);
    return graph;
}

/// A graph that readers of schema 1 do not know; none if it is of a kind that is unknown here too.
std::optional<Graph> read_later_graph(const JsonReader& json) {
    const auto target = json.get("target");
    const bool is_target_known = !target || target->word() == "rtx";
    const std::string& precision = json["precision"].word();
    const bool is_precision_known =
        std::find(kPrecisions.begin(), kPrecisions.end(), precision) != kPrecisions.end();
    if (!is_target_known || !is_precision_known) return std::nullopt;
    return read_graph(json, {kPrecisions.begin(), kPrecisions.end()});
}

}  // namespace

std::string latent_name(std::size_t level) { return concat("z", level + 1); }

std::string to_string(Direction direction) {
    return direction == Direction::inverse ? "inverse" : "forward";
}

std::string to_string(Precision precision) {
    switch (precision) {
        case Precision::fp32:
            return "fp32";
        case Precision::fp16:
            return "fp16";
        case Precision::int8:
            return "int8";
        case Precision::fp8:
            return "fp8";
        case Precision::automatic:
            return "auto";
    }
    throw_error(ErrorCode::parameter, "unknown precision ", static_cast<int>(precision),
                ": one of fp32, fp16, int8, fp8, auto");
}

std::string to_string(Target target) { return target == Target::rtx ? "rtx" : "any machine"; }

Manifest parse_manifest(const std::string& json, const std::string& where) {
    const JsonDocument document(json, where, "not a manifest");
    const JsonReader root = document.root();
    const std::int64_t schema = root["schema"].integer(1);
    if (schema > kSchema)
        throw_error(ErrorCode::bundle, where, " was made by a newer hcflow-deploy (schema ", schema,
                    ", this one reads ", kSchema, "): upgrade");
    Manifest manifest{};
    manifest.name = root["name"].name();
    manifest.task = root["task"].choice({"rescaling", "sr"});
    manifest.scale = size(root["scale"].integer(2, kMostScale));
    manifest.default_tau = root["default_tau"].number(0);
    manifest.latent_scheme = root["latents"]["scheme"].word();
    std::size_t values = 0;
    for (const JsonReader& level : root["latents"]["levels"].items()) {
        manifest.levels.push_back({size(level["channels"].integer(1, kMostChannels)),
                                   size(level["factor"].integer(1, kMostScale))});
        const Level& last = manifest.levels.back();
        values += last.channels * last.factor * last.factor;
    }
    (void)root["checkpoint"]["sha256"].digest();
    check_texts(root["checkpoint"]["provenance"]);
    check_texts(root["tools"]);
    for (const JsonReader& graph : root["graphs"].items())
        manifest.graphs.push_back(read_graph(graph, {"fp32", "fp16", "int8"}));
    if (manifest.graphs.empty())
        throw_error(ErrorCode::bundle, where, ": $.graphs holds no graph: build the bundle again");
    if (const auto later = root.get("more_graphs"))
        for (const JsonReader& entry : later->items())
            if (auto graph = read_later_graph(entry)) manifest.graphs.push_back(*std::move(graph));
    (void)root["vectors"]["file"].file_name();
    (void)root["vectors"]["sha256"].digest();
    for (const JsonReader& engine : root["engines"].items())
        manifest.engines.push_back(engine.object_text());
    if (const auto later = root.get("more_engines"))
        for (const JsonReader& engine : later->items())
            manifest.engines.push_back(engine.object_text());
    const std::size_t needed = 3 * manifest.scale * manifest.scale - 3;
    if (values != needed)
        throw_error(ErrorCode::bundle, where, ": $.latents.levels hold ", values,
                    " values an LR pixel; scale ", manifest.scale, " needs ", needed);
    return manifest;
}

}  // namespace hcflow
